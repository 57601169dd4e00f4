"""The plan: every run of the studies, and what it will compute."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scaling_laws.config import read_json, validate
from scaling_laws.errors import InputError
from scaling_laws.output import atomic
from scaling_laws.studies.grid import runs


def plan(*, settings: str, output: Path) -> dict[str, object]:
    """List every run with its spec, parameters and training compute.

    Args:
        settings: The configuration as JSON, or its keys tokenizer, training and studies.
        output: Table of the runs, tab-separated; `study` is comma-separated, C in FLOP, memory in
            bytes of each GPU, or of the CPU.

    Raises:
        InputError: When the settings are wrong, or no study is on.
    """
    table = runs(validate(read_json(settings)))
    rows = [
        {
            "run": name,
            "study": ",".join(run.studies),
            "N": spec.N,
            "N_total": spec.N_total,
            "C": spec.C(spec.steps),
            "C_full": spec.C(spec.steps, "full"),
            "gpus": run.gpus,
            "sharded": run.sharded,
            "memory": run.memory,
            **spec.model_dump(),
        }
        for name, run in table.items()
        for spec in [run.spec]
    ]
    if not rows:
        raise InputError("studies: all are off, so there is no run to plan")
    with atomic(output) as partial:
        pd.DataFrame(rows).to_csv(partial, sep="\t", index=False)
    return {
        "runs": len(rows),
        "FLOP": sum(run.spec.C(run.spec.steps, "full") for run in table.values()),
    }
