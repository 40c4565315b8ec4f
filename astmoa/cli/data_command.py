"""`astmoa data ...`: is a data set whole, and where does it come from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from astmoa.audio.doubles import told
from astmoa.audio.layout import LAYOUTS, Source
from astmoa.audio.near import is_there
from astmoa.audio.splits import some
from astmoa.config import DataConfig, DataName
from astmoa.errors import DataError, printable

if TYPE_CHECKING:
    from astmoa.audio.check import Report

_LONGEST_LINE = 5000


@dataclass(frozen=True)
class Check:
    """Look at a data set before a sweep: clips, classes, splits, missing and broken files, leakage between splits.

    Where there is nothing yet, it says what to download from where, under which licence, and what the folder will look
    like. Ends with 0 when all is well, 1 when files are missing or broken, 2 when there is no such data set.
    Example: astmoa data check esc50 ESC-50 --download
    """

    name: tyro.conf.Positional[DataName]
    """Name of a layout, or FILE.py:NAME, as in --data.name."""
    root: tyro.conf.Positional[str | None] = None
    """Folder of the data set, as in --data.root. Not needed for builtin."""
    json: bool = False
    """Print one JSON object."""
    download: bool = False
    """Download and unpack it into ROOT first, where licence and a stable address allow. An interrupted download goes
    on where it stopped."""
    fast: bool = False
    """Read headers only, instead of decoding every clip: finds missing files and most broken ones."""
    num_labels: int | None = None
    """Number of labels of Speech Commands, as in --data.num-labels."""

    def run(self) -> None:
        from astmoa.audio.check import inspect
        from astmoa.audio.standard_output import kept_clean

        config = DataConfig(self.name, root=self.root, num_labels=self.num_labels)
        layout = LAYOUTS.find(self.name)
        source = layout.source
        if self.root is None and layout.needs_root:
            raise DataError(f"no folder given: write astmoa data check {self.name} FOLDER")
        if self.download:
            _download(self.name, source, Path(self.root or "."))
        try:
            if self.root is not None and not Path(self.root).exists():
                raise DataError(f"{self.root} does not exist: {_how(self.name, self.root, source)}")
            with kept_clean():
                report = inspect(config, self.fast)
        except DataError as error:
            facts = {"name": self.name, "ok": False, "error": str(error), "source": dataclasses.asdict(source)}
            _show(facts if self.json else _expected(self.name, source))
            raise
        values = dataclasses.asdict(report)
        _show({**values, "ok": report.ok} if self.json else _lines(report, source))
        if not report.ok:
            raise SystemExit(1)


def _show(content: dict[str, Any] | list[str]) -> None:
    """One JSON object, or lines: they may hold a file's words, so that nothing in them moves a terminal."""
    lines = [json.dumps(content)] if isinstance(content, dict) else [printable(line, _LONGEST_LINE) for line in content]
    print("\n".join(lines))


def _download(name: str, source: Source, root: Path) -> None:
    from astmoa.audio.download import extract, fetch

    if source.download is None:
        raise DataError(f"{name} cannot be downloaded from here: {source.by_hand}")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        return  # the check says whether that is the data set
    root = root.absolute()
    archive = root.parent / source.download.url.rpartition("/")[2]
    ours = not archive.exists()
    extract(fetch(source.download.url, archive, source.download.checksum), root)
    if ours:
        archive.unlink()


def _how(name: str, root: str, source: Source) -> str:
    if source.download is None:
        return source.by_hand
    return f"correct the path, or get it with astmoa data check {name} {root} --download"


def _expected(name: str, source: Source) -> list[str]:
    """For people: what the folder should hold, and where that comes from."""
    lines = [f"{name}: expected layout", *(f"  {line}" for line in source.layout)]
    if source.page == "your own files":
        return lines
    lines += [f"page     {source.page}", f"licence  {source.licence}"]
    if source.download is None:
        return [*lines, f"get it   {source.by_hand}"]
    archive = source.download
    lines.append(f"archive  {archive.url} ({archive.size / 1e9:.2f} GB)")
    return [*lines, f"         {archive.checksum}, from {archive.checksum_from}"]


def _lines(report: Report, source: Source) -> list[str]:
    """The report for people, one line per question."""
    counts = report.labels
    fewest, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    classes = f"{len(counts)}, {counts[fewest]:,} ({fewest}) to {counts[most]:,} ({most}) clips each"
    if counts[fewest] == counts[most]:
        classes = f"{len(counts)}, {counts[most]:,} clips each"
    splits = ", ".join(f"{side}: {size:,}" for side, size in report.splits.items())
    how = "decoded" if report.decoded else "headers read"
    clips = f"{report.clips:,}" + (f" of {report.official:,} official" if report.official else "")
    near = {name: f"{name} ({is_there(name, found)})" for name, found in report.near.items()}
    return [
        f"{report.name}",
        f"clips    {clips}, {report.hours:.2f} hours; {report.seconds:g} s of each are used",
        f"classes  {classes}; measured by {report.metric}",
        f"splits   {splits}{'; validation is held out of train' if report.held_out else ''}",
        f"missing  {_listed([near.get(name, name) for name in report.missing])}",
        f"broken   {_listed([f'{clip}: {reason}' for clip, reason in report.broken.items()])} ({how})",
        *(
            f"mAP      {side} passes over {', '.join(labels)}: it has no clip with, or none labelled as without"
            for side, labels in report.unmeasured.items()
        ),
        f"leakage  {_leakage(report, source)}",
        *([f"leakage  {told(report.doubles, 'on two sides')}"] if report.doubles else []),
        *([f"labels   {told(report.relabelled, 'under two labels')}"] if report.relabelled else []),
        *(f"warning  {warning}" for warning in report.warnings),
        *report.problems,
    ]


def _leakage(report: Report, source: Source) -> str:
    """By groups."""
    if not report.groups:
        return f"unknown: the data name no {source.group}s"
    if not report.leaks:
        return f"none: no {source.group} is on two sides"
    first = report.leaks[0]
    groups = f"{len(report.leaks):,} {source.group}{'s are' if len(report.leaks) > 1 else ' is'} on two sides or more"
    return f"{groups}, first {first.group}: {first.clips} clips in {' and '.join(first.sides)}"


def _listed(names: Sequence[str]) -> str:
    return f"{len(names):,}: {some(list(names), '; ')}" if names else "none"
