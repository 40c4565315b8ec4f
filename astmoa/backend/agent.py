"""Runs in place of Ray's dashboard agent where a sweep has a Ray of its own (own_ray.py starts it; nobody imports it).

Ray's agent takes seconds to come up, listens on three ports (metrics, jobs, the dashboard's) and does nothing for a
sweep; but Ray's node waits for it, and on a busy machine in vain. This one says at once that none of the three is in
use, in the files in which Ray's own says so where it is installed without a dashboard, and ends with the node.
"""

import os
import sys
import time

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")


def main(words: list[str]) -> None:
    told = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    node = int(os.environ.get("RAY_RAYLET_PID") or os.getppid())
    for port in PORTS:
        path = os.path.join(told["session-dir"], f"{port}_{told['node-id']}")
        with open(f"{path}.new", "w") as file:
            file.write("-1")
        os.replace(f"{path}.new", path)  # the node reads it as soon as it is there
    while os.getppid() == node:
        time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1:])
