"""A model of what Optuna's samplers do not know: the size of every candidate is given before it is trained.

Only accuracy is uncertain, so only accuracy is modelled: a Gaussian process over the candidates' dials and log10 size.
Of all candidates left it takes the one whose accuracy is expected to add most to the hypervolume of the front. For one
uncertain objective that expectation is a sum over the front's steps (Emmerich et al. 2006, here with the other
objective exact): a step of width w at height a gains w * E[max(0, y - a)], y normal.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel
from threadpoolctl import ThreadpoolController

from astmoa.pareto import frontier

_REFIT_EVERY = 8
_MOST_FITTED = 200
"""Results that the kernel is fitted to, and how many more there are before it is fitted anew, at first (later it is a
tenth or so of them): a fit is nearly all of an ask's price, and grows with the cube of the results."""
_MOST_RESULTS, _MOST_CANDIDATES = 400, 1000
"""Results that the model is made of, the last ones and the front's, and candidates that it is asked about, at random
where more are left: so the thousandth ask costs what the four hundredth did."""
_MARGIN = 0.05
"""Decades beyond the largest candidate from which areas are measured, so that it can gain something too."""


class Ehvi:
    """sizes: [candidates] trainable parameters without the head. features: [candidates, columns], `Pool.features`."""

    def __init__(self, sizes: Sequence[int], features: np.ndarray):
        self._sizes, self._features = np.asarray(sizes, dtype=np.float64), features
        self._threads = ThreadpoolController()
        self._kernel_of: tuple[bytes, Kernel] | None = None  # the last fit, and what it was made of

    def best(
        self, rows: Sequence[int], values: ArrayLike, running: Sequence[int], left: np.ndarray, seed: int = 0
    ) -> int:
        """The candidate to try next: one of those that are `left` ([candidates] bool).

        rows: the candidates with a result, in the order of their ends; values: their (log10 parameters, accuracy).
        running: those without one yet, which are believed to come to the accuracy that is expected. seed: of the draw
        where candidates are many.
        """
        with self._threads.limit(limits=1):  # many threads for small matrices wait for each other
            open_rows = np.flatnonzero(left)
            if len(open_rows) > _MOST_CANDIDATES:
                rng = np.random.default_rng(seed)
                open_rows = np.sort(rng.choice(open_rows, _MOST_CANDIDATES, replace=False))
            return self._best(np.array(rows), np.array(values)[:, :2], np.array(running, dtype=np.int64), open_rows)

    def _best(self, rows: np.ndarray, values: np.ndarray, running: np.ndarray, open_rows: np.ndarray) -> int:
        head = np.median(10 ** values[:, 0] - self._sizes[rows])  # the classifier, the same for all: results have it
        sizes = np.log10(np.maximum(self._sizes + head, 1))  # a linear probe has 0 without it
        inputs = np.column_stack([self._features, _unit(sizes)])
        kernel = self._kernel(inputs[rows], values[:, 1])
        kept = np.union1d(np.arange(len(rows))[-_MOST_RESULTS:], frontier.front(values))
        seen, accuracy = rows[kept], values[kept, 1]
        model = _conditioned(kernel, inputs[seen], accuracy)
        if len(running):
            accuracy = np.concatenate([accuracy, model.predict(inputs[running])])
            seen = np.concatenate([seen, running])
            model = _conditioned(kernel, inputs[seen], accuracy)
        mean, spread = model.predict(inputs[open_rows], return_std=True)
        # Of the accuracy itself, without the noise of one run: what is seen stands at its mean, lucky or not.
        known = model.predict(inputs[seen])
        noise = kernel.k2.noise_level * (np.var(accuracy) or 1.0)
        spread = np.sqrt(np.maximum(spread**2 - noise, 1e-12))
        reference = sizes.max() + _MARGIN, min(mean.min(), known.min())
        gain = expected_gain(sizes[open_rows], mean, spread, np.column_stack([sizes[seen], known]), reference)
        return int(open_rows[np.argmax(gain)])

    def _kernel(self, inputs: np.ndarray, accuracy: np.ndarray) -> Kernel:
        """Fitted to the first results: a function of them, whatever was asked before."""
        doublings = max(0, (len(accuracy) // (10 * _REFIT_EVERY)).bit_length() - 1)
        step = min(len(accuracy), _REFIT_EVERY * 2**doublings)
        number = len(accuracy) // step * step
        some = np.sort(np.random.default_rng(number).permutation(number)[:_MOST_FITTED])
        made_of = inputs[some].tobytes() + accuracy[some].tobytes()
        if self._kernel_of is None or self._kernel_of[0] != made_of:
            start = ConstantKernel(1.0, (0.05, 20)) * Matern(np.ones(inputs.shape[1]), (0.1, 20), nu=2.5)
            model = GaussianProcessRegressor(start + WhiteKernel(0.3, (0.01, 2)), normalize_y=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a bound that is met is a bound
                model.fit(inputs[some], accuracy[some])
            self._kernel_of = made_of, model.kernel_
        return self._kernel_of[1]


def _conditioned(kernel: Kernel, inputs: np.ndarray, accuracy: np.ndarray) -> GaussianProcessRegressor:
    return GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True).fit(inputs, accuracy)


def expected_gain(
    sizes: np.ndarray, mean: np.ndarray, spread: np.ndarray, points: np.ndarray, reference: Sequence[float]
) -> np.ndarray:
    """[c] by how much the hypervolume of `points` ([p, 2] log10 size and accuracy) is expected to grow, from
    `reference`, with one more point of this size (exact) and accuracy (normal: `mean`, `spread` above 0): each [c]."""
    edge = points[frontier.front(points)]
    begins = np.concatenate([[-np.inf], edge[:, 0]])
    ends = np.concatenate([edge[:, 0], [np.inf]])
    heights = np.maximum(np.concatenate([[reference[1]], edge[:, 1]]), reference[1])
    gain = np.zeros(len(sizes))
    for begin, end, height in zip(begins, ends, heights, strict=True):
        width = np.clip(np.minimum(end, reference[0]) - np.maximum(begin, sizes), 0, None)
        z = (mean - height) / spread
        gain += width * spread * (z * norm.cdf(z) + norm.pdf(z))
    return gain


def _unit(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
