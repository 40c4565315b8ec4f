"""cluster/slurm.sbatch, the real script: with stand-ins for Slurm, and mostly for Ray and the sweep too.

The stand-ins write down what they were called with, in the order of the calls, and do what FAKE_... tells them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT

SCRIPT = ROOT / "cluster" / "slurm.sbatch"
ANY = "0.0.0.0"  # who connects to it reaches this machine, whatever its addresses are
VARIABLES = ("ASTMOA_STORAGE", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR")
VARIABLES += ("MLFLOW_TRACKING_URI",)

STAND_IN = """#!{python} -IS
import json, os, signal, sys, time

tool, arguments, fake = os.path.basename(sys.argv[0]), sys.argv[1:], os.environ.get
calls = fake("FAKE_CALLS")

def note(what, **more):
    with open(calls, "a") as file:
        file.write(json.dumps({{"call": what, "pid": os.getpid(), "args": arguments, **more}}) + "\\n")

def wait():  # until a signal
    open(os.path.join(os.path.dirname(calls), tool), "w").close()
    while True:
        time.sleep(10)

if tool == "srun":
    node = arguments[arguments.index("-w") + 1] if "-w" in arguments else None
    command = list(arguments)
    while command[0].startswith("-"):
        del command[: 2 if command[0] == "-w" else 1]
    note("srun " + os.path.basename(command[0]), node=node)
    os.execvp(command[0], command)
if tool == "scontrol":
    note("scontrol " + arguments[0])
    if arguments[:2] == ["show", "hostnames"]:
        prefix, _, last = arguments[2].rstrip("]").rpartition("[1-")
        print(*(f"{{prefix}}{{n + 1}}" for n in range(int(last))), sep="\\n")
    if arguments[:2] == ["show", "node"]:
        print(f"NodeName={{arguments[2]}} Arch=x\\n   NodeAddr={{fake('FAKE_ADDRESS')}} NodeHostName=host")
    if arguments[:2] == ["show", "job"]:
        print(f"JobId={{arguments[2]}} JobName=astmoa\\n   JobState={{fake('FAKE_STATE', 'RUNNING')}} Reason=None")
if tool == "hostname":
    print("{any} fe80::1")
if tool == "ray":
    import socket, subprocess
    path = fake("RAY_AUTH_TOKEN_PATH")
    modes = [oct(os.stat(p).st_mode & 0o777) for p in (path, os.path.dirname(path), fake("RAY_TMPDIR"))]
    modes.append(oct(os.umask(0o077)))
    note("ray", env={{name: fake(name) for name in {variables}}}, token=open(path).read(), modes=modes)
    if fake("FAKE_RAY") == "fails":
        sys.exit("the port is in use")
    subprocess.Popen(["sleep", "300"])  # left behind: the script has to see to it
    if fake("FAKE_RAY") == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        def end(*_):
            note("ray ended")
            sys.exit(1)
        signal.signal(signal.SIGTERM, end)
    if "--head" in arguments:
        told = dict(a.split("=") for a in arguments if "=" in a)
        listener = socket.create_server((told["--node-ip-address"], int(told["--port"])))
    note("ray up")
    wait()
if tool == "astmoa":
    while open(calls).read().count('"ray up"') < int(arguments[arguments.index("--nodes") + 1]):
        time.sleep(0.02)
    note("doctor", env={{name: fake(name) for name in {variables}}})
    print("node2: torch sees no GPU")
    if fake("FAKE_DOCTOR") == "waits":
        wait()
    sys.exit(int(fake("FAKE_DOCTOR", "0")))
"""

# Deaf to nothing by itself: that the INT reaches it is up to the script.
SWEEP = """
import json, os, pathlib, signal, sys, time

calls = pathlib.Path(os.environ["FAKE_CALLS"])

def note(what):
    env = {name: os.environ.get(name) for name in VARIABLES}
    with open(calls, "a") as file:
        file.write(json.dumps({"call": what, "pid": os.getpid(), "args": sys.argv[1:], "env": env}) + "\\n")

note("sweep")
behaviour = os.environ.get("FAKE_SWEEP", "0")
if behaviour.isdecimal():
    sys.exit(int(behaviour))
if behaviour == "hangs":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    calls.with_name("sweep").touch()
    while not (behaviour == "follows" and calls.with_name("fail").exists()):
        time.sleep(0.05)
except KeyboardInterrupt:
    try:
        note("INT")
        time.sleep(0.7)
        note("journal")
    except KeyboardInterrupt:
        note("second INT")
    sys.exit(int(behaviour.removeprefix("ends ")))
sys.exit(1)
"""


class Job:
    """A Slurm job: a checkout, a copy of the script where Slurm would put it, and stand-ins on the PATH."""

    def __init__(self, folder: Path, num_nodes: int = 2):
        self.folder, self.checkout, self.tools = folder, folder / "check out", folder / "tools"
        self.calls_file = folder / "calls"
        self.spooled = folder / "slurm_script"
        shutil.copy(SCRIPT, self.spooled)
        for place in (self.tools, self.checkout / "sweeps", self.checkout / ".venv" / "bin"):
            place.mkdir(parents=True)
        for name in ("srun", "scontrol", "hostname"):
            self.stand_in(self.tools / name)
        for name in ("ray", "astmoa"):
            self.stand_in(self.checkout / ".venv" / "bin" / name)
        (self.checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
        (self.checkout / "sweeps" / "a study.py").write_text(f"VARIABLES = {VARIABLES}\n{SWEEP}")
        self.id = _free_id()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "ASTMOA_"))}
        self.env |= {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "SLURM_JOB_ID": str(self.id),
            "SLURM_JOB_NODELIST": f"node[1-{num_nodes}]",
            "SLURM_SUBMIT_DIR": str(self.checkout),
            "SLURM_CPUS_PER_TASK": "3",
            "FAKE_CALLS": str(self.calls_file),
            "FAKE_ADDRESS": ANY,
            # of another cluster, in the shell that called sbatch
            "RAY_ADDRESS": "192.0.2.9:6379",
            "RAY_AUTH_TOKEN": "another",
        }
        self.process: subprocess.Popen[str] | None = None

    def stand_in(self, path: Path) -> None:
        path.write_text(STAND_IN.format(python=sys.executable, variables=VARIABLES, any=ANY))
        path.chmod(0o755)

    def quicker(self, **constants: int) -> None:
        """With other constants, so that a test need not wait that long."""
        text = self.spooled.read_text()
        for name, value in constants.items():
            text, changed = re.subn(rf"(?m)^{name}=\d+", f"{name}={value}", text)
            assert changed == 1, name
        self.spooled.write_text(text)

    def start(self, *arguments: str, **env: str) -> None:
        self.process = subprocess.Popen(
            ["bash", self.spooled, *arguments],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, timeout: float = 60) -> tuple[int, str, str]:
        """Exit code, output and errors of the script; and nothing that belonged to the job runs any more."""
        assert self.process is not None
        out, err = self.process.communicate(timeout=timeout)
        assert _until(lambda: not self.processes(), 3), self.processes()
        assert not list(self.checkout.glob("runs/*.ray/auth_token")), "the token is still there"
        return self.process.returncode, out, err

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        self.start(*arguments, **env)
        return self.end()

    def wait_for(self, name: str) -> None:
        """Until the stand-in is where it waits."""
        assert _until(lambda: (self.folder / name).exists(), 30), self.calls()

    def term(self) -> None:
        """What Slurm does: it signals the batch shell alone."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def calls(self) -> list[dict[str, Any]]:
        text = self.calls_file.read_text() if self.calls_file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def called(self, what: str) -> list[dict[str, Any]]:
        return [call for call in self.calls() if call["call"] == what]

    def processes(self) -> dict[int, str]:
        """All that run with this job's environment, wherever they have gone."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"SLURM_JOB_ID={self.id}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def kill(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(f"/tmp/ray-{self.id}", ignore_errors=True)


def _free_id() -> int:
    while True:
        job_id = random.randrange(10**6, 10**8)
        with contextlib.suppress(OSError):
            for port in range(_port(job_id), _port(job_id) + 3):
                socket.create_server((ANY, port)).close()
            return job_id


def _port(job_id: int) -> int:
    return 20000 + job_id % 4000 * 3


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def job(tmp_path):
    job = Job(tmp_path)
    yield job
    job.kill()


def test_a_sweep_runs_on_all_nodes(job):
    code, out, err = job.run(
        "sweeps/a study.py", "--quick", SLURM_GPUS_ON_NODE="4", SLURM_MEM_PER_NODE="1000", RAY_TMPDIR="/else"
    )
    assert (code, err) == (0, "")
    order = [call["call"] for call in job.calls() if not call["call"].startswith(("srun", "scontrol"))]
    assert order == ["ray", "ray up", "ray", "ray up", "doctor", "sweep", "ray ended", "ray ended"]
    assert [call["node"] for call in job.called("srun bash")] == ["node1", "node2"]

    head, worker = (call["args"] for call in job.called("ray"))
    address, port = f"{ANY}:{_port(job.id)}", _port(job.id)
    assert {f"--port={port}", "--head", "--dashboard-host=127.0.0.1", f"--dashboard-port={port + 1}"} <= set(head)
    assert f"--address={address}" in worker
    assert not {"--head", f"--port={port}"} & set(worker)
    for args in (head, worker):
        assert args[:2] == ["start", "--block"]
        assert {f"--node-ip-address={ANY}", "--num-cpus=3", "--num-gpus=4"} <= set(args)
        assert "--object-store-memory=314572800" in args, "Ray would take three tenths of the machine, not of the job"
        assert {"--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"} <= set(args)
    for call in job.called("srun bash"):
        assert {"--nodes=1", "--ntasks=1", "--cpus-per-task=3", "--export=ALL"} <= set(call["args"])

    [doctor], [sweep] = job.called("doctor"), job.called("sweep")
    runs = str(job.checkout / "runs")
    assert doctor["args"] == ["doctor", "--nodes", "2", "--wait", "300"]
    assert sweep["args"] == ["--out", f"slurm-{job.id}", "--quick"]
    for call in (*job.called("ray"), doctor, sweep):
        assert call["env"]["RAY_AUTH_MODE"] == "token"
        assert call["env"]["RAY_AUTH_TOKEN"] is None, "it would win over the file"
        assert call["env"]["RAY_TMPDIR"] == f"/tmp/ray-{job.id}"
        assert call["env"]["RAY_ADDRESS"] == (None if call["call"] == "ray" else address)
        assert call["env"]["ASTMOA_STORAGE"] == runs
    [cleaning] = job.called("srun rm")
    assert {"--nodes=2", "--ntasks=2", f"/tmp/ray-{job.id}"} <= set(cleaning["args"])
    assert f"ssh -N -L 8265:127.0.0.1:{port + 1} -J LOGIN_NODE node1" in out


@pytest.mark.slow
def test_the_token_is_seen_by_nobody_else(job):
    code, out, err = job.run("sweeps/a study.py")
    assert code == 0
    head, worker = job.called("ray")
    assert head["token"] == worker["token"]
    assert re.fullmatch("[0-9a-f]{64}", head["token"])
    assert head["modes"] == worker["modes"] == ["0o600", "0o700", "0o700", "0o77"]
    logs = "".join(path.read_text() for path in job.checkout.glob("runs/*.ray/*"))
    everything = out + err + logs + json.dumps([{**call, "token": None} for call in job.calls()])
    assert head["token"] not in everything
    assert job.run("sweeps/a study.py")[0] == 0
    assert job.called("ray")[-1]["token"] != head["token"]


def test_arguments_arrive_as_they_were_given(job):
    odd = ["--data-root", "my sounds/*", "it's", 'say "no"', "$HOME;`id`", "", "--name=a b", "-w", "\\n"]
    assert job.run("sweeps/a study.py", *odd)[0] == 0
    assert job.called("sweep")[0]["args"] == ["--out", f"slurm-{job.id}", *odd]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "storage", "out"),
    [
        (["--out", "mine"], None, None),
        (["--out=mine"], None, None),
        (["--resume", "runs/mine"], None, None),
        (["--storage", "/nfs/a b", "--seeds", "3"], "/nfs/a b", "slurm-{id}"),
        (["--storage=s3://bucket/astmoa"], "s3://bucket/astmoa", "runs/slurm-{id}"),
    ],
    ids=["out", "out=", "resume", "storage", "address"],
)
def test_the_sweeps_own_options_win(job, options, storage, out):
    tracker = "http://ann:hush@tracker:5000"
    assert job.run("sweeps/a study.py", f"--tracking-uri={tracker}", *options)[0] == 0
    added = ["--out", out.format(id=job.id)] if out else []
    assert job.called("sweep")[0]["args"] == [*added, f"--tracking-uri={tracker}", *options]
    (doctor,) = job.called("doctor")
    assert doctor["env"]["ASTMOA_STORAGE"] == (storage or str(job.checkout / "runs"))
    assert doctor["env"]["MLFLOW_TRACKING_URI"] == tracker
    shown = [word for call in job.calls() if call["call"] != "sweep" for word in call.get("args", ())]
    assert not [word for word in shown if "hush" in word], "command lines are for all to see"


def test_one_node_without_gpus_in_a_place_of_ones_own(tmp_path):
    job = Job(tmp_path, num_nodes=1)
    try:
        code, _, err = job.run("sweeps/a study.py", FAKE_ADDRESS="127.0.1.1", ASTMOA_STORAGE="/lustre/me",
                               SLURM_MEM_PER_CPU="200")  # fmt: skip
        assert (code, err) == (0, "")
        [ray] = job.called("ray")
        assert "--num-gpus=0" in ray["args"]
        assert f"--object-store-memory={3 * 200 * 2**20 * 3 // 10}" in ray["args"]
        assert f"--node-ip-address={ANY}" in ray["args"], "a loopback address cannot be reached from other nodes"
        (doctor,) = job.called("doctor")
        assert doctor["args"][1:] == ["--nodes", "1", "--wait", "300"]
        assert doctor["env"]["ASTMOA_STORAGE"] == "/lustre/me"
    finally:
        job.kill()


@pytest.mark.slow
def test_the_notice_interrupts_the_sweep_and_puts_the_job_back(job):
    job.start("sweeps/a study.py", FAKE_SWEEP="ends 130", SLURM_RESTART_COUNT="19")
    job.wait_for("sweep")
    job.term()
    assert _until(lambda: bool(job.called("INT")), 10)
    job.term()  # impatient, and of no consequence
    code, _, err = job.end()
    assert code == 0, err
    assert err == f"slurm.sbatch: interrupted; job {job.id} goes back into the queue and goes on from here\n"
    calls = [call["call"] for call in job.calls()]
    assert calls[-1] == "scontrol requeue", "it ends the job, Ray's processes and all"
    assert calls.count("scontrol requeue") == 1
    assert calls.index("sweep") < calls.index("journal") < calls.index("ray ended")
    assert "second INT" not in calls
    assert job.called("scontrol requeue")[0]["args"] == ["requeue", str(job.id)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "env", "told"),
    [
        ("0", {}, ""),  # its last trial ended just then
        ("2", {}, ""),
        ("130", {"FAKE_STATE": "CANCELLED"}, "the job is CANCELLED and not put back"),
        ("130", {"SLURM_RESTART_COUNT": "20"}, "interrupted after 20 restarts and not put back"),
    ],
    ids=["finished", "failed", "cancelled", "again and again"],
)
def test_what_is_not_put_back(job, code, env, told):
    job.start("sweeps/a study.py", FAKE_SWEEP=f"ends {code}", **env)
    job.wait_for("sweep")
    job.term()
    ended, _, err = job.end()
    assert ended == int(code)
    assert job.called("journal")
    assert not job.called("scontrol requeue")
    again = f"; the same sweep and options, with --out slurm-{job.id}, go on from here"
    assert err == (f"slurm.sbatch: {told}{again}\n" if told else "")


@pytest.mark.slow
def test_a_sweep_that_does_not_end_is_ended(job):
    job.quicker(grace=1)
    job.start("sweeps/a study.py", FAKE_SWEEP="hangs")
    job.wait_for("sweep")
    job.term()
    assert job.end()[0] == 0
    assert len(job.called("scontrol requeue")) == 1


def test_a_folder_that_is_somebody_elses_is_not_used(job):
    if os.geteuid():
        pytest.skip("needs root: nobody else's folder can be made")
    taken = Path(f"/tmp/ray-{job.id}")
    taken.mkdir(mode=0o777)
    os.chown(taken, 65534, 65534)
    code, _, err = job.run("sweeps/a study.py")
    log = job.checkout / "runs" / f"slurm-{job.id}.ray" / "node1.log"
    assert (code, err) == (1, f"slurm.sbatch: Ray did not start on node1: see {log}\n")
    assert f"{taken} on " in log.read_text()
    assert "is not to be had for this job alone" in log.read_text()
    assert not job.called("ray")


@pytest.mark.slow
def test_ray_that_does_not_end_is_ended(job):
    job.quicker(patience=1)
    assert job.run("sweeps/a study.py", FAKE_RAY="hangs")[0] == 0


@pytest.mark.slow
def test_a_sweep_that_lost_its_cluster_is_put_back(job):
    job.start("sweeps/a study.py", FAKE_SWEEP="follows")
    job.wait_for("sweep")
    os.kill(job.called("ray")[0]["pid"], signal.SIGTERM)
    assert _until(lambda: bool(job.called("ray ended")), 5)
    (job.folder / "fail").touch()
    assert job.end()[0] == 0
    assert len(job.called("scontrol requeue")) == 1


@pytest.mark.slow
def test_a_notice_before_the_sweep_has_started(job):
    job.start("sweeps/a study.py", FAKE_DOCTOR="waits")
    job.wait_for("astmoa")
    job.term()
    assert job.end()[0] == 0
    assert not job.called("sweep")
    assert len(job.called("scontrol requeue")) == 1


def test_a_sweeps_own_failure_is_the_jobs(job):
    code, _, err = job.run("sweeps/a study.py", FAKE_SWEEP="2")
    assert (code, err) == (2, "")
    assert not job.called("scontrol requeue")
    assert not job.called("srun rm"), "Ray's logs may tell why"


def test_nodes_that_are_not_fit_end_the_job(job):
    code, out, err = job.run("sweeps/a study.py", FAKE_DOCTOR="2")
    assert code == 2
    assert "node2: torch sees no GPU" in out
    assert err.count("\n") == 1
    assert "not fit for a sweep" in err
    assert not job.called("sweep")
    assert len(job.called("ray ended")) == 2


def test_ray_that_does_not_start_ends_the_job(job):
    code, _, err = job.run("sweeps/a study.py", FAKE_RAY="fails")
    log = job.checkout / "runs" / f"slurm-{job.id}.ray" / "node1.log"
    assert (code, err) == (1, f"slurm.sbatch: Ray did not start on node1: see {log}\n")
    assert log.read_text() == "the port is in use\n"
    assert not job.called("doctor")


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["sweeps/a study.py"], {"SLURM_JOB_ID": ""}, ["no Slurm job", "sbatch cluster/slurm.sbatch sweeps/"]),
        ([], {}, ["no sweep is named", "sbatch cluster/slurm.sbatch sweeps/"]),
        (["sweeps/absent.py"], {}, ["sweeps/absent.py: no such file", "call sbatch in the checkout"]),
        (["--quick"], {}, ["--quick: no such file"]),
        (["sweeps/a study.py"], {"SLURM_SUBMIT_DIR": "{folder}/tools"}, ["no such file in {folder}/tools"]),
        (["srun"], {"SLURM_SUBMIT_DIR": "{folder}/tools"}, ["{folder}/tools/.venv", "make install"]),
    ],
    ids=["no job", "no sweep", "absent sweep", "only options", "elsewhere", "not installed"],
)
def test_wrong_calls_end_in_one_line(job, arguments, env, words):
    code, out, err = job.run(*arguments, **{name: value.format(folder=job.folder) for name, value in env.items()})
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    for word in words:
        assert word.format(folder=job.folder) in err
    assert not job.calls()


def test_slurm_reads_all_options():
    """It stops reading at the first command."""
    lines = SCRIPT.read_text().splitlines()
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    options = [line.removeprefix("#SBATCH ") for line in lines[:first_command] if line.startswith("#SBATCH")]
    assert len(options) == sum("#SBATCH " in line and "##" not in line for line in lines)
    assert {"--requeue", "--open-mode=append", "--ntasks-per-node=1", "--signal=B:TERM@120"} <= set(options)
    values = dict(option.split("=", 1) for option in options if "=" in option)
    assert {"--nodes", "--gpus-per-node", "--cpus-per-task", "--time", "--output"} <= set(values)
    notice, (grace, patience) = 120, (_constant("grace"), _constant("patience"))
    assert grace + patience + 10 < notice, "what the notice leaves"


def _constant(name: str) -> int:
    return int(re.search(rf"(?m)^{name}=(\d+)", SCRIPT.read_text())[1])


def test_shellcheck_finds_nothing():
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here: the script is run, but not linted")
    done = subprocess.run(["shellcheck", "--shell=bash", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


COUNT = """
import json, os, sys
import ray

ray.init(log_to_driver=False)

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    import time
    time.sleep(1)
    return ray.get_runtime_context().get_node_id()

found = {"alive": sum(node["Alive"] for node in ray.nodes()), "used": len(set(ray.get([where.remote() for _ in "12"])))}
with open(sys.argv[-1], "w") as file:
    json.dump(found, file)
"""


DOCTOR = """
import sys, time
import ray

ray.init(log_to_driver=False)
while len(ray.nodes()) < int(sys.argv[sys.argv.index("--nodes") + 1]):
    time.sleep(0.2)
"""


@pytest.mark.slow
def test_real_ray_on_two_nodes(tmp_path):
    """Both on this machine, at its own address. With the real doctor as soon as there is one."""
    bin_dir = Path(sys.prefix) / "bin"
    if not (bin_dir / "ray").exists():
        pytest.skip("no ray command beside this Python")
    from ray.util import get_node_ip_address

    address = get_node_ip_address()
    if address.startswith("127."):
        pytest.skip("this machine has only a loopback address, on which Ray starts no second node")
    job = Job(tmp_path)
    try:
        told = subprocess.run([bin_dir / "astmoa", "doctor", "--help"], capture_output=True, text=True).stdout
        doctor = bin_dir / "astmoa" if "--nodes" in told else tmp_path / "doctor"
        (tmp_path / "doctor").write_text(f"#!{sys.executable}\n{DOCTOR}")
        (tmp_path / "doctor").chmod(0o755)
        for name, real in {"python": bin_dir / "python", "ray": bin_dir / "ray", "astmoa": doctor}.items():
            path = job.checkout / ".venv" / "bin" / name
            path.unlink()
            path.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
            path.chmod(0o755)
        (job.checkout / "sweeps" / "count.py").write_text(COUNT)
        found = tmp_path / "found.json"
        job.start(
            "sweeps/count.py", str(found), FAKE_ADDRESS=address, SLURM_CPUS_PER_TASK="1", SLURM_MEM_PER_NODE="512"
        )
        code, out, err = job.end(timeout=120)
        logs = "".join(path.read_text() for path in job.checkout.glob("runs/*.ray/*.log"))
        assert code == 0, out + err + logs
        assert json.loads(found.read_text()) == {"alive": 2, "used": 2}
        assert "Token authentication is disabled" not in logs
        assert not Path(f"/tmp/ray-{job.id}").exists()
    finally:
        job.kill()
