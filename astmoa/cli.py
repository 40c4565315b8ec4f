"""`astmoa ...`: one trial, and everything that reads a run folder."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from astmoa import command_line
from astmoa.bundle_cli import Export, Reproduce
from astmoa.config import ExpertName, MethodConfig, MethodName, TrialConfig, complete, read_config
from astmoa.data_cli import Check
from astmoa.doctor_cli import Doctor
from astmoa.errors import ConfigError, exit_in_one_line, shown
from astmoa.files import check_place
from astmoa.method_cli import MethodCheck
from astmoa.replay_cli import Replay
from astmoa.shape import BackboneShape
from astmoa.text import printable

Positional = tyro.conf.Positional
_LARGEST_SIZE = 10**9


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
        from astmoa.train_one import train_one

        train_one(complete(self.trial), self.out, self.json)


@dataclass(frozen=True)
class Params:
    """Count a method's trainable parameters in closed form, as the papers count (without --num-classes: without head).

    Example: astmoa params soft_moa --num-experts 14 --slots-per-expert 1 --bottleneck-dim 1
    """

    name: Positional[MethodName]
    num_experts: int = 1
    slots_per_expert: int = 1
    bottleneck_dim: int = 1
    placement: Literal["attention", "ffn", "both"] = "attention"
    expert: ExpertName = "bottleneck"
    convolution: Literal["1d", "2d"] = "1d"
    num_virtual_tokens: int | None = None
    layers: tuple[int, ...] | None = None
    hidden_size: int = 768
    num_layers: int = 12
    intermediate_size: int | None = None
    """Width inside the MLP. Default: four times --hidden-size."""
    num_tokens: int = 1214
    """Tokens of one clip: full fine-tuning trains their positions. 590 for ESC-50's 5 s."""
    num_classes: int = 0
    """Classes of the head; 0 leaves head and final LayerNorm out."""
    budget: int | None = None
    """Solve the largest bottleneck within this many parameters instead of using --bottleneck-dim."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        from astmoa.methods.params import count_params, solve_bottleneck

        for key, least in (
            ("hidden_size", 1),
            ("num_layers", 1),
            ("num_tokens", 1),
            ("intermediate_size", 1),
            ("num_classes", 0),
        ):
            value = getattr(self, key)
            if value is not None and not least <= value <= _LARGEST_SIZE:
                raise ConfigError(
                    f"{key}={shown(value)} is not possible: give a whole number of at least {least} and at most "
                    f"{_LARGEST_SIZE:,}"
                )
        fields = {field.name for field in dataclasses.fields(MethodConfig)}
        method = MethodConfig(**{key: value for key, value in vars(self).items() if key in fields})
        inner = 4 * self.hidden_size if self.intermediate_size is None else self.intermediate_size
        shape = BackboneShape(self.hidden_size, self.num_layers, inner, num_tokens=self.num_tokens)
        if self.budget is not None:
            method = solve_bottleneck(self.budget, method, shape)
        count = count_params(method, shape, self.num_classes)
        values = {"bottleneck_dim": method.bottleneck_dim, **count.to_dict()}
        if self.json:
            print(json.dumps(values))
        else:
            for key, value in values.items():
                print(f"{key:<22}{value:>12,}")


@dataclass(frozen=True)
class Frontier:
    """Show a sweep's frontier from its journal, and write its tables and picture anew."""

    run_dir: Positional[Path]
    json: bool = False
    """Print points (marked front, knee, best; in a search also near, 3-D) and hypervolume as one JSON object."""
    picture: Path | None = None
    """Where to write the picture, a PNG file. Default: RUN_DIR/frontier.png"""

    def run(self) -> None:
        from astmoa.records import load_sweep
        from astmoa.report.pictures import frontier_picture
        from astmoa.report.tables import rich_table, summary, write_tables

        if self.picture is not None:
            _check_picture(self.picture)
        sweep = load_sweep(self.run_dir)
        write_tables(sweep, self.run_dir)
        if not self.json:
            Console().print(rich_table(sweep))
        picture = frontier_picture(sweep, self.picture or self.run_dir / "frontier.png")
        if self.json:
            print(json.dumps({**summary(sweep), "picture": str(picture)}))
        else:
            print(printable(f"Picture: {picture}"))


def _check_picture(path: Path) -> None:
    """Better before anything is written or shown than after. Raises ConfigError."""
    if path.suffix.lower() not in (".png", ""):
        raise ConfigError(f"--picture {path} is not possible: pictures are PNG files, so give a name that ends in .png")
    try:
        check_place(path)
    except OSError as error:
        raise ConfigError(
            f"--picture {path} is not possible ({error.strerror}): give a file in a folder that can be written"
        ) from None


@dataclass(frozen=True)
class Predict:
    """Print the labels of audio files with their probabilities."""

    bundle: Positional[Path]
    """A folder that `astmoa export` wrote (or RUN_DIR/best)."""
    clips: Positional[tuple[Path, ...]]
    top: int = 5
    """Labels per clip."""
    json: bool = False
    """Print one JSON object per clip."""
    trust_code: bool = False
    """Run the code of the method that the bundle brings along, if it is one from outside: trust its author?"""

    def run(self) -> None:
        from astmoa.bundles.bundle import trust
        from astmoa.bundles.export import Predictor, check_top

        if not self.clips:
            raise ConfigError("no clip given: name at least one audio file")
        check_top(self.top)
        for folder in filter(Path.is_dir, self.clips):
            raise ConfigError(f"{folder} is a folder: name the sounds in it, such as {folder / '*.wav'}")
        if self.trust_code:
            trust(self.bundle)
        predictor = Predictor(self.bundle)
        for clip in self.clips:
            predictions = predictor.predict(clip, self.top)
            if self.json:
                print(json.dumps({"clip": str(clip), "predictions": [dataclasses.asdict(p) for p in predictions]}))
            else:
                print(printable(clip))
                for prediction in predictions:
                    print(f"  {100 * prediction.probability:6.2f} %  {printable(prediction.label)}")


@dataclass(frozen=True)
class Track:
    """Bring MLflow up to date with a run folder's journal: after the tracker was down, or into another tracker.

    What is there already is found and completed, nothing is made twice. Runs of this sweep that were deleted in the UI
    come back: to be rid of them, remove the run folder, too.
    """

    run_dir: Positional[Path]
    tracking_uri: str | None = None
    """Default: the tracker that the run had, else $MLFLOW_TRACKING_URI, else the file mlflow.db beside the folder."""

    def run(self) -> None:
        from astmoa.resume import tracker
        from astmoa.tracking import redact, sync, ui_command

        uri, another = tracker(Path(self.run_dir), self.tracking_uri)
        if another:
            print(printable(another), file=sys.stderr)
        mirrored = sync(self.run_dir, uri)
        back = f", {mirrored.num_restored} of them out of the bin" if mirrored.num_restored else ""
        print(printable(f"Tracked: {mirrored.num_trials + 1} runs{back}, in {redact(uri)}, {mirrored.experiment}"))
        print(printable(f"MLflow UI: {ui_command(uri)}"))


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
        return command_line.parse(Train, args[1:], "astmoa train", default=Train(trial=_config_file(args)))
    for name, kind in {"data": Check, "method": MethodCheck}.items():
        if args and args[0] == name:
            if args[1:2] and args[1] not in ("check", "--help", "-h"):
                what = "NAME ROOT" if name == "data" else "FILE.py:CLASS"
                raise ConfigError(f"astmoa {name} {args[1]}: no such command; there is astmoa {name} check {what}")
            return command_line.parse(kind, args[2:] or ["--help"], f"astmoa {name} check")
    return command_line.parse_command(COMMANDS, args, "astmoa", description)


def _config_file(args: list[str]) -> TrialConfig:
    """The trial in the file after --config, which the flags then change; the default trial without one."""
    names = [argument.split("=", 1) for argument in args if argument.startswith("--config=")]
    path = names[-1][1] if names else args[args.index("--config") + 1] if "--config" in args[:-1] else None
    if path is None:
        return TrialConfig()
    return read_config(Path(path))


if __name__ == "__main__":
    main()
