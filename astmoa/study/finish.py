"""What a study leaves in its run folder when it ends, and shows of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from astmoa.errors import printable, tell
from astmoa.provenance import program


def finish(out: Path, storage: str | None = None) -> None:
    """Write table, picture and best bundle, from the journal alone.
    A sweep without a completed trial gets what there is."""
    from astmoa.bundles.export import export
    from astmoa.records.load import load_sweep
    from astmoa.report.pictures import frontier_picture
    from astmoa.report.tables import write_tables

    sweep = load_sweep(out)
    _report(out, "table", lambda: write_tables(sweep, out))
    _report(out, "picture", lambda: frontier_picture(sweep, out / "frontier.png"))
    if sweep.states["completed"]:
        export(out, "best", out / "best", storage)


def _report(out: Path, what: str, make: Callable[[], object]) -> None:
    """Make a part of the report; where that fails, say so in one line."""
    try:
        make()
    except Exception as error:  # drawing raises what it likes, and no report is worth the bundle that comes after it
        again = shlex.join([program("astmoa"), "frontier", str(out)])
        line = f"No {what} ({type(error).__name__}: {error}); make it again with: {again}"
        tell(line)


def show(out: Path, uri: str, tracking_error: str | None) -> None:
    """The end of a study on the terminal: the table, and where everything is."""
    from astmoa.records.load import load_sweep
    from astmoa.report.tables import rich_table
    from astmoa.tracking import ui_command

    console = Console()
    sweep = load_sweep(out)
    _report(out, "table", lambda: console.print(rich_table(sweep)))
    lines: dict[str, Path | str] = {"Picture": out / "frontier.png", "Journal": out / "journal.jsonl"}
    if sweep.states["completed"]:
        lines["Best configuration"] = f"{out / 'best'}   ({program('astmoa')} predict {out / 'best'} clip.wav)"
    lines["MLflow UI"] = ui_command(uri)
    for name, value in lines.items():
        console.print(printable(f"{name + ':':<20} {value}"), highlight=False, soft_wrap=True, markup=False)
    if tracking_error:
        text = printable(f"Tracking is behind: {tracking_error}")
        console.print(text, highlight=False, soft_wrap=True, markup=False)


def report_effects(run_dir: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Print and keep what the second of two points has more than the first, pair by pair; labels that the run does not
    have are left out."""
    from astmoa.records.load import load_sweep
    from astmoa.report.effects import effects, effects_table, write_effects

    sweep = load_sweep(run_dir)
    labels = {point.label for point in sweep.points()}
    found = effects(sweep, [pair for pair in pairs if set(pair) <= labels])
    print(effects_table(found))
    print(f"Effects: {write_effects(found, run_dir)}")
