"""Nothing inserted: what every method has to beat."""

from __future__ import annotations

from astmoa.methods.method import Dials, Method, ParamCount, register
from astmoa.methods.shape import BackboneShape


@register
class Linear(Method):
    """the head alone"""

    name = "linear"
    paper = "arXiv 2402.00828, baseline"
    peak_lr = 1e-3

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        return ParamCount(adapter=0)

    def insert(self, graft, dials, faithful, generator, seed) -> None:
        """Nothing."""
