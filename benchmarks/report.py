"""The page of all measurements: one section a suite, which leaves those of others alone."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bars import Bar, show

HEAD = """\
# Speed and memory

Written by `make bench-corpus`, `make bench-training`, `make bench-laws` and `make bench-lineage`;
do not edit. Each rate is divided by that of its ceiling or peer on the same input in the same run:
CPU seconds, child processes included, medians of interleaved repeats. How each is measured stands
at the top of its file in [benchmarks/](../benchmarks). Absolute rates are of the machine named
below each table, and only there to give an idea.

"""


def conclude(bars: Sequence[Bar], pages: Sequence[str], title: str, peers: Sequence[str]) -> int:
    """Print the measurements of a suite, write them into a page if one is named; return exit code.

    Args:
        bars: Measurements.
        pages: Rest of the command line: a Markdown file, or nothing.
        title: Title of the section in it.
        peers: Packages whose versions matter.
    """
    show(bars)
    for page in pages:
        write(bars, Path(page), title, peers)
    return 0 if all(bar.met for bar in bars) else 1


def write(bars: Sequence[Bar], page: Path, title: str, peers: Sequence[str]) -> None:
    """Write the measurements of a suite as a section of a page, in place of the one before.

    Args:
        bars: Measurements.
        page: Markdown file.
        title: Title of the section.
        peers: Packages whose versions matter.
    """
    text = page.read_text() if page.exists() else ""
    sections = {part.partition("\n")[0]: part for part in re.split(r"(?m)^## ", text)[1:]}
    sections[title] = f"{title}\n\n{_table(bars)}\n\nMeasured on {machine(peers)}.\n"
    body = "\n".join(f"## {sections[name].rstrip()}\n" for name in sorted(sections))
    page.write_text(HEAD + body)


def _table(bars: Sequence[Bar]) -> str:
    lines = ["| command | what | measured | bar | met | behind it |", "|---|---|---|---|---|---|"]
    for bar in bars:
        met = "yes" if bar.met else "no"
        measured = f"{bar.value:.3g} | {bar.bar} | {met} | {bar.detail}"
        lines.append(f"| `{bar.stage}` | {bar.what} | {measured} |")
    return "\n".join(lines)


def machine(peers: Sequence[str]) -> str:
    """Return the names and versions of processor, Python and packages."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    processor = found[1] if found else platform.machine()
    packages = (f"{name} {version(name)}" for name in peers)
    return ", ".join([processor, f"Python {platform.python_version()}", *packages])
