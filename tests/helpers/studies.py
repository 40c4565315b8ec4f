"""Studies run as programs, and in this process."""

import contextlib
import importlib
import io
import os
import runpy
import subprocess
import sys

from astmoa.study.options import StudyOptions
from tests.helpers import ROOT


def script(name, *args, **environment):
    command = [sys.executable, str(ROOT / "sweeps" / f"{name}.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)


def second_is_refused(name, *args, by):
    """What another process gets while process `by` has the run folder: one line that says who has it, and soon."""
    second = script(name, *args)
    assert second.returncode == 2, second.stderr
    assert f"process {by}, since 20" in second.stderr
    assert len(second.stderr.splitlines()) == 1


def run_here(path, *args):
    """A script without a process of its own, which takes seconds to start and to import: what Python code prints is
    there, what other processes and libraries in C print is not."""
    command, printed, told, code = [str(path), *map(str, args)], io.StringIO(), io.StringIO(), 0
    before, sys.argv = (sys.argv, sys.path.copy()), command
    sys.path.insert(0, str(path.parent))
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
            runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv, sys.path[:] = before
    return subprocess.CompletedProcess(command, code, printed.getvalue(), told.getvalue())


def script_here(name, *args):
    return run_here(ROOT / "sweeps" / f"{name}.py", *args)


def study(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "sweeps"))
    module = importlib.import_module(name)
    return module, getattr(module, "Options", StudyOptions)
