"""cluster/kuberay.yaml, without a Kubernetes: its fields against the published ones, its words against what is so.

kuberay_fields.json has, for each kind of object that the file uses, the names and types of its fields: "string",
"[Container]" for a list, "{string}" for a mapping of names to strings. An object whose kind is not in there is refused:
whoever begins to use one adds it, from the source that the table names.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from tests.helpers import ROOT
from tests.helpers.studies import study

FILE, DOCKERFILE = ROOT / "cluster" / "kuberay.yaml", ROOT / "cluster" / "Dockerfile"
IGNORED = ROOT / "cluster" / "Dockerfile.dockerignore"
OBJECTS: dict[str, Any] = json.loads((Path(__file__).parent / "kuberay_fields.json").read_text())["objects"]
QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTPE]i?)?")
PLAIN = {"string": str, "integer": int, "boolean": bool, "number": (int, float)}
IN_THE_IMAGE = "/opt/astmoa"
MARK = re.compile(r"!SET_ME \[(.+)\]")


def job_of(text: str) -> dict[str, Any]:
    """The file as it is once every mark is replaced, as its own head says."""
    return yaml.safe_load(MARK.sub(r"\1", text))


@pytest.fixture
def job() -> dict[str, Any]:
    return job_of(FILE.read_text())


def problems(value: Any, kind: str, where: str = "") -> list[str]:
    """What the API server would object to: fields that are unknown, of another type, or absent."""
    if kind.startswith("["):
        if not isinstance(value, list):
            return [f"{where}: no list"]
        return [found for n, item in enumerate(value) for found in problems(item, kind[1:-1], f"{where}[{n}]")]
    if kind.startswith("{"):
        if not isinstance(value, dict):
            return [f"{where}: no mapping"]
        return [found for key, item in value.items() for found in problems(item, kind[1:-1], f"{where}.{key}")]
    if kind == "quantity":
        return [] if QUANTITY.fullmatch(str(value)) else [f"{where}: {value!r} is no quantity"]
    if kind in PLAIN:
        good = isinstance(value, PLAIN[kind]) and (kind == "boolean" or not isinstance(value, bool))
        return [] if good else [f"{where}: {value!r} is no {kind}"]
    if kind not in OBJECTS:
        return [f"{where}: {kind} is not in the table"]
    if not isinstance(value, dict):
        return [f"{where}: no {kind}"]
    fields, required = OBJECTS[kind]["fields"], OBJECTS[kind]["required"]
    found = [f"{where}: {kind} without {key}" for key in required if key not in value]
    found += [f"{where}: {kind} has no field {key}" for key in value if key not in fields]
    return found + [p for key in value if key in fields for p in problems(value[key], fields[key], f"{where}.{key}")]


def templates(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pods, by their container's name."""
    cluster = job["spec"]["rayClusterSpec"]
    owners = [job["spec"]["submitterPodTemplate"], cluster["headGroupSpec"]["template"]]
    owners += [group["template"] for group in cluster["workerGroupSpecs"]]
    pods = [owner["spec"] for owner in owners]
    assert all(len(pod["containers"]) == 1 for pod in pods)
    return {pod["containers"][0]["name"]: pod for pod in pods}


def containers(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: pod["containers"][0] for name, pod in templates(job).items()}


def test_every_field_is_one_that_kuberay_and_kubernetes_have(job):
    assert problems(job, "RayJob") == []
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")


def at(document: Any, *path: Any) -> Any:
    for key in path:
        document = document[key]
    return document


HEAD = ("spec", "rayClusterSpec", "headGroupSpec")
WORKERS = ("spec", "rayClusterSpec", "workerGroupSpecs", 0)


@pytest.mark.parametrize(
    ("path", "change", "found"),
    [
        (("spec",), {"entryPoint": "x"}, ".spec: RayJobSpec has no field entryPoint"),
        (HEAD, {"rayStartParam": {}}, "HeadGroupSpec has no field rayStartParam"),
        (HEAD, {"rayStartParams": {"num-gpus": 0}}, ".num-gpus: 0 is no string"),
        (WORKERS, {"replicas": "2"}, ".replicas: '2' is no integer"),
        (WORKERS, {"replicas": True}, ".replicas: True is no integer"),
        (WORKERS, {"groupName": None}, "WorkerGroupSpec without groupName"),
        ((*WORKERS, "template", "spec"), {"container": []}, "PodSpec has no field container"),
        ((*WORKERS, "template", "spec"), {"containers": {}}, ".containers: no list"),
        ((*WORKERS, "template", "spec"), {"affinity": {}}, "Affinity is not in the table"),
        ((*WORKERS, "template", "spec", "containers", 0), {"volumeMount": []}, "Container has no field volumeMount"),
        ((*WORKERS, "template", "spec", "containers", 0, "resources"), {"limits": {"cpu": "8 cores"}}, "no quantity"),
        ((*HEAD, "template", "spec", "volumes", 0), {"persistentVolumeClaim": {}}, "without claimName"),
        (("spec",), {"rayClusterSpec": "x"}, ".spec.rayClusterSpec: no RayClusterSpec"),
    ],
)
def test_the_check_finds_what_is_wrong(job, path, change, found):
    job = json.loads(json.dumps(job))  # no anchors, so that one place changes
    at(job, *path).update(change)
    for key in [key for key, value in change.items() if value is None]:
        del at(job, *path)[key]
    assert [found in problem for problem in problems(job, "RayJob")] == [True]


def test_the_table_says_where_it_is_from():
    told = json.loads((Path(__file__).parent / "kuberay_fields.json").read_text())["source"]
    assert all({"repository", "path", "version"} <= set(source) for source in told)
    assert {name for source in told for name in source.get("objects", [])} == set(OBJECTS)


def test_what_must_be_set_is_refused_until_it_is():
    text = FILE.read_text()
    marks = [n for n, line in enumerate(text.splitlines()) if MARK.search(line)]
    assert len(marks) == 2
    assert marks[1] == marks[0] + 1, "all in one place"
    with pytest.raises(yaml.constructor.ConstructorError, match=rf"'!SET_ME'\n.*line {marks[0] + 1}\b"):
        yaml.safe_load(text)
    # Kubernetes' own reader drops marks that it does not know: what is left must be of another type than is wanted.
    unmarked = problems(yaml.safe_load(text.replace("!SET_ME ", "")), "RayJob")
    for key in ("image", "claim"):
        assert any(f".metadata.annotations.astmoa/{key}: " in problem for problem in unmarked)
    assert any(".claimName" in problem for problem in unmarked)
    assert sum(".image" in problem for problem in unmarked) == 3


def test_the_image_and_the_claim_are_everywhere_the_ones_that_were_set(job):
    told = job["metadata"]["annotations"]
    assert {container["image"] for container in containers(job).values()} == {told["astmoa/image"]}
    for name, pod in templates(job).items():
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod.get("volumes", []) if v["name"] == "storage"]
        assert claims == ([] if name == "ray-job-submitter" else [told["astmoa/claim"]])


def commands(job: dict[str, Any]) -> list[list[str]]:
    """What the entrypoint's shell runs, one after the other."""
    shell, option, line = shlex.split(job["spec"]["entrypoint"])
    assert (shell, option) == ("bash", "-c")
    return [shlex.split(command) for command in line.split("&&")]


def test_the_entrypoint_waits_for_all_nodes_and_runs_a_sweep(job, monkeypatch):
    doctor, sweep = commands(job)
    cluster = job["spec"]["rayClusterSpec"]
    assert doctor[:2] == ["astmoa", "doctor"]
    options = dict(zip(doctor[2::2], doctor[3::2], strict=True))
    nodes = 1 + sum(group["replicas"] * group.get("numOfHosts", 1) for group in cluster["workerGroupSpecs"])
    assert options["--nodes"] == str(nodes)
    assert int(options["--wait"]) >= 600, "images take minutes to pull"
    assert sweep[0] == "python"
    path = ROOT / Path(sweep[1]).relative_to(IN_THE_IMAGE)
    assert path.is_file()
    assert f"WORKDIR {IN_THE_IMAGE}" in DOCKERFILE.read_text()

    from astmoa.study.command import parse

    monkeypatch.setattr("sys.argv", sweep[1:])
    _, kind = study(path.stem, monkeypatch)
    parsed = parse(path.stem, kind, "")
    assert parsed.out == Path("n-vs-p"), "fixed, so that a retry goes on"
    assert parsed.storage == options["--storage"]
    assert job["spec"]["backoffLimit"] > 0


def test_both_commands_run_in_the_cluster(job, tmp_path):
    """KubeRay puts the entrypoint unquoted into a shell command of the pod that submits the job."""
    calls = tmp_path / "calls"
    for name in ("ray", "astmoa", "python"):
        (tmp_path / name).write_text(f'#!/bin/bash\necho "{name} $#" >>"{calls}"\nprintf "%s\\0" "$@"\n')
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    submit = f"if false ; then true ; else ray job submit --no-wait -- {job['spec']['entrypoint']} ; fi"
    done = subprocess.run(["bash", "-c", submit], env=env, capture_output=True, text=True, check=True)
    assert calls.read_text() == "ray 7\n", "the submitter itself runs nothing else"
    calls.unlink()
    # How `ray job submit` makes one line of its arguments again, which the head's shell then reads.
    entrypoint = subprocess.list2cmdline(done.stdout.split("\0")[4:-1])
    subprocess.run(["bash", "-c", entrypoint], env=env, capture_output=True, check=True)
    doctor, sweep = commands(job)
    assert calls.read_text() == f"astmoa {len(doctor) - 1}\npython {len(sweep) - 1}\n"


def test_the_storage_is_on_every_node_at_the_place_that_the_entrypoint_names(job):
    storage = commands(job)[0][-1]
    for name, pod in templates(job).items():
        if name == "ray-job-submitter":
            continue
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts == {"storage": storage, "shared-memory": "/dev/shm"}
        assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
        for variable in pod["containers"][0]["env"]:
            if variable["value"].startswith("/"):
                assert Path(variable["value"]).is_relative_to(storage), "nowhere else does it outlive the pod"


def test_ray_has_room_for_its_object_store(job):
    for name, pod in templates(job).items():
        for volume in pod.get("volumes", []):
            if volume["name"] == "shared-memory":
                assert volume["emptyDir"]["medium"] == "Memory"
                room, memory = (
                    int(quantity.removesuffix("Gi"))
                    for quantity in (
                        volume["emptyDir"]["sizeLimit"],
                        containers(job)[name]["resources"]["limits"]["memory"],
                    )
                )
                assert 0.3 * memory < room < memory


def test_pods_get_what_they_ask_for_and_gpus_go_to_workers(job):
    gpus = {}
    for name, container in containers(job).items():
        assert container["resources"]["requests"] == container["resources"]["limits"]
        gpus[name] = container["resources"]["limits"].get("nvidia.com/gpu")
    assert gpus == {"ray-job-submitter": None, "ray-head": None, "ray-worker": "1"}
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]


def test_gpus_are_given_back_when_the_sweep_ends(job):
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert 0 < job["spec"]["ttlSecondsAfterFinished"] <= 600


def test_nobody_else_may_use_the_cluster(job):
    text, cluster = FILE.read_text(), job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert not cluster["headGroupSpec"].get("enableIngress", False)
    for word in ("LoadBalancer", "NodePort", "hostPort", "hostNetwork", "hostPath", "privileged", "imagePullSecrets"):
        assert word not in text
    for pod in templates(job).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        security = pod["containers"][0]["securityContext"]
        assert security == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def secrets(document: Any, where: str = "") -> list[str]:
    """Values that look like a password, a key or a token: by the name beside them, or by themselves."""
    if isinstance(document, dict):
        named = str(document.get("name", ""))
        found = [f"{where}.{named}"] if SECRET_NAME.search(named) and "value" in document else []
        return found + [
            hit
            for key, item in document.items()
            for hit in (
                [f"{where}.{key}"]
                if isinstance(item, str) and SECRET_NAME.search(str(key))
                else secrets(item, f"{where}.{key}")
            )
        ]
    if isinstance(document, list):
        return [hit for n, item in enumerate(document) for hit in secrets(item, f"{where}[{n}]")]
    return [where] if isinstance(document, str) and SECRET_VALUE.search(document) else []


SECRET_NAME = re.compile(r"(?i)password|passwd|secret|token|credential|access_?key|api_?key")
SECRET_VALUE = re.compile(r"\w+://[^/\s]+:[^/\s]+@|\bAKIA[0-9A-Z]{16}\b|\bhf_\w{20}|[0-9a-f]{32}|[A-Za-z0-9+/]{40}")


def test_no_secret_is_in_the_file(job):
    assert secrets(job) == []
    bad = copy.deepcopy(job)
    env = containers(bad)["ray-head"]["env"]  # of the workers too: one anchor
    env += [
        {"name": "HF_TOKEN", "value": "x"},
        {"name": "MLFLOW_TRACKING_URI", "value": "http://me:mine@tracker:5000"},
        {"name": "OTHER", "value": "AKIA" + 16 * "A"},
    ]
    bad["spec"]["rayClusterSpec"]["authOptions"]["auth_token"] = "x"
    assert len(secrets(bad)) == 1 + 2 * 3


def test_ray_is_the_images(job):
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    constraints = ROOT / "cluster" / "constraints.txt"
    if not constraints.exists():
        pytest.skip("no cluster/constraints.txt: the image's Ray is not known")
    pinned = re.search(r"(?m)^ray(?:\[.*\])?==(\S+)", constraints.read_text())
    assert pinned is not None
    assert pinned[1] == version
    assert tuple(map(int, ray.__version__.split(".")[:2])) >= (2, 52), "older ones have no tokens"


def test_the_head_of_the_file_speaks_of_this_job(job):
    head = FILE.read_text().split("\napiVersion")[0]
    name, out = job["metadata"]["name"], commands(job)[1][-1]
    assert f"kubectl delete rayjob {name}" in head
    assert f"job/{name}" in head
    assert f"/storage/{out} {out}" in head
    for command in ("kubectl apply -f cluster/kuberay.yaml", "docker build -f cluster/Dockerfile"):
        assert command in head
    # The pod that shows the results mounts the claim.
    overrides = "".join(line.removeprefix("#") for line in head.split("--overrides='")[1].split("'")[0].splitlines())
    pod = json.loads(overrides)["spec"]
    assert problems(pod, "PodSpec") == []
    assert pod["containers"][0]["volumeMounts"][0] == {"name": "storage", "mountPath": "/storage"}


def test_the_image_is_made_of_what_is_there():
    lines = [line.split() for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY")]
    copied = {source for line in lines for source in line[1:-1]}
    assert {"astmoa", "sweeps", "pyproject.toml", "cluster/constraints.txt"} <= copied
    for source in copied - {"cluster/constraints.txt"}:  # which the others in cluster/ have tests for
        assert (ROOT / source).exists(), source
    assert DOCKERFILE.read_text().rstrip().splitlines()[-1] == "USER 1000"
    let_in = {line[1:] for line in IGNORED.read_text().splitlines() if line.startswith("!")}
    assert let_in == copied


def test_the_image_has_what_the_package_depends_on_and_the_package_once():
    text = DOCKERFILE.read_text()
    (code,) = re.findall(r'python -c "(.*)"', text)
    command = [sys.executable, "-c", code]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    pinned = set(re.findall(r"(?m)^([\w.-]+)(?:\[.*\])?==", (ROOT / "cluster/constraints.txt").read_text()))
    names = {re.match(r"[\w.-]+", line)[0] for line in asked}
    assert {"torch", "ray", "mlflow"} <= names <= pinned
    # Two copies, of which the working directory chooses, were not the same: an empty __init__.py had got into one.
    (own,) = [line for line in text.splitlines() if line.startswith("RUN pip install")]
    assert own.endswith(" --editable .")
