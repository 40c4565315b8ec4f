"""`--help` of every command and every study: at once, and in the width of a terminal."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT

ALL_HELPS = """
import contextlib, io, runpy, sys, time
from pathlib import Path
root = Path(sys.argv[1])
from astmoa.cli.main import COMMANDS, main
def shown(run):
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        run()
    return told.getvalue()
calls = {"astmoa": lambda: main(["--help"])}
calls |= {name: lambda name=name: main([name, "--help"]) for name in COMMANDS}
for path in sorted((root / "sweeps").glob("*.py")):
    def run(path=path):
        sys.argv = [str(path), "--help"]
        runpy.run_path(str(path), run_name="__main__")
    calls[path.name] = run
for name, call in calls.items():
    text = shown(call)
    assert len(text) > 300, (name, text)
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert not wide, (name, wide[:3])
    for option in ("--seeds", "--cross-validate") if "frontier.py" == name else ():
        assert f" {option}" not in text, (name, option)
main(["params", "soft_moa"])
heavy = {"torch", "transformers", "ray", "optuna", "mlflow", "scipy", "pandas", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.slow
def test_every_help_fits_a_terminal_and_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", ALL_HELPS, str(ROOT)],
        capture_output=True,
        text=True,
        env={"COLUMNS": "80", "PATH": "", "HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
