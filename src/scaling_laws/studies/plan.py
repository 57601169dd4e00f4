"""The plan: every run of the studies, what it will compute, and what that takes and costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console

from scaling_laws.config import Config, load, read_json, validate
from scaling_laws.errors import InputError
from scaling_laws.models.counts import FLOP_PER_PF_DAY
from scaling_laws.output import atomic
from scaling_laws.studies.budget import PROPOSED, parse_budget, propose
from scaling_laws.studies.cost import Times, measured, rated, run_seconds, tokens_there
from scaling_laws.studies.grid import Run, runs
from scaling_laws.studies.overview import overview

WIDTH = 120  # characters of the table, also where nobody looks at a terminal


def plan(
    *,
    settings: str | None = None,
    configfile: list[Path] | None = None,
    output: Path | None = None,
    page: Path | None = None,
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
        page: HTML file of the same with the totals, for people.
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
    if page is not None:
        with atomic(page) as partial:
            partial.write_text(overview(config, table, rows).page(rows), encoding="utf-8")
    if by_hand:
        console = Console(highlight=False, soft_wrap=True)
        console.width = max(console.width, WIDTH)
        overview(config, table, rows).show(console)
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
