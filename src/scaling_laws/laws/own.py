"""Anyone's runs: a table with columns of any name, read and checked for a law."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from scaling_laws.errors import InputError
from scaling_laws.laws.forms import Law
from scaling_laws.laws.points import Sample, make_sample
from scaling_laws.ledger import reading
from scaling_laws.models.counts import FLOP_PER_PF_DAY

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".tsv": lambda path: pd.read_csv(path, sep="\t"),
    ".parquet": pd.read_parquet,
    ".jsonl": lambda path: _read_lines(path),
    ".ndjson": lambda path: _read_lines(path),
}
LARGEST_VOCABULARY = 1_000_000
UNEQUAL = 1e5  # times that standard errors may differ by
CONTRADICTED = 1.5  # times 6 N D that C may be, for attention and the head
ALSO = {"L": ("loss", "test_loss", "val_loss")}
"""Column names that are understood without being told."""
DERIVED: dict[str, tuple[tuple[str, ...], Callable[..., pd.Series]]] = {
    "D": (("C", "N"), lambda C, N: C / (6 * N)),
    "C": (("N", "D"), lambda N, D: 6 * N * D),
    "N": (("C", "D"), lambda C, D: C / (6 * D)),
    "M": (("D", "N"), lambda D, N: D / N),
}
"""What follows from other columns, with C = 6 N D in FLOP."""
LEAST = {"N": 1.0, "D": 1.0, "U": 1.0, "B": 1.0, "T": 1.0, "C": 1.0, "C_min": 1.0}
EXTRA = ("run", "se")  # name of the run that a row is of, and standard error of the loss


def read_own(
    law: Law,
    path: Path,
    columns: Sequence[str] = (),
    drop_highest_loss: int = 0,
    vocabulary: int = LARGEST_VOCABULARY,
) -> Sample:
    """Return the points of a law from a table of runs.

    C and C_min are in FLOP there. D, C, N and M = D / N follow from each other by C = 6 N D where
    they are absent. Rows of one `run` are one run for the bootstrap; without it each row is one.

    Args:
        law: The law.
        path: CSV, TSV, Parquet or JSON Lines.
        columns: Names in the table, such as "N=Model Size".
        drop_highest_loss: Rows with the highest loss that are left out.
        vocabulary: Size of the vocabulary: no loss is above its logarithm.

    Raises:
        InputError: When the table cannot be read, lacks a column, or holds what cannot be.
    """
    table = _read(path)
    named = _named(law, path, table, columns)
    variables = list(law.variables)
    response, _ = law.response
    frame = pd.DataFrame(
        {
            name: _numbers(path, table, column, name)
            for name, column in named.items()
            if name != "run"
        }
    )
    for name in [*variables, response]:
        _derive(frame, name)
        if name not in frame:
            raise InputError(_lacking(law, path, table, name))
    warnings = _contradictions(frame)
    if copies := int(frame.duplicated().sum()):
        warnings.append(f"{copies} rows are copies of others: each counts as a run of its own")
    if "run" in named and table[named["run"]].isna().any():
        row = int(np.argmax(table[named["run"]].isna().to_numpy())) + 1
        raise InputError(f"{path}: row {row}: {named['run']} (run) is empty")
    frame["run"] = table[named["run"]].astype(str) if "run" in named else _rows(len(table))
    _check(law, path, frame, vocabulary)
    excluded = []
    if drop_highest_loss:
        if not law.of_loss:
            raise InputError(f"--drop-highest-loss: {law.name} gives {response}, not a loss")
        worst = frame.nlargest(drop_highest_loss, response).index
        excluded = [
            {"run": str(run), "reason": f"among the {drop_highest_loss} highest losses"}
            for run in frame.run[worst]
        ]
        frame = frame.drop(index=worst)
    for name in variables:
        if law.variables[name] == "PF-days":
            frame[name] /= FLOP_PER_PF_DAY
    weights = None
    if "se" in frame:
        relative = (frame["se"] / frame[response]).to_numpy()
        if relative.max() > UNEQUAL * relative.min():
            raise InputError(
                f"{path}: standard errors differ by more than {UNEQUAL:g} times; is se one of L?"
            )
        weights = (1 / relative**2) / np.mean(1 / relative**2)
    notes = {"columns": named, "warnings": warnings}
    return make_sample(law, frame, str(path), excluded, [str(path)], weights=weights, notes=notes)


def _contradictions(frame: pd.DataFrame) -> list[str]:
    """Say where C, N and D are all given and do not fit together."""
    if not {"C", "N", "D"} <= set(frame):
        return []
    ratio = float((frame["C"] / (6 * frame["N"] * frame["D"])).median())
    if 1 / CONTRADICTED < ratio < CONTRADICTED:
        return []
    return [f"C is {ratio:.3g} times 6 N D (median); is it counted otherwise, or in another unit?"]


def _read_lines(path: Path) -> pd.DataFrame:
    """Return JSON Lines as a table; FLOP as whole numbers may be larger than 64 bits."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected an object a line")
    return pd.DataFrame(rows)


def _rows(count: int) -> list[str]:
    return [f"row {number}" for number in range(1, count + 1)]


def _read(path: Path) -> pd.DataFrame:
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: expected a file that ends in {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        table: pd.DataFrame = READERS[path.suffix.lower()](reading(path))
    except (ValueError, pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "empty"
        raise InputError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}") from None
    if table.empty:
        raise InputError(f"{path}: no rows; expected one for each run")
    table.columns = [str(column).strip() for column in table.columns]
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise InputError(f"{path}: two columns are called {', '.join(twice)}")
    return table.reset_index(drop=True)


def _named(law: Law, path: Path, table: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """Return the column of each name that is given or found."""
    response, _ = law.response
    known = [*law.variables, response, *DERIVED, *EXTRA]
    named: dict[str, str] = {}
    for text in columns:
        name, separator, column = text.partition("=")
        if not separator or not column:
            raise InputError(f"--column {text}: expected NAME=COLUMN, such as N='Model Size'")
        if name not in known:
            raise InputError(
                f"--column {text}: no quantity {name!r} of {law.name}; expected one of "
                f"{', '.join(dict.fromkeys(known))}"
            )
        if name in named:
            raise InputError(f"--column {text}: {name} is given twice")
        if column not in table:
            near = difflib.get_close_matches(column, table.columns, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"{path}: no column {column!r}; found {', '.join(table.columns)}{hint}"
            )
        named[name] = column
    for name in dict.fromkeys(known):
        for column in (name, *ALSO.get(name, ())):
            if name not in named and column in table:
                named[name] = column
    return named


def _numbers(path: Path, table: pd.DataFrame, column: str, name: str) -> pd.Series:
    values = table[column]
    if values.map(lambda value: isinstance(value, (bool, list, dict, pd.Timestamp))).any():
        values = values.map(lambda value: None)  # no numbers, whatever pandas makes of them
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = ~np.isfinite(numbers.to_numpy())
    if wrong.any():
        row = int(np.argmax(wrong))
        found = table[column].iloc[row]
        shown = "empty" if pd.isna(found) else repr(getattr(found, "item", lambda: found)())
        raise InputError(f"{path}: row {row + 1}: {column} ({name}) is {shown}; expected a number")
    return numbers


def _derive(frame: pd.DataFrame, name: str) -> None:
    """Add a column that follows from others, and what it needs for that."""
    if name in frame or name not in DERIVED:
        return
    needed, formula = DERIVED[name]
    for other in needed:
        if other not in frame and name not in DERIVED.get(other, ((),))[0]:
            _derive(frame, other)
    if all(other in frame for other in needed):
        frame[name] = formula(*(frame[other] for other in needed))


def _lacking(law: Law, path: Path, table: pd.DataFrame, name: str) -> str:
    units: Mapping[str, str] = {**law.variables, law.response[0]: law.response[1]}
    unit = "FLOP" if units[name] == "PF-days" else units[name]
    derived = f", or {' and '.join(DERIVED[name][0])}" if name in DERIVED else ""
    return (
        f"{path}: {law.name} needs {name} ({unit}){derived}; found columns "
        f"{', '.join(table.columns)}; name it with --column {name}=COLUMN"
    )


def _check(law: Law, path: Path, frame: pd.DataFrame, vocabulary: int) -> None:
    """Check units: what is too small or too large to be what it is said to be."""
    response, _ = law.response
    highest = math.log(vocabulary)
    for name in [*law.variables, response, *(["se"] if "se" in frame else [])]:
        values = frame[name].to_numpy()
        least = LEAST.get(name, 0.0)
        wrong = (values < least) | (values <= 0)
        if wrong.any() and name != "LR":  # a rule that falls with N may pass through zero
            row = int(wrong.argmax())
            expected = f"{least:g} or more" if least else "more than 0"
            hint = "; is it in millions or billions?" if name in ("N", "D") else ""
            hint = " FLOP; is it in PF-days?" if name in ("C", "C_min") else hint
            raise InputError(
                f"{path}: row {row + 1}: {name} = {values[row]:g}; expected {expected}{hint}"
            )
        if (name == "L" or (name == response and law.of_loss)) and (values > highest).any():
            row = int((values > highest).argmax())
            raise InputError(
                f"{path}: row {row + 1}: {name} = {values[row]:g}, above ln({vocabulary:,}) = "
                f"{highest:.1f}, which a uniform guess has; expected nats per token"
            )
