"""The exponent of the best size under every convention of counting (after Porian et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.errors import InputError, TooFewRunsError
from scaling_laws.laws import paper
from scaling_laws.laws.estimate import estimate
from scaling_laws.laws.fit import sample_of
from scaling_laws.laws.fitted import read_content
from scaling_laws.laws.forecast import read_fit
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.points import Rules
from scaling_laws.output import atomic
from scaling_laws.progress import track

COUNTS = {"N": "without embeddings", "N_total": "all parameters"}
FLOPS = {"C": "6 N a token", "C_full": "attention and head as well"}
WITH_A_SIZE = ("N_opt", "chinchilla_2", "chinchilla")
"""Laws that have an exponent of the best size, or imply one."""
PUBLISHED = (
    ("Kaplan et al.: fixed batch", paper.FIGURE_14["p"].value),
    ("Kaplan et al.: small batches", paper.TABLE_6["p_N"].value),
    ("Hoffmann et al.: approach 3", 0.46),
    ("Besiroglu et al.: approach 3", 0.5126),
)


def conventions(
    fixed: list[Path] | None = None,
    *,
    matched: list[Path] | None = None,
    fits: Path | None = None,
    fitted: list[str] | None = None,
    output: Path,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    minimum_layers: int = 2,
    seed: int = 0,
) -> dict[str, object]:
    """Fit the best size against compute under every convention of parameters and FLOP.

    Args:
        fixed: Folders of studies whose runs share one batch and schedule.
        matched: Folders of studies whose schedules are matched to the length of each run.
        fits: Folder of fits.
        fitted: Those of its laws that are added: N_opt, chinchilla, chinchilla_2.
        output: CSV file: how (schedule and method), count, flop, exponent, low, high, status, why.
        bootstrap: Bootstrap replicates.
        confidence: Level of the intervals.
        minimum_layers: Shallower models are left out.
        seed: Seed of the bootstrap.

    Raises:
        InputError: When a table or a fit is missing or damaged, or a law has no such exponent.
    """
    if unknown := [name for name in fitted or [] if name not in WITH_A_SIZE]:
        known = ", ".join(WITH_A_SIZE)
        raise InputError(f"--fitted {unknown[0]}: no exponent of the best size; expected {known}")
    if fitted and fits is None:
        raise InputError("--fitted names laws in the folder of --fits; give that as well")
    rows: list[dict[str, Any]] = []
    work = [
        (how, folders, count, flop)
        for how, folders in (("fixed schedule", fixed), ("matched schedule", matched))
        for count, flop in product(COUNTS, FLOPS)
        if folders
    ]
    for how, folders, count, flop in track(work, "conventions", len(work)):
        row = {"how": how, "count": COUNTS[count], "flop": FLOPS[flop]}
        rules = Rules(minimum_layers, count, flop)  # type: ignore[arg-type]
        try:
            sample = sample_of(LAWS["N_C"], folders or [], rules)
        except TooFewRunsError as error:  # too few sizes cross under this convention
            rows.append(row | {"status": "not_identified", "why": str(error).partition(": ")[2]})
            continue
        found = estimate(
            LAWS["N_C"], sample.points, sample.resamples(bootstrap, seed), confidence=confidence
        )
        ends = found.percentile.get("p")
        rows.append(
            row
            | {
                "exponent": found.constants["p"],
                "low": ends.low if ends else None,
                "high": ends.high if ends else None,
                "status": found.status,
                "why": "; ".join(found.diagnosis),
            }
        )
    rows += _of_fits(fits, fitted or []) if fits else []
    rows += [{"how": how, "exponent": value, "status": "published"} for how, value in PUBLISHED]
    columns = ["how", "count", "flop", "exponent", "low", "high", "status", "why"]
    with atomic(output) as partial:
        pd.DataFrame(rows, columns=columns).to_csv(partial, index=False)
    return {"rows": len(rows)}


def _of_fits(folder: Path, laws: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the exponents of fits that have one, or whose law implies one.

    Of L(N, D) = E + A / N^alpha + B / D^beta it is beta / (alpha + beta).
    """
    for name, how in (("N_opt", "small batches, C_min"), ("chinchilla_2", "IsoFLOP parabolae")):
        if name in laws:
            content = read_content(folder / f"{name}.json", name)
            power = LAWS[name].powers[0]
            numbers = content["parameters"][power]
            yield {
                "how": how,
                "count": COUNTS["N"],
                "flop": FLOPS["C"],
                "exponent": content["optimum"][power],
                "low": numbers["low"],
                "high": numbers["high"],
                "status": content["status"],
                "why": "; ".join(content["diagnosis"]),
            }
    path = folder / "chinchilla.json"
    if "chinchilla" in laws:
        content = read_content(path, "chinchilla")
        row = {"how": "law of N and D", "count": COUNTS["N"], "flop": FLOPS["C"]}
        row |= {"status": content["status"], "why": "; ".join(content["diagnosis"])}
        if None in content["optimum"].values():
            yield row
            return
        fit = read_fit(path)
        value = _share(fit.constants)
        drawn = [_share(draw) for draw in fit.draws]
        ends = fit.interval(np.asarray(drawn, dtype=float))
        low, high = ends or (math.nan, math.nan)
        yield row | {"exponent": value, "low": low, "high": high}


def _share(constants: dict[str, float]) -> float:
    return constants["beta"] / (constants["alpha"] + constants["beta"])
