"""Work on many clips at once, in order, with a bar that says how much time is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from astmoa.audio.standard_output import kept_clean

T = TypeVar("T")
# Results that wait for their turn, per thread: enough to keep threads busy, too few to hold a data set in memory.
_AHEAD = 16


def bar(show: bool, in_bytes: bool = False) -> Progress:
    """A bar on a terminal's standard error; nothing elsewhere, or where `show` is False."""
    console = Console(stderr=True)
    amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not (show and console.is_terminal))


def in_order(
    call: Callable[[int], T], count: int, threads: int, description: str, show: bool
) -> Generator[T, None, None]:
    """`call(0)`, `call(1)`, ... `call(count - 1)`, in this order, `threads` at a time.

    Threads, not processes: decoding, resampling and the filter bank release the interpreter's lock (two threads on two
    cores: 1.6 times as fast), and a process would import torch for longer than most data sets take. Close the iterator
    (contextlib.closing) where it may not be run to its end, and print nothing between its values (`kept_clean`).
    """
    pool = ThreadPoolExecutor(threads)
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # each clip is one thread's work; more would only wait for each other
    waiting: deque[Future[T]] = deque()
    try:
        with kept_clean(), bar(show) as progress:
            task = progress.add_task(description, total=count)
            for index in range(count):
                waiting.append(pool.submit(call, index))
                if len(waiting) >= _AHEAD * threads:
                    yield waiting.popleft().result()
                    progress.advance(task)
            while waiting:
                yield waiting.popleft().result()
                progress.advance(task)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch_threads)
