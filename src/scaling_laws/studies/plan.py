"""The plan: every run of the studies, and what it will compute."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from scaling_laws.config import validate
from scaling_laws.output import atomic
from scaling_laws.studies.grid import runs


def plan(*, settings: str, output: Path) -> dict[str, object]:
    """List every run with its spec, parameters and training compute.

    Args:
        settings: The configuration as JSON, or its keys tokenizer, training and studies.
        output: Table of the runs, tab-separated; `study` is comma-separated, C in FLOP.
    """
    table = pd.DataFrame(
        [
            {
                "run": name,
                "study": ",".join(studies),
                "N": spec.N,
                "N_total": spec.N_total,
                "C": spec.C(spec.steps),
                "C_full": spec.C_full(spec.steps),
                **spec.model_dump(),
            }
            for name, (spec, studies) in runs(validate(json.loads(settings))).items()
        ]
    )
    with atomic(output) as partial:
        table.to_csv(partial, sep="\t", index=False)
    return {"runs": len(table), "FLOP": float(table["C_full"].sum())}
