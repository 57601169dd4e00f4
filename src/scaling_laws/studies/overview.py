"""What a plan comes to: totals by study, critical path, what a device holds, what is ill-posed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.table import Table

from scaling_laws.config import Config
from scaling_laws.studies.budget import MOST_EPOCHS
from scaling_laws.studies.cost import (
    devices_of,
    duration,
    in_words,
    rated,
    tokens_there,
    training_seconds,
    wall_seconds,
)
from scaling_laws.studies.grid import Run
from scaling_laws.templates import environment
from scaling_laws.training.memory import training_memory

FEWEST_SIZES = 4  # of a power law with an interval worth its name
ATTEMPTS = 3  # at a job, by profiles/slurm
LONGEST_WARMUP = 0.5  # of the steps
RUN_COLUMNS = (
    "run", "study", "N", "N_total", "D", "B", "steps", "tokens", "learning_rate", "schedule",
    "dropout", "seed", "C", "C_full", "PF_days", "memory", "gpus", "hours", "cost",
)  # fmt: skip


class Overview(NamedTuple):
    """A plan in short.

    Attributes:
        results: Folder of the results.
        totals: A row a study and one of all runs, each counted once; numbers as text.
        facts: Sentences on time and memory.
        problems: What makes the grid ill-posed.
    """

    results: str
    totals: pd.DataFrame
    facts: list[str]
    problems: list[str]

    def show(self, console: Console) -> None:
        """Print it."""
        shown = Table(box=None, pad_edge=False)
        for title in self.totals:
            shown.add_column(str(title), justify="left" if title == "study" else "right")
        for row in self.totals.itertuples(index=False):
            shown.add_row(*row)
        console.print(shown)
        for fact in self.facts:
            console.print(fact)
        for problem in self.problems:
            console.print(f"[yellow]note:[/] {problem}")

    def page(self, rows: pd.DataFrame) -> str:
        """Return it as an HTML page, with a row for each run."""
        shown = rows[[column for column in RUN_COLUMNS if column in rows]]
        numbers = [pd.api.types.is_numeric_dtype(dtype) for dtype in shown.dtypes]
        return (
            environment("scaling_laws.studies")
            .get_template("plan.html.jinja")
            .render(
                overview=self,
                columns=list(zip(shown.columns, numbers, strict=True)),
                rows=[[_text(value) for value in row] for row in shown.itertuples(index=False)],
            )
        )


def overview(config: Config, table: dict[str, Run], rows: pd.DataFrame) -> Overview:
    """Return the overview of a plan.

    Args:
        config: The configuration.
        table: The runs by name.
        rows: A row for each of them, in the same order; `hours` and `cost` where times are known.
    """
    timed = "hours" in rows
    groups = {
        study: rows[[study in run.studies for run in table.values()]] for study in config.studies
    }
    totals = [_total(name, part) for name, part in {**groups, "all, each once": rows}.items()]
    facts = []
    if timed:
        devices = devices_of(config, table.values())
        jobs = list(zip(rows["hours"] * 3600, rows["gpus"].clip(lower=1), strict=True))
        longest = rows.sort_values("hours").iloc[-1]
        facts += [
            f"all runs, {in_words(devices, table.values())}: "
            f"{duration(wall_seconds(jobs, devices))}",
            f"critical path: {longest['run']}, {duration(float(longest['hours']) * 3600)}",
        ]
    else:
        facts.append(
            "hours and cost: set hardware.tflops, or give --rates (scaling-laws calibrate)"
        )
    facts.append(_largest(config, table))
    return Overview(config.results, pd.DataFrame(totals), facts, list(problems(config, table)))


def _total(name: str, rows: pd.DataFrame) -> dict[str, str]:
    """Return the row of a study."""
    total = {
        "study": name,
        "runs": str(len(rows)),
        "least N": f"{rows['N'].min():.2g}",
        "largest N": f"{rows['N'].max():.2g}",
        "least D": f"{rows['D'].min():.2g}",
        "largest D": f"{rows['D'].max():.2g}",
        "6 N D": f"{rows['C'].sum():.3g}",
        "full FLOP": f"{rows['C_full'].sum():.3g}",
        "PF-days": f"{rows['PF_days'].sum():.3g}",
    }
    if "hours" in rows:
        hours = (rows["hours"] * rows["gpus"].clip(lower=1)).sum()
        total |= {"device hours": f"{hours:.3g}", "cost": f"{rows['cost'].sum():.3g}"}
    return total


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def problems(config: Config, table: dict[str, Run]) -> Iterator[str]:
    """Yield what makes a grid ill-posed, before it costs anything."""
    for law, studies in config.fits.laws.items():
        specs = [run.spec for run in table.values() if set(run.studies) & set(studies)]
        of, values = ("N", {s.N for s in specs if s.n_layer >= config.fits.minimum_layers})
        if law == "L_D":
            of, values = ("D", {s.data_tokens for s in specs})
        if law == "B_crit":
            of, values = ("B", {s.batch_tokens for s in specs})
        if len(values) < FEWEST_SIZES:
            yield (
                f"{law}: {len(values)} values of {of} in {', '.join(studies)}; a fit needs "
                f"{FEWEST_SIZES}, and its interval more"
            )
    there, wanted = tokens_there(config), max(run.spec.data_tokens for run in table.values())
    if there is not None and wanted > there:
        yield (
            f"runs want {wanted:,} distinct tokens, and the training split in {config.results} has "
            f"{there:,}; add text, or lower training.data_tokens"
        )
    if config.hardware.tflops and not any(run.gpus for run in table.values()):
        yield (
            "hardware.tflops is given, and training.gpus is 0: the runs are trained on the "
            "processor, and the hours are not theirs"
        )
    specs = [run.spec for name, run in table.items() if "data_size" not in run.studies]
    epochs = {spec.name: spec.steps * spec.batch_tokens / spec.data_tokens for spec in specs}
    repeated = [spec for spec in specs if epochs[spec.name] > MOST_EPOCHS]
    if repeated:
        most = max(epochs[spec.name] for spec in repeated)
        yield (
            f"{len(repeated)} runs see their data more than {MOST_EPOCHS} times, up to {most:.3g} "
            "times; from there on repeated data are worth less than new ones"
        )
    limited = [s for s in specs if epochs[s.name] > 1 and s.data_tokens < 5e3 * s.N**0.74]
    if limited:
        largest = max(limited, key=lambda spec: spec.N)
        yield (
            f"{len(limited)} runs overfit by equation 4.4, D < 5e3 N^0.74, up to N = {largest.N:,} "
            f"on D = {largest.data_tokens:,}"
        )
    specs = [run.spec for run in table.values()]
    slow = [s for s in specs if s.warmup_steps > LONGEST_WARMUP * s.steps]
    if slow:
        yield f"{len(slow)} runs warm up for more than half of their steps, such as {slow[0].name}"
    memory = config.training.gpu_memory
    large = [run for run in table.values() if run.gpus and run.memory > memory * 1e9]
    if large:
        worst = max(large, key=lambda run: run.memory)
        yield (
            f"{len(large)} runs need more than the {memory:g} GB of each of their GPUs, up to "
            f"{worst.memory / 1e9:.3g} GB: {worst.spec.name}; more micro_batches need less"
        )
    most, there = max(run.gpus for run in table.values()), config.hardware.devices
    if there is not None and most > there:
        yield f"a run takes {most} GPUs, and hardware.devices = {there}"
    minutes, times = config.hardware.job_minutes, rated(config.hardware)
    if minutes and times:
        seconds = max(training_seconds(run, times) for run in table.values())
        jobs = math.ceil(seconds / 60 / minutes)
        if jobs > ATTEMPTS:
            yield (
                f"the longest run goes on in {jobs} jobs of hardware.job_minutes = {minutes}; the "
                f"profile's retries have to be {jobs - 1} or more"
            )
    headed = [s for s in specs if s.vocab_size * s.d_model > s.N > 0]
    if headed:
        yield (
            f"{len(headed)} of {len(specs)} runs have a head larger than N, so that 6 N is less "
            "than half of their compute (Porian et al. 2024); C_head counts it"
        )


def _largest(config: Config, table: dict[str, Run]) -> str:
    """Say which of the runs is the largest that one device holds."""
    memory = config.training.gpu_memory
    alone = [
        run.spec
        for run in table.values()
        if sum(training_memory(run.spec).values()) <= memory * 1e9
    ]
    if not alone:
        return f"no run fits one device of {memory:g} GB"
    largest = max(alone, key=lambda spec: spec.N_total)
    beyond = len(table) - len(alone)
    needs = sum(training_memory(largest).values()) / 1e9
    return f"largest run that one device of {memory:g} GB holds: {largest.name}, {needs:.3g} GB" + (
        f"; {beyond} runs do not fit one" if beyond else ""
    )
