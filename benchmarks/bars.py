"""What a benchmark found, beside what it must find; and how CPU time and memory are read."""

from __future__ import annotations

import re
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Bar(NamedTuple):
    """One measurement and its bar.

    Attributes:
        stage: Command that was measured.
        what: The quantity, such as "documents per CPU second, of datasketch's".
        value: The measured ratio or size.
        bar: What it must be, such as ">= 0.5".
        met: Whether it is.
        detail: The numbers behind it.
    """

    stage: str
    what: str
    value: float
    bar: str
    met: bool
    detail: str


def show(bars: Sequence[Bar]) -> None:
    """Print measurements as a table."""
    table = Table("stage", "what", "measured", "bar", "met", "detail")
    for bar in bars:
        met = "yes" if bar.met else "no"
        table.add_row(bar.stage, bar.what, f"{bar.value:.3g}", bar.bar, met, bar.detail)
    Console().print(table)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its ended children so far."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_memory() -> int:
    """Return the greatest resident memory of this process so far, in bytes.

    Linux hands `ru_maxrss` of a parent on to the programs that it starts; this number begins anew.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024
