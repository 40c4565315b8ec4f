"""A cloud of this computer for Ray's autoscaler: it starts and ends machines of tests/helpers/machines.py."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from tests.helpers.machines import Cluster, Session

HEAD_TAGS = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: "head"}
HEAD = "the-head"


class Cloud(NodeProvider):
    """As Ray's own providers are: it lives in the autoscaler's process."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str):
        super().__init__(provider_config, cluster_name)
        self._folder = Path(provider_config["folder"])
        self._tags: dict[str, dict[str, str]] = {HEAD: HEAD_TAGS}
        self._sessions: dict[str, Session] = {}

    def create_node_with_resources_and_labels(
        self, node_config: Any, tags: dict, count: int, resources: dict, labels: Any
    ) -> None:
        address = (self._folder / "0" / "ray_current_cluster").read_text()
        for _ in range(count):
            name = f"m{uuid.uuid4().hex[:6]}"
            folder = self._folder / name
            own = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
            own += [f"--temp-dir={folder}", "--object-store-memory=150000000", "--include-log-monitor=false"]
            own += [f"--num-cpus={resources['CPU']}", f"--num-gpus={resources['GPU']}", f"--address={address}"]
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *own]
            known = {
                "RAY_CLOUD_INSTANCE_ID": name,
                "RAY_NODE_TYPE_NAME": tags[TAG_RAY_USER_NODE_TYPE],
                "RAY_enable_autoscaler_v2": "1",
            }
            self._sessions[name] = Session(command, {**os.environ, **known}, folder.with_suffix(".log"))
            folder.with_suffix(".session").write_text(str(self._sessions[name].process.pid))
            self._tags[name] = dict(tags)

    def non_terminated_nodes(self, tag_filters: dict) -> list[str]:
        return [name for name, tags in self._tags.items() if tag_filters.items() <= tags.items()]

    def is_running(self, node_id: str) -> bool:
        return node_id in self._tags

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self._tags

    def node_tags(self, node_id: str) -> dict:
        return self._tags[node_id]

    def set_node_tags(self, node_id: str, tags: dict) -> None:
        self._tags[node_id] = self._tags[node_id] | tags

    def terminate_nodes(self, node_ids: list[str]) -> None:
        for name in node_ids:
            self._sessions.pop(name).kill()
            del self._tags[name]


class ElasticCluster(Cluster):
    """A head that runs no trials, and up to `most` machines with two CPUs and a made-up GPU, which come and go."""

    def __init__(self, most: int, idle_minutes: float):
        gpu = {"resources": {"CPU": 2, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most}
        nothing = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray", "initialization")
        self._config = {
            "cluster_name": "elastic",
            "max_workers": most,
            "provider": {"type": "external", "module": f"{__name__}.Cloud", "disable_node_updaters": True},
            "available_node_types": {
                "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "gpu": gpu,
            },
            "head_node_type": "head",
            "idle_timeout_minutes": idle_minutes,
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            **{f"{name}_commands": [] for name in nothing},
        }
        super().__init__(head_cpus=0)

    def _start(self, arguments: Sequence[str], cpus: int, gpus: int, within: Sequence[str] = ()) -> Session:
        file = self.folder / "bootstrap.yaml"
        self._config["provider"]["folder"] = str(self.folder)
        file.write_text(yaml.safe_dump(self._config))
        known = {"RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_NODE_TYPE_NAME": "head"}
        self.environment |= known | {"AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        return super()._start([*arguments, f"--autoscaling-config={file}"], cpus, gpus, within)

    def close(self) -> None:
        self.head.kill()  # first, or it would start others
        sessions = [file.read_text() for file in self.folder.glob("*.session")]
        if sessions:
            subprocess.run(["pkill", "-KILL", "-s", ",".join(sessions)])
        super().close()
