"""`astmoa ...`: one trial, and everything that reads a run folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from astmoa.cli.data_command import Check
from astmoa.cli.doctor_command import Doctor
from astmoa.cli.export_command import Export
from astmoa.cli.frontier_command import Frontier
from astmoa.cli.method_command import MethodCheck
from astmoa.cli.params_command import Params
from astmoa.cli.predict_command import Predict
from astmoa.cli.replay_command import Replay
from astmoa.cli.reproduce_command import Reproduce
from astmoa.cli.track_command import Track
from astmoa.cli.train_command import Train, config_file
from astmoa.errors import ConfigError, exit_in_one_line
from astmoa.study import command_line


@dataclass(frozen=True)
class Data:
    """Look at a data set, or download it: astmoa data check NAME ROOT"""


@dataclass(frozen=True)
class Method:
    """Try a method of your own on a tiny backbone: astmoa method check FILE.py:CLASS"""


COMMANDS = {
    "train": Train,
    "params": Params,
    "frontier": Frontier,
    "export": Export,
    "reproduce": Reproduce,
    "predict": Predict,
    "replay": Replay,
    "track": Track,
    "doctor": Doctor,
    "data": Data,
    "method": Method,
}


def main(args: list[str] | None = None) -> None:
    """Entry point. A user's error ends it with one line and exit code 2."""
    args = sys.argv[1:] if args is None else args
    with exit_in_one_line("with --out, the same command goes on after its last epoch"):
        _parse(args).run()


def _parse(args: list[str]):
    description = (
        "Sweeps over mixtures of adapters in a frozen Audio Spectrogram Transformer. The sweeps are in sweeps/."
    )
    if args and args[0] == "train":
        return command_line.parse(Train, args[1:], "astmoa train", default=Train(trial=config_file(args)))
    for name, kind in {"data": Check, "method": MethodCheck}.items():
        if args and args[0] == name:
            if args[1:2] and args[1] not in ("check", "--help", "-h"):
                what = "NAME ROOT" if name == "data" else "FILE.py:CLASS"
                raise ConfigError(f"astmoa {name} {args[1]}: no such command; there is astmoa {name} check {what}")
            return command_line.parse(kind, args[2:] or ["--help"], f"astmoa {name} check")
    return command_line.parse_command(COMMANDS, args, "astmoa", description)


if __name__ == "__main__":
    main()
