"""How long each stage of a workflow took, from the benchmarks that Snakemake leaves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from scaling_laws.errors import InputError
from scaling_laws.tables import Kind, read_text_table

# Snakemake cannot tell the memory and CPU time of a job that is over in a moment.
COLUMNS: dict[str, Kind] = {"s": "amount", "max_rss": "number", "cpu_time": "number"}


def times(results: Path) -> None:
    """Print jobs, wall and CPU time, the longest job and the most memory of each stage.

    Args:
        results: Folder of everything computed; Snakemake's benchmarks are in it.

    Raises:
        InputError: If there are none, or one is not what Snakemake writes.
    """
    jobs = read_benchmarks(results / "benchmarks")
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "jobs", "wall", "CPU", "longest", "memory"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    stages = jobs.groupby("stage", sort=False)
    totals = stages.agg(
        jobs=("s", "size"), wall=("s", "sum"), cpu=("cpu_time", "sum"), longest=("s", "max"),
        memory=("max_rss", "max"),
    ).sort_values("wall", ascending=False)  # fmt: skip
    for stage, row in totals.iterrows():
        memory = "–" if pd.isna(row.memory) else f"{row.memory:,.0f} MB"
        table.add_row(
            str(stage), f"{row.jobs:.0f}", duration(row.wall), duration(row.cpu),
            duration(row.longest), memory,
        )  # fmt: skip
    table.add_row("all", str(len(jobs)), duration(jobs.s.sum()), duration(jobs.cpu_time.sum()))
    Console(highlight=False, soft_wrap=True).print(table)


def read_benchmarks(folder: Path) -> pd.DataFrame:
    """Return a row a job: its stage, wall seconds `s`, `cpu_time` in seconds, `max_rss` in MB.

    Raises:
        InputError: If there are none, or one is not what Snakemake writes.
    """
    paths = sorted([*folder.glob("*.tsv"), *folder.glob("*/*.tsv")])
    if not paths:
        raise InputError(f"{folder}: no benchmarks; expected those that Snakemake writes for jobs")
    rows = []
    for path in paths:
        table = read_text_table(path, COLUMNS)
        stage = path.stem if path.parent == folder else path.parent.name
        rows.append(table[list(COLUMNS)].assign(stage=stage))
    jobs: pd.DataFrame = pd.concat(rows, ignore_index=True)
    return jobs


def duration(seconds: float) -> str:
    """Return seconds as 12 s, 3 min 20 s, or 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
