"""cluster/gpu.yaml and cluster/on_prem.yaml against Ray's own schema and preparation, and AWS as moto plays it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from astmoa.backend import autoscaler
from astmoa.cli.main import main
from tests.helpers import ROOT

FILES = ["gpu.yaml", "on_prem.yaml"]


def with_everything_set(name: str) -> str:
    text = without_marks(name).replace("ami-0123456789abcdef0", "ami-00ff00ff00ff00ff0")
    return text.replace("s3://my-bucket/", "s3://sounds/")


def without_marks(name: str) -> str:
    return (ROOT / "cluster" / name).read_text().replace("!SET_ME ", "")


def doctor(path: Path, capsys) -> tuple[int, list[str]]:
    try:
        main(["doctor", str(path)])
    except SystemExit as end:
        return end.code, capsys.readouterr().err.splitlines()
    return 0, capsys.readouterr().err.splitlines()


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", FILES)
def test_with_its_marked_fields_set_a_file_is_ready(name, tmp_path, capsys):
    path = tmp_path / name
    path.write_text(with_everything_set(name))
    assert doctor(path, capsys) == (0, [])


@pytest.mark.parametrize("name", FILES)
def test_unset_fields_are_named_with_their_lines_and_all_stand_at_the_top(name, capsys):
    code, told = doctor(Path("cluster") / name, capsys)
    marked = [n for n, line in enumerate(Path("cluster", name).read_text().splitlines(), 1) if "!SET_ME" in line]
    assert code == 2
    assert [int(line.split(":")[1]) for line in told] == marked
    top = next(
        n for n, line in enumerate(Path("cluster", name).read_text().splitlines(), 1) if n > 20 and "# ----" in line
    )
    assert max(marked) < top


def test_what_is_an_examples_is_not_set(tmp_path, capsys):
    path = tmp_path / "gpu.yaml"
    path.write_text(without_marks("gpu.yaml"))
    code, told = doctor(path, capsys)
    assert code == 2
    assert [
        words in line
        for words, line in zip(("s3://my-bucket/ is the", "ami-0123456789abcdef0 is the"), told, strict=True)
    ]


def test_what_ray_needs_for_aws_is_asked_for(tmp_path, capsys, monkeypatch):
    path = tmp_path / "gpu.yaml"
    path.write_text(with_everything_set("gpu.yaml"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, (told,) = doctor(path, capsys)
    assert code == 2
    assert "Ray needs boto3 for AWS, which is not here: pip install --editable '.[aws]'" in told


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_ray_itself_refuses_a_file_with_unset_fields_before_anything_starts(name, tmp_path):
    command = [shutil.which("ray", path=str(Path(sys.executable).parent)), "up", "--yes", f"cluster/{name}"]
    environment = {**os.environ, "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode != 0
    assert "!SET_ME" in (done.stdout + done.stderr).splitlines()[-1] + done.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("idle_timeout_minutes", "idle_timeout_minuts", "'idle_timeout_minuts' was unexpected"),
        ("max_workers: &most 8", "max_workers: &most eight", "'eight' is not of type 'integer'"),
        ("head_node_type: head", "head_node_type: boss", "`head_node_type` must be one of"),
        ("type: aws", "type: was", "was"),
        (
            "astmoa: astmoa\n",
            "astmoa: nowhere\n",
            "file_mounts: nowhere does not exist: call from the checkout's top folder",
        ),
        ("cluster_name: astmoa", "cluster_name: [", "no YAML"),
    ],
)
def test_what_ray_would_not_take_is_one_line(old, new, words, tmp_path, capsys):
    text = with_everything_set("gpu.yaml")
    assert old in text
    path = tmp_path / "gpu.yaml"
    path.write_text(text.replace(old, new, 1))
    code, told = doctor(path, capsys)
    assert code == 2
    assert len(told) == 1
    assert words in told[0]
    assert str(path) in told[0]


@pytest.mark.parametrize(
    "setting",
    [
        "MLFLOW_TRACKING_URI=http://ann:hush@10.0.0.1:5000",
        "AWS_SECRET_ACCESS_KEY=hush",
        "ASTMOA_STORAGE=s3://a:hush@b/c",
    ],
)
def test_a_password_in_a_file_is_one_line_that_does_not_repeat_it(setting, tmp_path, capsys):
    path = tmp_path / "gpu.yaml"
    path.write_text(with_everything_set("gpu.yaml").replace("MLFLOW_TRACKING_URI=http://127.0.0.1:5000", setting))
    code, (told,) = doctor(path, capsys)
    assert code == 2
    assert re.match(rf"{re.escape(str(path))}:\d+: a password or a key stands here", told)
    assert "hush" not in told


def test_what_is_no_text_or_a_folder_is_one_line(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\x80\x81")
    for given, words in ((path, "cannot be read"), (tmp_path, "is a folder")):
        code, (told,) = doctor(given, capsys)
        assert code in (1, 2)
        assert words in told
        assert "name a cluster file" in told


def test_a_file_that_is_not_there_is_one_line(capsys):
    code, told = doctor(Path("cluster/gpx.yaml"), capsys)
    assert (code, len(told)) == (2, 1)
    assert "cluster/gpx.yaml does not exist" in told[0]


@pytest.mark.parametrize("name", FILES)
def test_no_secret_and_no_port_to_the_world_is_in_a_file(name):
    text = (ROOT / "cluster" / name).read_text()
    assert not re.search(r"(?i)password|secret|AKIA|aws_access_key", text)
    assert "0.0.0.0" not in text
    config = yaml.safe_load(with_everything_set(name))
    (start,) = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in start
    assert all(command != "ray stop" or index == 0 for index, command in enumerate(config["head_start_ray_commands"]))


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """AWS on this machine, and a home for the key that Ray makes."""
    moto = pytest.importorskip("moto")
    from ray.autoscaler._private.aws import config as aws_config

    monkeypatch.setattr(aws_config.time, "sleep", lambda seconds: None)  # for the real AWS to spread the news
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(key, "moto")
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    (tmp_path / ".ssh").mkdir()
    with moto.mock_aws():
        yield


@pytest.mark.slow
def test_at_aws_the_security_group_opens_ssh_alone_and_workers_are_spot(aws, tmp_path):
    import boto3
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(with_everything_set("gpu.yaml")))
    validate_config(config)
    made = AWSNodeProvider.fillout_available_node_types_resources(bootstrap_aws(config))
    types = made["available_node_types"]
    (group,) = {*types["gpu"]["node_config"]["SecurityGroupIds"], *types["head"]["node_config"]["SecurityGroupIds"]}
    ec2 = boto3.client("ec2", region_name="us-west-2")
    rules = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    from_outside = [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"]]
    assert [(rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) for rule in from_outside] == [(22, 22, "tcp")]
    inside = [rule for rule in rules if not rule["IpRanges"]]
    assert [pair["GroupId"] for rule in inside for pair in rule["UserIdGroupPairs"]] == [group]
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["gpu"]["resources"]["GPU"] == 1
    assert types["head"]["resources"]["CPU"] == 0
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["max_workers"] == made["max_workers"] == 8
    assert made["head_node"]["IamInstanceProfile"]["Arn"]
    bootstrap = tmp_path / "ray_bootstrap_config.yaml"  # as `ray up` leaves it on the head
    bootstrap.write_text(json.dumps(made))
    known = autoscaler._read(bootstrap)
    assert known.least == 1
    assert [(machine["CPU"], machine.get("GPU", 0)) for machine in known.most] == [(0, 0)] + 8 * [(4, 1)]


def test_shell_scripts_are_clean():
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck here")
    scripts = [str(path) for path in sorted((ROOT / "cluster").glob("*.sh"))] + [".ci/run"]
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
