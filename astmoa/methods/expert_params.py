"""The parameters of one adapter, in closed form."""

from __future__ import annotations

from astmoa.methods.method import Dials

CONFORMER_KERNEL_SIZE = 31


def expert_params(kind: str, dials: Dials, d: int) -> int:
    """bottleneck 2 d r + r + d; Convpass 3 r^2 + r more (2d: 9 r^2 + r); Conformer down to 2 r, with a LayerNorm,
    a depth-wise convolution and a batch normalisation."""
    r, k = dials.bottleneck_dim, CONFORMER_KERNEL_SIZE
    if kind == "conformer":
        return 2 * d + (2 * d * r + 2 * r) + (k * r + r) + 2 * r + (r * d + d)
    taps = {"1d": 3, "2d": 9}[dials.convolution]
    return 2 * d * r + r + d + (taps * r * r + r if kind == "convpass" else 0)
