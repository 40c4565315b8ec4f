"""What libraries print by themselves does not get into our results."""

import ctypes
import os
import subprocess
import sys

import pytest

from astmoa.audio.standard_output import kept_clean

libc = ctypes.CDLL(None)


def test_what_c_code_prints_goes_to_standard_error(capfd: pytest.CaptureFixture) -> None:
    print("before")
    with kept_clean():
        libc.puts(b"held back by the C library")
        os.write(1, b"written at once\n")
        with kept_clean():
            libc.puts(b"deeper")
        libc.puts(b"again")
    print("after")
    out, err = capfd.readouterr()
    assert out == "before\nafter\n"
    assert {"held back by the C library", "written at once", "deeper", "again"} <= set(err.splitlines())


def test_two_that_leave_in_the_order_they_came(capfd: pytest.CaptureFixture) -> None:
    first, second = kept_clean(), kept_clean()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    os.write(1, b"still noise\n")
    second.__exit__(None, None, None)
    os.write(1, b"ours\n")
    assert capfd.readouterr() == ("ours\n", "still noise\n")


def test_descriptors_that_are_closed_are_no_error() -> None:
    code = """
import ctypes, os, sys
from astmoa.audio.standard_output import kept_clean
os.close(int(sys.argv[1]))
with kept_clean():
    ctypes.CDLL(None).puts(b"noise")
os.write(3 - int(sys.argv[1]), b"done")
"""
    for closed in (1, 2):
        done = subprocess.run([sys.executable, "-c", code, str(closed)], capture_output=True, text=True, check=True)
        assert (done.stderr if closed == 1 else done.stdout).endswith("done")
        assert closed == 1 or done.stdout == "done"
