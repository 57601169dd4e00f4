"""What figures are drawn from: tables of studies, fits, and titles of corpora."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.laws.points import CURVE_COLUMNS, RUN_COLUMNS, read_studies
from scaling_laws.models.counts import FLOP_PER_PF_DAY

EVALUATION_COLUMNS = ("run", "step", "corpus", "loss")


@dataclass(frozen=True)
class Inputs:
    """The tables, fits and corpora of one configuration.

    Attributes:
        tables: Folder with one folder of tables a study.
        fits: Folder of fit JSONs.
        corpora: Title of each evaluation corpus, by name.
    """

    tables: Path
    fits: Path
    corpora: Mapping[str, str]

    def runs(self, study: str) -> pd.DataFrame:
        """Return the runs of a study that did not diverge, ordered by N.

        Raises:
            InputError: If all did.
        """
        runs = read_studies([self.tables / study], "runs", RUN_COLUMNS)
        sound = runs[runs.outcome != "diverged"]
        if sound.empty:
            raise InputError(
                f"{self.tables / study}: every run diverged, so there is nothing to draw; "
                f"lower studies.{study}.training.learning_rate"
            )
        return sound.sort_values(["N", "D", "run"], ignore_index=True)

    @cached_property
    def size_curves(self) -> pd.DataFrame:
        """Learning curves of the model size study, with `N` and `C` in PF-days, ordered by N."""
        curves = read_studies([self.tables / "model_size"], "curves", CURVE_COLUMNS)
        curves = curves.merge(self.runs("model_size")[["run", "N"]], on="run")
        curves = curves[(curves.tokens > 0) & curves.test_loss.notna()]
        curves["C"] = 6 * curves.N * curves.tokens / FLOP_PER_PF_DAY
        return curves.sort_values(["N", "run", "step"], ignore_index=True)

    def evaluations(self) -> pd.DataFrame:
        """Return losses of the model size study on every corpus, with `N` and `final`."""
        table = read_studies([self.tables / "model_size"], "evaluations", EVALUATION_COLUMNS)
        table = table.merge(self.runs("model_size")[["run", "N"]], on="run")
        table["final"] = table.step == table.groupby("run").step.transform("max")
        return table.sort_values(["N", "run", "step"], ignore_index=True)

    def fit(self, law: str) -> dict[str, Any]:
        """Return the fit of a law.

        Raises:
            InputError: If it is missing.
        """
        path = self.fits / f"{law}.json"
        if not path.is_file():
            raise InputError(f"{path}: no such file; run `scaling-laws fit {law}` first")
        fit: dict[str, Any] = json.loads(path.read_text())
        return fit
