"""`astmoa method check FILE.py:CLASS`: does a method of yours hold what holds for all of ours?"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from astmoa.errors import printable

if TYPE_CHECKING:
    pass

from astmoa.study.method_check import Finding, check_method


@dataclass(frozen=True)
class MethodCheck:
    """Try a method on a tiny backbone, with each of its dials: shapes, start, count, gradients, save and reload.

    One line for each thing that holds for all methods, and exit code 1 where one of them does not.
    Example: astmoa method check my_adapters.py:Scaled
    """

    name: Positional[str]
    """FILE.py:CLASS, MODULE:CLASS, or one of the package's."""
    json: bool = False
    """Print one JSON object instead: ok, and the lines."""

    def run(self) -> None:
        findings = list(check_method(self.name))
        ok = not any(finding.wrong for finding in findings)
        if self.json:
            print(json.dumps({"ok": ok, "findings": [vars(finding) for finding in findings]}))
        else:
            for finding in findings:
                print(printable(f"{'FAILS' if finding.wrong else 'ok   '}  {finding.what}{_why(finding)}"))
        if not ok:
            sys.exit(1)


def _why(finding: Finding) -> str:
    return f": {finding.wrong}" if finding.wrong else ""
