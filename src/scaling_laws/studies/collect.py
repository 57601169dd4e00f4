"""Tables of finished runs, which the laws and figures read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.tables import read_table, write_table
from scaling_laws.training.schedule import learning_rate
from scaling_laws.training.spec import RunSpec

TABLES = ("runs", "curves", "evaluations", "positions")


def collect(plan: Path, *, runs: Path, tables: Path) -> dict[str, object]:
    """Gather the planned runs into four tables.

    Args:
        plan: Table of the planned runs.
        runs: Folder of the runs, one folder each.
        tables: Folder to write runs.parquet, curves.parquet, evaluations.parquet and
            positions.parquet to.

    Raises:
        InputError: When a planned run has not been made.
    """
    studies = _planned(plan)
    for name in studies:
        if not (runs / name / "run.json").exists():
            raise InputError(f"{runs / name}: planned in {plan} but not trained")
    rows = [_row(runs / name, wanted) for name, wanted in studies.items()]
    # Where every run diverged, a column of absent losses is one of floats still.
    losses = {"test_loss": float, "best_test_loss": float, "best_step": float}
    write_table(pd.DataFrame(rows).astype(losses), tables / "runs.parquet")
    parts = {"curves": "curve", "evaluations": "evaluation", "positions": "positions"}
    for table, part in parts.items():
        frames = []
        for name in studies:
            frame = pd.read_parquet(reading(runs / name / f"{part}.parquet"))
            frames.append(frame if "run" in frame else frame.assign(run=name))
        gathered = pd.concat(frames, ignore_index=True)
        columns = ["run", *(column for column in gathered if column != "run")]
        write_table(gathered[columns], tables / f"{table}.parquet")
    return {"runs": len(studies)}


def gather(plan: Path, *, studies: list[Path], tables: Path) -> dict[str, object]:
    """Join the tables of studies to those of all planned runs, each run once.

    Args:
        plan: Table of the planned runs.
        studies: Folders of the tables of each study, as `collect` writes them.
        tables: Folder to write the same tables to.

    Raises:
        InputError: When a table is missing, or a planned run is in none of them.
    """
    planned = _planned(plan)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    seen: set[str] = set()
    for folder in studies:
        read = {name: read_table(folder / f"{name}.parquet", ["run"]) for name in TABLES}
        new = set(read["runs"]["run"]) - seen
        seen |= new
        for name, table in read.items():
            parts[name].append(table[table["run"].isin(new)])
    if missing := [name for name in planned if name not in seen]:
        raise InputError(f"{missing[0]}: planned in {plan}, and in the tables of no study")
    order = {name: place for place, name in enumerate(planned)}
    for name, frames in parts.items():
        table = pd.concat(frames, ignore_index=True)
        table = table[table["run"].isin(order)].sort_values(
            "run", key=lambda runs: runs.map(order), kind="stable", ignore_index=True
        )
        if name == "runs":  # the plan of one study does not know the others
            table["study"] = table["run"].map(planned)
        write_table(table, tables / f"{name}.parquet")
    return {"runs": len(planned)}


def _planned(plan: Path) -> dict[str, list[str]]:
    """Return the studies of each planned run."""
    rows = pd.read_csv(reading(plan), sep="\t", usecols=["run", "study"])
    return {
        str(run): str(wanted).split(",")
        for run, wanted in zip(rows["run"], rows["study"], strict=True)
    }


def _row(folder: Path, studies: list[str]) -> dict[str, object]:
    """Return the row of the runs table for one run; B and D in tokens, C in FLOP."""
    facts = json.loads(reading(folder / "run.json").read_text())
    spec = RunSpec.model_validate(facts["spec"])
    return {
        "run": facts["run"],
        "study": studies,
        "architecture": spec.architecture,
        "n_layer": spec.n_layer,
        "d_model": spec.d_model,
        "n_head": spec.n_head,
        "d_ff": spec.d_ff,
        "n_ctx": spec.n_ctx,
        "reuse": spec.reuse,
        "N": spec.N,
        "N_total": spec.N_total,
        # A run of one pass or less sees only the tokens it processed.
        "D": min(spec.data_tokens, facts["tokens"]),
        "B": spec.batch_tokens,
        "steps": facts["steps"],
        "tokens": facts["tokens"],
        "C": spec.C(facts["steps"]),
        "C_full": spec.C(facts["steps"], "full"),
        "optimizer": spec.optimizer,
        "schedule": spec.schedule,
        "lr": spec.lr,
        "lr_sum": sum(learning_rate(step, spec) for step in range(facts["steps"])),
        "dropout": spec.dropout,
        "seed": spec.seed,
        "test_loss": facts["test_loss"],
        "best_test_loss": facts["best_test_loss"],
        "best_step": facts["best_step"],
        "outcome": facts["outcome"],
        "seconds": facts["seconds"],
    }
