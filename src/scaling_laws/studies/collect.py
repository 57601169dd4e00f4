"""Tables of finished runs, which the laws and figures read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.tables import write_table
from scaling_laws.training.schedule import learning_rate
from scaling_laws.training.spec import RunSpec


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
    planned = pd.read_csv(reading(plan), sep="\t", usecols=["run", "study"])
    studies = {
        str(run): str(wanted).split(",")
        for run, wanted in zip(planned["run"], planned["study"], strict=True)
    }
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
