"""An Optuna sampler that knows what Optuna's own do not: the size of every candidate before it is trained.

Only accuracy is uncertain, so only accuracy is modelled: a Gaussian process over the candidates' dials and log10 size.
Of all candidates left it takes the one whose accuracy is expected to add most to the hypervolume of the front. For one
uncertain objective that expectation is a sum over the front's steps (Emmerich et al. 2006, here with the other
objective exact): a step of width w at height a gains w * E[max(0, y - a)], y normal.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel
from threadpoolctl import ThreadpoolController

from astmoa import frontier
from astmoa.sweep.encoding import Encoding
from astmoa.sweep.pool import Pool

_REFIT_EVERY = 8
_MOST_FITTED = 200
"""Results that the kernel is fitted to, and how many more there are before it is fitted anew: a fit is nearly all of an
ask's price, which grows with the cube of the results. The model itself is always made of all of them."""
_MARGIN = 0.05
"""Decades beyond the largest candidate from which areas are measured, so that it can gain something too."""


class EhviSampler(BaseSampler):
    """pool: the candidates left. sizes: [candidates of the pool] trainable parameters without the head."""

    def __init__(self, pool: Pool, encoding: Encoding, sizes: Sequence[int]):
        self._pool, self._encoding = pool, encoding
        self._sizes = np.asarray(sizes, dtype=np.float64)
        self._others = RandomSampler(0)
        self._threads = ThreadpoolController()
        self._kernel_of: tuple[bytes, Kernel] | None = None  # the last fit, and what it was made of

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._encoding.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        told = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        rows = np.array([self._pool.row(self._encoding.decode(t.params)) for t in told])
        waiting = [self._pool.row(self._encoding.decode(t.params)) for t in running if t.number != trial.number]
        totals, accuracy = np.array([t.values for t in told]).T[:2]
        head = np.median(10**totals - self._sizes[rows])  # the classifier, the same for all: told sizes have it
        sizes = np.log10(np.maximum(self._sizes + head, 1))  # a linear probe has 0 without its head
        with self._threads.limit(limits=1):  # many threads for small matrices wait for each other
            row = self._best(sizes, rows, accuracy, np.array(waiting, dtype=np.int64))
        return self._encoding.encode(self._pool.candidates[row])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def _best(self, sizes: np.ndarray, rows: np.ndarray, accuracy: np.ndarray, waiting: np.ndarray) -> int:
        """The row of the pool to try next. Running trials count as results, with the accuracy that is expected."""
        inputs = np.column_stack([self._pool.features(), _unit(sizes)])
        kernel = self._kernel(inputs[rows], accuracy)
        model = _conditioned(kernel, inputs[rows], accuracy)
        seen = np.concatenate([rows, waiting])
        if len(waiting):
            accuracy = np.concatenate([accuracy, model.predict(inputs[waiting])])
            model = _conditioned(kernel, inputs[seen], accuracy)
        mean, spread = model.predict(inputs, return_std=True)
        # Of the accuracy itself, without the noise of one run: what is seen stands at its mean, lucky or not.
        noise = kernel.k2.noise_level * (np.var(accuracy) or 1.0)
        spread = np.sqrt(np.maximum(spread**2 - noise, 1e-12))
        front = np.column_stack([sizes[seen], mean[seen]])
        gain = expected_gain(sizes, mean, spread, front, (sizes.max() + _MARGIN, mean.min()))
        left = np.flatnonzero(self._pool.left)
        return int(left[np.argmax(gain[left])])

    def _kernel(self, inputs: np.ndarray, accuracy: np.ndarray) -> Kernel:
        """Fitted to some of the results: a function of them, whatever was asked before."""
        number = max(_REFIT_EVERY * (len(accuracy) // _REFIT_EVERY), min(len(accuracy), _REFIT_EVERY))
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
