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
        output: Table of the runs, tab-separated; `study` is comma-separated, C in FLOP.

    Raises:
        InputError: When the settings are wrong, or no study is on.
    """
    table = runs(validate(read_json(settings)))
    rows = [
        {
            "run": name,
            "study": ",".join(studies),
            "N": spec.N,
            "N_total": spec.N_total,
            "C": spec.C(spec.steps),
            "C_full": spec.C(spec.steps, "full"),
            **spec.model_dump(),
        }
        for name, (spec, studies) in table.items()
    ]
    if not rows:
        raise InputError("studies: all are off, so there is no run to plan")
    with atomic(output) as partial:
        pd.DataFrame(rows).to_csv(partial, sep="\t", index=False)
    return {
        "runs": len(rows),
        "FLOP": sum(spec.C(spec.steps, "full") for spec, _ in table.values()),
    }
