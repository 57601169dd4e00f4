"""The table paper / ours / interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.laws.estimate import Status
from scaling_laws.laws.fitted import read_content
from scaling_laws.laws.forms import LAWS
from scaling_laws.output import atomic

STATUS: dict[Status, str] = {
    "converged": "converged",
    "exact": "as many points as parameters: no interval",
    "at_bound": "a parameter ran to the end of its range: not determined",
    "stopped_early": "the search ended before it reached a minimum",
    "not_identified": "not identified by these runs",
}
"""What each status of a fit says."""


def read_fits(folder: Path, laws: Sequence[str] = tuple(LAWS)) -> dict[str, dict[str, Any]]:
    """Return the fits of `laws` in `folder`, by law.

    Raises:
        InputError: If there is none, or one is not a fit.
    """
    paths = [folder / f"{law}.json" for law in laws]
    fits = {path.stem: read_content(path, path.stem) for path in paths if path.exists()}
    if not fits:
        raise InputError(f"{folder}: no fit; expected at least one of {', '.join(laws)} (.json)")
    return fits


def compare(fits: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return one row for each parameter of each fit, with the paper's value and ours."""
    rows = [
        {
            "law": LAWS[name].symbol,
            "parameter": parameter,
            "unit": numbers["unit"],
            "paper": numbers["paper"],
            "source": numbers["source"],
            "paper_other": numbers["paper_other"],
            "other_source": numbers["other_source"],
            "ours": numbers["value"],
            "low": numbers["low"],
            "high": numbers["high"],
            "confidence": fit["confidence"],
            "r2_log": fit["r2_log"],
            "points": fit["n_points"],
            "status": fit["status"],
        }
        for name, fit in fits.items()
        for parameter, numbers in fit["parameters"].items()
    ]
    table = pd.DataFrame(rows)
    numeric = ["paper", "paper_other", "ours", "low", "high", "r2_log"]
    return table.astype(dict.fromkeys(numeric, float))


def write_comparison(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV to `path` and as Markdown beside it."""
    with atomic(path) as partial:
        table.to_csv(partial, index=False)
    header = ["Law", "Parameter", "Unit", "Paper", "Ours", "Interval", "R² (log)", "Fit"]
    lines = [header, ["---"] * len(header)]
    for row in table.to_dict(orient="records"):
        paper = f"{number(row['paper'])} ({row['source']})"
        if not pd.isna(row["paper_other"]):
            paper += f"; {number(row['paper_other'])} ({row['other_source']})"
        lines.append(
            [
                row["law"],
                f"`{row['parameter']}`",
                row["unit"],
                paper,
                number(row["ours"]),
                interval(row["low"], row["high"], row["status"]),
                r_squared(row["r2_log"]),
                STATUS[row["status"]],
            ]
        )
    with atomic(path.with_suffix(".md")) as partial:
        partial.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def number(value: float | None) -> str:
    """Return a number to three digits, such as 0.0760, 1,536 or 8.80e13; – for none."""
    if value is None or not isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return f"{value:#.3g}".rstrip(".") if abs(value) < 1e3 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def r_squared(value: float | None) -> str:
    """Return R2 to four decimals, because it is near one; – for none."""
    return "–" if value is None or pd.isna(value) else f"{value:.4f}"


def interval(low: float | None, high: float | None, status: Status = "converged") -> str:
    """Return an interval as text; – for none.

    At the end of a range replicates stop at the same number, whose interval would look sharp.
    """
    if status == "at_bound":
        return "–"
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        # A scale may have no upper end when the exponent comes near zero.
        return "–" if low is None or pd.isna(low) else f"{number(low)} or more"
    return f"{number(low)} to {number(high)}"
