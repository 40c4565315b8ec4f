"""`astmoa train`: one trial in this process, without Ray."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from astmoa.config import TrialConfig, complete, read_config


@dataclass(frozen=True)
class Train:
    """Train one trial, without Ray: the same trainer that a sweep runs. Prints one line per epoch, then the test.

    Example: astmoa train --method.name soft_moa --method.num-experts 8 --optim.epochs 5
    """

    trial: Annotated[TrialConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=TrialConfig)
    config: Path | None = None
    """A config.yaml, as in an exported bundle; flags given beside it win."""
    out: Path | None = None
    """Folder for checkpoint and exported bundle; the same folder again goes on after its last epoch."""
    json: bool = False
    """Print records as JSON lines."""

    def run(self) -> None:
        from astmoa.study.train_one import train_one

        train_one(complete(self.trial), self.out, self.json)


def config_file(args: list[str]) -> TrialConfig:
    """The trial in the file after --config, which the flags then change; the default trial without one."""
    names = [argument.split("=", 1) for argument in args if argument.startswith("--config=")]
    path = names[-1][1] if names else args[args.index("--config") + 1] if "--config" in args[:-1] else None
    if path is None:
        return TrialConfig()
    return read_config(Path(path))
