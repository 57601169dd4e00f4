"""What figures are drawn from: tables of studies, fits, and titles of corpora."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.laws.curves import Track, tracks
from scaling_laws.laws.fitted import identified, read_content, reason
from scaling_laws.laws.forecast import Fit, read_fit
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.points import CURVE_COLUMNS, RUN_COLUMNS, Rules, join, read_studies
from scaling_laws.models.counts import FLOP_PER_PF_DAY
from scaling_laws.tables import TEXT_KINDS, read_table, read_text_table

EVALUATION_COLUMNS = ("run", "step", "corpus", "loss")
POSITION_COLUMNS = ("run", "step", "corpus", "position", "loss")
SHAPE_COLUMNS = (
    "architecture",
    "n_layer",
    "d_model",
    "n_head",
    "d_ff",
    "n_ctx",
    "tokens",
    "reuse",
    "schedule",
    "N_total",
    "best_step",
)
TEST = "test"


@dataclass(frozen=True)
class Inputs:
    """The tables, fits and corpora of one configuration.

    Attributes:
        results: Folder of everything computed.
        corpora: Title of each evaluation corpus, by name.
        studies: Studies that are on.
        laws: Laws that are fitted.
        notes: What could not be drawn and why, in sentences without a full stop; grows.
    """

    results: Path
    corpora: Mapping[str, str]
    studies: Collection[str]
    laws: Collection[str]
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remember what could not be drawn, once."""
        if text not in self.notes:
            self.notes.append(text)

    def title(self, corpus: str) -> str:
        """Return the title of a corpus, whose dollars are no mathematics."""
        fallback = "Test split" if corpus == TEST else corpus.replace("_", " ")
        return str(self.corpora.get(corpus, fallback)).replace("$", r"\$")

    def folders(self, *studies: str) -> list[Path]:
        """Return the folders of those of some studies that are on, noting which are off."""
        for study in studies:
            if study not in self.studies:
                self.note(f"the study {study} is off")
        return [self.results / "tables" / study for study in studies if study in self.studies]

    def runs(self, *studies: str) -> pd.DataFrame:
        """Return the runs of studies that did not diverge, ordered by N; a run stands once in it.

        Raises:
            InputError: If there is none, or all did.
        """
        folders = self.folders(*studies)
        if not folders:
            return pd.DataFrame(columns=[*RUN_COLUMNS, *SHAPE_COLUMNS])
        runs = read_studies(folders, "runs", [*RUN_COLUMNS, *SHAPE_COLUMNS])
        if runs.empty:
            raise InputError(f"{join(folders)}: runs.parquet has no rows; expected one a run")
        sound = runs[runs.outcome != "diverged"]
        if sound.empty:
            raise InputError(
                f"{join(folders)}: every run diverged, so there is nothing to draw; lower its "
                "training.learning_rate"
            )
        return sound.sort_values(["N", "D", "run"], ignore_index=True)

    def curves(self, *studies: str, also: Sequence[str] = ()) -> pd.DataFrame:
        """Return learning curves with `N` and `B`, and `C` in PF-days, ordered by N.

        Args:
            studies: Whose.
            also: Further columns of theirs.
        """
        folders = self.folders(*studies)
        curves = read_studies(folders, "curves", [*CURVE_COLUMNS, *also])
        curves = curves.merge(self.runs(*studies)[["run", "N", "B", "D"]], on="run")
        curves = curves[(curves.tokens > 0) & curves.test_loss.notna()]
        if curves.empty:
            raise InputError(f"{join(folders)}: curves.parquet has no test loss of these runs")
        curves["C"] = 6 * curves.N * curves.tokens / FLOP_PER_PF_DAY
        return curves.sort_values(["N", "run", "step"], ignore_index=True)

    def tracks(self, study: str) -> list[Track]:
        """Return the learning curves of a study after their warm-up."""
        return tracks(self.runs(study), self.folders(study), Rules(minimum_layers=0))

    def evaluations(self, *studies: str) -> pd.DataFrame:
        """Return losses of studies' runs on every corpus, with `N` and `final`."""
        folders = self.folders(*studies)
        table = read_studies(folders, "evaluations", EVALUATION_COLUMNS)
        table = table.merge(self.runs(*studies)[["run", "N", "n_layer"]], on="run")
        if table.empty:
            raise InputError(f"{join(folders)}: evaluations.parquet has no loss of these runs")
        table["final"] = table.step == table.groupby("run").step.transform("max")
        return table.sort_values(["N", "run", "step"], ignore_index=True)

    def positions(self, *studies: str) -> pd.DataFrame:
        """Return losses on the test split by position, with `N`, `n_ctx` and `final`."""
        folders = self.folders(*studies)
        if not folders:
            return pd.DataFrame(columns=[*POSITION_COLUMNS, "N", "n_ctx", "final"])
        tables = [read_table(path / "positions.parquet", POSITION_COLUMNS) for path in folders]
        table = pd.concat(tables).drop_duplicates(["run", "step", "corpus", "position"])
        table = table[table.corpus == TEST]
        shape = self.runs(*studies)[["run", "N", "n_ctx", "n_layer", "architecture"]]
        table = table.merge(shape, on="run")
        if table.empty:
            raise InputError(f"{join(folders)}: positions.parquet has no loss of these runs")
        table["final"] = table.step == table.groupby("run").step.transform("max")
        return table.sort_values(["N", "run", "step", "position"], ignore_index=True)

    def content(self, law: str) -> dict[str, Any] | None:
        """Return what the file of a fit holds; None, with a note, where the law is off.

        Raises:
            InputError: If it is on, and the file is missing or no fit.
        """
        if law not in self.laws:
            self.note(f"the law {LAWS[law].symbol} is off")
            return None
        return read_content(self.results / "fits" / f"{law}.json", law)

    def points(self, law: str) -> pd.DataFrame:
        """Return the points that a law was fitted to; none where it is off."""
        content = self.content(law)
        return pd.DataFrame(content["points"]) if content else pd.DataFrame()

    def fit(self, law: str) -> Fit | None:
        """Return a fit that the runs determine; None, with a note, where they do not or it is off.

        Raises:
            InputError: If it is on, and its file is missing or no fit.
        """
        content = self.content(law)
        if content is None:
            return None
        if not identified(content) or None in content["optimum"].values():
            self.note(f"{LAWS[law].symbol} is not determined by these runs ({reason(content)})")
            return None
        return read_fit(self.results / "fits" / f"{law}.json")

    def fits(self, *laws: str) -> list[Fit] | None:
        """Return fits that the runs determine, or None, with a note, unless they do all."""
        found = [self.fit(law) for law in laws]
        return None if None in found else [fit for fit in found if fit is not None]

    def lack(self, *laws: str) -> str:
        """Return which of some laws are not known, and why, for a panel that rests on them."""
        said = []
        for law in laws:
            if law not in self.laws:
                said.append(f"{LAWS[law].symbol} is off")
            elif self.fit(law) is None:
                said.append(f"{LAWS[law].symbol} is not determined by these runs")
        return "; ".join(said) or "no run reaches so far"

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of text.

        Args:
            name: File in the results folder.

        Raises:
            InputError: When it is missing, or does not hold what it should.
        """
        path = self.results / name
        # Where no law is of single runs, none is held out.
        return read_text_table(path, TEXT_KINDS[path.name], rows=path.name != "held_out.csv")

    def same_tokens(self, runs: pd.DataFrame, what: Sequence[str]) -> None:
        """Note where runs that are compared have processed different numbers of tokens."""
        counts = sorted(runs.tokens.unique())
        if len(counts) > 1 and counts[-1] > 1.02 * counts[0]:
            self.note(
                f"{' and '.join(what)} are compared although their runs processed between "
                f"{counts[0]:,} and {counts[-1]:,} tokens"
            )
