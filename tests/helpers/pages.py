"""The pages of docs/, and the examples in them."""

import re

from tests.helpers import ROOT

DOCS = ROOT / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
