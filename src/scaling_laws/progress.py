"""Progress of long loops: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10


def track(items: Iterable[T], what: str, total: int | None = None, before: int = 0) -> Iterator[T]:
    """Yield `items`, telling on stderr how many are done and how long the rest takes.

    Args:
        items: What to iterate over.
        what: The name of the work, such as "extract: pages".
        total: Number of items, where it is known, with those that were done before.
        before: Number of items that were done before, by a run that this one continues.
    """
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), transient=True) as bar:
            yield from bar.track(items, total=total, completed=before, description=what)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items, start=before + 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = (done - before) / (now - started)
            if total is None:
                log.info("%s: %d, %.1f per second", what, done, rate)
            else:
                left = max(total - done, 0) / rate
                log.info(
                    "%s: %d of %d, %.1f per second, %.0f s left", what, done, total, rate, left
                )
