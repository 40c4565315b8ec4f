"""What the benchmarks share: taking turns, ratios, and a last line for machines."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from astmoa.provenance import machine

Goals = dict[str, tuple[str, float]]
"""Key of a ratio -> ("<=" or ">=", bound)."""


def pick_device(name: str) -> torch.device:
    """`auto` is cuda where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def pick_clock(device: torch.device) -> tuple[str, Callable[[], float]]:
    """What a step is timed with, in words, and the function.

    One CPU thread: the processor's seconds, which other programs on the same cores disturb least. Otherwise seconds on
    the wall, with the device waited for.
    """
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return "CPU seconds of one thread", time.process_time
    if device.type == "cuda":
        return "seconds on the wall, GPU waited for", lambda: (torch.cuda.synchronize(), time.perf_counter())[1]
    return f"seconds on the wall, {torch.get_num_threads()} CPU threads", time.perf_counter


def interleaved(
    steps: dict[str, Callable[[], object]], rounds: int, warm_up: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of every step: A, B, C, A, B, C, ..., so that a slow minute of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_index in range(-warm_up, rounds):
        for name, step in steps.items():
            start = clock()
            step()
            seconds = clock() - start
            if round_index >= 0:
                times[name].append(seconds)
    return times


def ratios(times: dict[str, list[float]], base: str) -> dict[str, float]:
    """`NAME_over_BASE` of the minimum times, `..._median` of the median times, for every name but the base."""
    found: dict[str, float] = {}
    for name in times:
        if name != base:
            found[f"{name}_over_{base}"] = min(times[name]) / min(times[base])
            found[f"{name}_over_{base}_median"] = statistics.median(times[name]) / statistics.median(times[base])
    return found


def table(header: list[str], rows: list[list[object]]) -> None:
    """Print rows in columns; the first is text, the others are numbers."""
    cells = [header, *([f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))))


def finish(result: dict[str, Any], goals: Goals, device: torch.device, as_json: bool) -> None:
    """Print goals, device and machine; with `as_json` everything once more as one last line.

    The exit code stays 0: a benchmark reports, it does not judge.
    """
    met = {}
    for key, (sign, bound) in goals.items():
        met[key] = bool(result[key] <= bound if sign == "<=" else result[key] >= bound)
        print(f"{key} = {result[key]:.3f}   goal {sign} {bound:g}: {'met' if met[key] else 'NOT met'}")
    print(f"device: {device.type}; machine: {machine()}", flush=True)
    if as_json:
        bounds = {key: f"{sign} {bound:g}" for key, (sign, bound) in goals.items()}
        line = {**result, "goals": bounds, "met": met, "device": device.type, "machine": machine()}
        print(json.dumps(line, allow_nan=False), flush=True)
