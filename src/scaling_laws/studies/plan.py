"""The plan: every run of the studies, what it will compute, and what that takes and costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from scaling_laws.config import Config, load, read_json, validate
from scaling_laws.errors import InputError
from scaling_laws.models.counts import FLOP_PER_PF_DAY
from scaling_laws.output import atomic
from scaling_laws.studies.budget import MOST_EPOCHS, PROPOSED, parse_budget, propose
from scaling_laws.studies.cost import (
    Times,
    devices_of,
    duration,
    measured,
    rated,
    run_seconds,
    tokens_there,
    wall_seconds,
)
from scaling_laws.studies.grid import Run, runs
from scaling_laws.training.memory import training_memory

FEWEST_SIZES = 4  # of a power law with an interval worth its name
LONGEST_WARMUP = 0.5  # of the steps
WIDTH = 120  # characters of the table, also where nobody looks at a terminal


def plan(
    *,
    settings: str | None = None,
    configfile: list[Path] | None = None,
    output: Path | None = None,
    rates: Path | None = None,
    budget: str | None = None,
    overlay: Path = Path("config/budget.yaml"),
) -> dict[str, object]:
    """List every run with its parameters, compute, memory, time and cost, and train none.

    By hand it reads config.yaml here and prints totals by study, the critical path and what is
    ill-posed. Hours are those of `hardware` in the configuration or of --rates. With --budget it
    writes an overlay whose runs spend that.

    Args:
        settings: The configuration as JSON, or its keys tokenizer, training and studies.
        configfile: Overlay on config.yaml; may be given several times, the last one on top.
        output: Table of the runs, tab-separated; `study` is comma-separated, C in FLOP by each
            convention, memory in bytes of each GPU, or of the CPU.
        rates: What `scaling-laws calibrate` has measured on the machine that will train.
        budget: Wall time from the first page to the report, such as 90min or 2h, on
            hardware.devices, or training compute such as 1e18FLOP, with attention and head.
        overlay: YAML file to write the proposal to; one that was not proposed is never overwritten.

    Raises:
        InputError: When the settings are wrong, no study is on, or the budget buys too little.
    """
    by_hand = settings is None
    config = validate(read_json(settings)) if settings is not None else load(configfile or [])
    times = measured(rates) if rates else rated(config.hardware)
    if budget is not None:
        proposal = propose(config, parse_budget(budget), times)
        _require_free(overlay)
        with atomic(overlay) as partial:
            partial.write_text(proposal.text(budget, [*(configfile or []), overlay]))
        there = tokens_there(config)
        config = load([*(configfile or []), overlay])
        if by_hand and there is None:
            most = max(run.spec.data_tokens for run in runs(config).values())
            note = f"the training split must have {most:,} tokens; how many it has is not known yet"
            Console(highlight=False, soft_wrap=True).print(f"[yellow]note:[/] {note}")
    table = runs(config)
    if not table:
        raise InputError("studies: all are off, so there is no run to plan")
    rows = pd.DataFrame([_row(name, run, config, times) for name, run in table.items()])
    if output is not None:
        with atomic(output) as partial:
            rows.to_csv(partial, sep="\t", index=False)
    if by_hand:
        _show(config, table, rows, times is not None)
    found = {"runs": len(rows), "FLOP": float(rows["C_full"].sum())}
    return found | ({"overlay": str(overlay)} if budget is not None else {})


def _require_free(overlay: Path) -> None:
    """Check that a proposal overwrites nothing but another one."""
    if overlay.is_dir():
        raise InputError(f"--overlay {overlay}: a folder; expected a file's name")
    if overlay.is_file() and not overlay.read_text().startswith(PROPOSED):
        raise InputError(f"--overlay {overlay}: a file that was not proposed; name another one")


def _row(name: str, run: Run, config: Config, times: Times | None) -> dict[str, object]:
    """Return the row of a run; its columns are those of the runs table and more."""
    spec = run.spec
    tokens = spec.steps * spec.batch_tokens
    row: dict[str, object] = {
        "run": name,
        "study": ",".join(run.studies),
        "N": spec.N,
        "N_total": spec.N_total,
        "D": min(spec.data_tokens, tokens),
        "B": spec.batch_tokens,
        "tokens": tokens,
        "C": spec.C(spec.steps),
        "C_attention": spec.C(spec.steps, "attention"),
        "C_head": spec.C(spec.steps, "head"),
        "C_full": spec.C(spec.steps, "full"),
        "C_chinchilla": spec.C(spec.steps, "chinchilla"),
        "PF_days": spec.C(spec.steps) / FLOP_PER_PF_DAY,
        "gpus": run.gpus,
        "sharded": run.sharded,
        "memory": run.memory,
    }
    if times:
        hours = run_seconds(run, config, times) / 3600
        row |= {"hours": hours, "cost": hours * max(run.gpus, 1) * config.hardware.price}
    return row | spec.model_dump()


def problems(config: Config, table: dict[str, Run]) -> Iterator[str]:
    """Yield what makes a grid ill-posed, before it costs anything."""
    for law, studies in config.fits.laws.items():
        specs = [run.spec for run in table.values() if set(run.studies) & set(studies)]
        of, values = ("D", {s.data_tokens for s in specs})
        if law != "L_D":
            of, values = ("N", {s.N for s in specs if s.n_layer >= config.fits.minimum_layers})
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
    headed = [s for s in specs if s.vocab_size * s.d_model > s.N > 0]
    if headed:
        yield (
            f"{len(headed)} of {len(specs)} runs have a head larger than N, so that 6 N is less "
            "than half of their compute (Porian et al. 2024); C_head counts it"
        )


def _show(config: Config, table: dict[str, Run], rows: pd.DataFrame, timed: bool) -> None:
    """Print totals by study, the critical path, what fits a device, and what is ill-posed."""
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    shown = Table("study", box=None, pad_edge=False)
    for title in ("runs", "least N", "largest N", "least D", "largest D", "6 N D", "full FLOP"):
        shown.add_column(title, justify="right")
    for title in ["PF-days", *(["device hours", "cost"] if timed else [])]:
        shown.add_column(title, justify="right")
    groups = {
        study: rows[[study in run.studies for run in table.values()]] for study in config.studies
    }
    for name, part in {**groups, "all, each once": rows}.items():
        sums = [part["C"].sum(), part["C_full"].sum(), part["PF_days"].sum()]
        if timed:
            sums += [(part["hours"] * part["gpus"].clip(lower=1)).sum(), part["cost"].sum()]
        ends = [part["N"].min(), part["N"].max(), part["D"].min(), part["D"].max()]
        shown.add_row(
            name, str(len(part)), *(f"{n:.2g}" for n in ends), *(f"{n:.3g}" for n in sums)
        )
    console.print(shown)
    if timed:
        devices = devices_of(config)
        jobs = list(zip(rows["hours"] * 3600, rows["gpus"].clip(lower=1), strict=True))
        wall = duration(wall_seconds(jobs, devices))
        longest = rows.sort_values("hours").iloc[-1]
        console.print(f"all runs, {devices} at a time: {wall}")
        console.print(
            f"critical path: {longest['run']}, {duration(float(longest['hours']) * 3600)}"
        )
    else:
        console.print(
            "hours and cost: set hardware.tflops, or give --rates (scaling-laws calibrate)"
        )
    console.print(_largest(config, table))
    for problem in problems(config, table):
        console.print(f"[yellow]note:[/] {problem}")


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
