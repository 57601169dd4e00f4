"""Least-squares fits of the laws in log loss, with intervals from a bootstrap over runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from scaling_laws.errors import InputError
from scaling_laws.laws.forms import Array, Law, get_law
from scaling_laws.laws.points import compute_curves, select_runs
from scaling_laws.output import atomic

OBJECTIVE = "mean squared residual of the natural log of the loss"
START_EXPONENTS = (0.03, 0.1, 0.3, 1.0)
# Exponents of the joint law, and log losses relative to the observed range: far outside of what
# any data supports, so that a parameter that runs there is known not to be identified.
EXPONENT_BOUNDS = (1e-3, 3.0)
LOG_LOSS_MARGIN = 5.0
# Condition number of the joint law's Jacobian in coordinates of order one. Crossed sizes and data
# sets give about 10; runs that vary N and D together, which cannot tell them apart, thousands.
LARGEST_CONDITION = 1e3


def fit(
    law: str,
    tables: list[Path],
    *,
    output: Path,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    minimum_layers: int = 2,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a scaling law to the runs of one or more studies.

    The squared residuals of the log loss are minimised. Intervals are percentiles over bootstrap
    replicates that draw runs, not points: the points of a learning curve share one run's luck.
    A replicate is not converged if too few of its points differ to determine the parameters, or
    if the fit stops at a bound; such replicates are counted, not drawn again.

    The status is one of

    - `converged`,
    - `exact`: as many points as parameters, so that no interval can be given,
    - `at_bound`: a parameter ran to the end of its range,
    - `not_identified`: the data do not determine the parameters: an exponent's interval includes
      zero, a smaller share than `confidence` of the replicates converged, or N and D vary
      together in L(N, D).

    Args:
        law: L_N, L_D, L_C or L_ND.
        tables: Folders of studies, each with runs.parquet and curves.parquet.
        output: JSON file to write.
        bootstrap: Bootstrap replicates.
        confidence: Level of the intervals.
        minimum_layers: Shallower models are left out of L(N) and L(C), as in the paper; 1 keeps
            all.
        seed: Seed of the bootstrap.

    Returns:
        Status, number of points, R2, and the parameters as text.

    Raises:
        InputError: If the law is unknown, a table or column is missing, or there are fewer points
            than parameters.
    """
    form = get_law(law)
    runs, excluded = select_runs(form, tables, minimum_layers)
    where = ", ".join(map(str, tables))
    _check_runs(form, runs, excluded, where)
    generator = np.random.default_rng(seed)
    # The first row is the fit itself: every run once.
    counts = np.vstack(
        [
            np.ones(len(runs), dtype=np.int64),
            generator.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=bootstrap),
        ]
    )
    if form.name == "L_ND":
        fitted = _fit_joint(runs, counts)
    elif form.name == "L_C":
        fitted = _fit_frontier(runs, tables, counts)
    else:
        fitted = _fit_finals(form, runs, counts)
    if np.isnan(fitted.values[0]).any():
        raise InputError(f"{where}: too few points for {law}: {_shortage(form)}")

    result = _summarise(form, fitted, confidence)
    names = ["runs", "curves"] if form.loss == "envelope" else ["runs"]
    result |= {
        "excluded": excluded,
        "inputs": [str(folder / f"{name}.parquet") for folder in tables for name in names],
        "seed": seed,
    }
    with atomic(output) as partial:
        partial.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    return {
        "status": result["status"],
        "points": result["n_points"],
        "r2_log": result["r2_log"],
        **{name: _text(parameter) for name, parameter in result["parameters"].items()},
    }


@dataclass(frozen=True)
class Fitted:
    """Estimates of a law's parameters: of the data in row 0, of the replicates after it.

    Attributes:
        points: The points fitted: run, variables, loss.
        values: Parameters in the order of the law, shape (1 + replicates, parameters); NaN where
            a replicate does not determine them.
        converged: Shape (1 + replicates,).
        predicted: Log loss of the fit at the points, shape (points,).
        identified: Whether the points tell the parameters apart.
        notes: Further entries for the fit JSON.
    """

    points: pd.DataFrame
    values: Array
    converged: npt.NDArray[np.bool_]
    predicted: Array
    identified: bool
    notes: dict[str, Any]


def _fit_finals(law: Law, runs: pd.DataFrame, counts: npt.NDArray[np.int64]) -> Fitted:
    """Fit L(N) or L(D) to the last or best losses of runs."""
    (variable,) = law.variables
    points = runs[list(dict.fromkeys(["run", "N", variable, "loss"]))]
    x, y = (np.log(points[name].to_numpy(dtype=float)) for name in (variable, "loss"))
    lines = _lines(x, np.broadcast_to(y, counts.shape), counts.astype(float))
    return _fitted_line(points, variable, lines, {})


def _fit_frontier(runs: pd.DataFrame, tables: list[Path], counts: npt.NDArray[np.int64]) -> Fitted:
    """Fit L(C) to the compute frontier, which every replicate draws anew from its own runs."""
    curves = compute_curves(runs, tables)
    frontier = curves.frontier(counts > 0)
    on = np.isfinite(frontier[0])
    if not on.any():
        raise InputError(
            f"{', '.join(map(str, tables))}: no compute at which the learning curves of two model "
            f"sizes overlap after warm-up (sizes N = {sorted(set(curves.N.tolist()))}); "
            "L_C needs sizes closer to each other or longer runs"
        )
    leader = np.argmin(curves.log_loss[:, on], axis=0)
    points = pd.DataFrame(
        {
            "run": [curves.run[index] for index in leader],
            "N": curves.N[leader],
            "C": np.exp(curves.log_C[on]),
            "loss": np.exp(frontier[0, on]),
        }
    )
    compared = pd.DataFrame(np.isfinite(curves.log_loss)).groupby(curves.N).any().sum() >= 2
    notes = {
        "frontier": {
            "points_compared": int(compared.sum()),
            "points_dominated": int(compared.sum() - on.sum()),
            "runs": int(points.run.nunique()),
        }
    }
    # Replicates may reach beyond the frontier of all runs, so they are fitted on the whole grid.
    weights = np.isfinite(frontier).astype(float)
    lines = _lines(curves.log_C, np.nan_to_num(frontier), weights)
    return _fitted_line(points, "C", lines, notes)


def _fitted_line(
    points: pd.DataFrame, variable: str, lines: Array, notes: dict[str, Any]
) -> Fitted:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = np.column_stack([lines[:, 0], np.exp(lines[:, 1] / lines[:, 0])])
    x = np.log(points[variable].to_numpy(dtype=float))
    return Fitted(
        points=points,
        values=values,
        converged=np.asarray(np.isfinite(lines).all(axis=1)),
        predicted=lines[0, 1] - lines[0, 0] * x,
        identified=True,
        notes=notes,
    )


def _lines(x: Array, y: Array, weights: Array) -> Array:
    """Return exponent and intercept of weighted least-squares lines y = intercept - exponent x.

    Args:
        x: Shape (points,).
        y: Shape (replicates, points).
        weights: Shape (replicates, points).

    Returns:
        Shape (replicates, 2); NaN where fewer than two values of x have weight.
    """
    total = weights.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        x_mean = (weights @ x) / total
        y_mean = (weights * y).sum(axis=1) / total
        x_centred = x - x_mean[:, None]
        variance = (weights * x_centred**2).sum(axis=1)
        slope = (weights * x_centred * (y - y_mean[:, None])).sum(axis=1) / variance
    lines = np.column_stack([-slope, y_mean - slope * x_mean])
    held = weights > 0
    spread = np.where(held, x, -np.inf).max(axis=1) > np.where(held, x, np.inf).min(axis=1)
    return np.where(spread[:, None], lines, np.nan)


def _fit_joint(runs: pd.DataFrame, counts: npt.NDArray[np.int64]) -> Fitted:
    """Fit L(N, D) (eq. 1.5) from many starts, and every replicate from the best of them."""
    points = runs[["run", "N", "D", "loss"]]
    problem = Joint(
        *(np.log(points[name].to_numpy(dtype=float)) for name in ("N", "D", "loss")),
    )
    weights = np.sqrt(counts.astype(float))
    starts = [problem.solve(weights[0], start) for start in problem.starts()]
    best = min(starts, key=lambda solution: float(solution.cost))
    agreeing = sum(bool(start.cost <= best.cost * (1 + 1e-6) + 1e-15) for start in starts)

    theta = np.full((len(counts), 4), np.nan)
    converged = np.zeros(len(counts), dtype=bool)
    theta[0], converged[0] = best.x, best.success and not problem.at_bound(best.x)
    for row in range(1, len(counts)):
        if problem.determined(counts[row] > 0):
            solution = problem.solve(weights[row], best.x)
            # A replicate at a bound is not converged, yet it belongs to the interval.
            theta[row] = solution.x
            converged[row] = solution.success and not problem.at_bound(solution.x)
    condition = float(np.linalg.cond(problem.jacobian(best.x)))
    return Fitted(
        points=points,
        values=problem.constants(theta),
        converged=converged,
        predicted=problem.log_loss(best.x),
        identified=condition < LARGEST_CONDITION,
        notes={
            "starts": {"tried": len(starts), "agreeing": agreeing},
            "condition": condition if np.isfinite(condition) else None,
        },
    )


@dataclass(frozen=True)
class Joint:
    """The joint law L(N, D) (eq. 1.5) in coordinates in which it is well scaled.

    With u the log loss of the model size alone and v that of the data set size alone,

        u = a - alpha_N log(N / N_0)        v = b - alpha_D log(D / D_0)
        log L = alpha_D log(exp(u / alpha_D) + exp(v / alpha_D)),

    the law is a soft maximum of the two. N_0 and D_0 are geometric means of the data, so that
    theta = (alpha_N, alpha_D, a, b) is of order one where N_c and D_c are astronomic and tied to
    their exponents. log N_c = log N_0 + a / alpha_N, and likewise D_c.

    Attributes:
        log_N: Shape (points,).
        log_D: Shape (points,).
        observed: Log losses, shape (points,).
    """

    log_N: Array
    log_D: Array
    observed: Array

    def log_loss(self, theta: Array) -> Array:
        """Return the log loss at every point."""
        u, v = self._limits(theta)
        return np.asarray(theta[1] * np.logaddexp(u / theta[1], v / theta[1]))

    def jacobian(self, theta: Array) -> Array:
        """Return the derivative of `log_loss` by theta, shape (points, 4)."""
        u, v = self._limits(theta)
        alpha_D = theta[1]
        both = np.logaddexp(u / alpha_D, v / alpha_D)
        by_u = np.exp(u / alpha_D - both)
        by_v = np.exp(v / alpha_D - both)
        return np.column_stack(
            [
                -by_u * self._x,
                both - (by_u * u + by_v * v) / alpha_D - by_v * self._y,
                by_u,
                by_v,
            ]
        )

    def solve(self, weights: Array, start: Array) -> Any:
        """Return scipy's result of the least-squares fit, residuals multiplied by `weights`."""
        return least_squares(
            lambda theta: weights * (self.log_loss(theta) - self.observed),
            start,
            jac=lambda theta: weights[:, None] * self.jacobian(theta),
            bounds=self._bounds(),
            x_scale=(0.1, 0.1, 1.0, 1.0),
        )

    def starts(self) -> list[Array]:
        """Return starting points: every pair of exponents, each limit at the least loss."""
        least = float(self.observed.min())
        return [
            np.array([alpha_N, alpha_D, least, least])
            for alpha_N, alpha_D in product(START_EXPONENTS, repeat=2)
        ]

    def determined(self, present: npt.NDArray[np.bool_]) -> bool:
        """Tell whether these points can determine four parameters: both variables must vary."""
        pairs = np.unique(np.column_stack([self.log_N, self.log_D])[present], axis=0)
        return len(pairs) >= 4 and all(len(np.unique(column)) >= 2 for column in pairs.T)

    def at_bound(self, theta: Array) -> bool:
        """Tell whether a parameter stands at a bound, within a thousandth of its range."""
        low, high = self._bounds()
        slack = 1e-3 * (high - low)
        # Exponents end at zero, where a thousandth of the range is no small value.
        slack[:2] = EXPONENT_BOUNDS[0]
        return bool(((theta - low < slack) | (high - theta < slack)).any())

    def constants(self, theta: Array) -> Array:
        """Return alpha_N, alpha_D, N_c, D_c for rows of theta, shape (rows, 4)."""
        alpha_N, alpha_D, a, b = theta.T
        with np.errstate(over="ignore"):
            N_c = np.exp(self.log_N.mean() + a / alpha_N)
            D_c = np.exp(self.log_D.mean() + b / alpha_D)
        return np.column_stack([alpha_N, alpha_D, N_c, D_c])

    @property
    def _x(self) -> Array:
        return np.asarray(self.log_N - self.log_N.mean())

    @property
    def _y(self) -> Array:
        return np.asarray(self.log_D - self.log_D.mean())

    def _limits(self, theta: Array) -> tuple[Array, Array]:
        alpha_N, alpha_D, a, b = theta
        return a - alpha_N * self._x, b - alpha_D * self._y

    def _bounds(self) -> tuple[Array, Array]:
        low, high = EXPONENT_BOUNDS
        least = self.observed.min() - LOG_LOSS_MARGIN
        greatest = self.observed.max() + LOG_LOSS_MARGIN
        return np.array([low, low, least, least]), np.array([high, high, greatest, greatest])


def _summarise(law: Law, fitted: Fitted, confidence: float) -> dict[str, Any]:
    """Return the content of the fit JSON, but for what only the caller knows."""
    points = fitted.points
    observed = np.log(points.loss.to_numpy())
    residuals = observed - fitted.predicted
    variation = float(((observed - observed.mean()) ** 2).sum())
    distinct = len(points[list(law.variables)].drop_duplicates())
    exact = distinct <= len(law.parameters)
    low, high = _intervals(fitted.values[1:], confidence)
    if exact:
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    parameters = {
        name: {
            "value": _finite(fitted.values[0, index]),
            "low": _finite(low[index]),
            "high": _finite(high[index]),
            "unit": constant.unit,
            "paper": constant.value,
            "source": constant.source,
            "paper_other": constant.other,
            "other_source": constant.other_source,
        }
        for index, (name, constant) in enumerate(law.parameters.items())
    }
    return {
        "law": law.name,
        "equation": law.equation,
        "parameters": parameters,
        "confidence": confidence,
        "objective": {"name": OBJECTIVE, "value": float((residuals**2).mean())},
        "status": _status(law, fitted, low, exact, confidence),
        "n_points": len(points),
        "r2_log": _finite(1 - float((residuals**2).sum()) / variation if variation else np.nan),
        "bootstrap": {
            "replicates": len(fitted.values) - 1,
            "converged": int(fitted.converged[1:].sum()),
        },
        "loss": law.loss,
        "range": {
            name: [float(points[name].min()), float(points[name].max())] for name in law.variables
        },
        "decreasing": _decreasing(law, points),
        **fitted.notes,
        "points": points.to_dict(orient="records"),
    }


def _intervals(replicates: Array, confidence: float) -> tuple[Array, Array]:
    usable = replicates[~np.isnan(replicates).any(axis=1)]
    if len(usable) < 2:
        nothing = np.full(replicates.shape[1], np.nan)
        return nothing, nothing
    # Order statistics and no interpolation, because a scale may be infinite.
    low, high = np.quantile(
        usable, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0, method="nearest"
    )
    return low, high


def _status(law: Law, fitted: Fitted, low: Array, exact: bool, confidence: float) -> str:
    if exact:
        return "exact"
    if not fitted.converged[0]:
        return "at_bound"
    exponents = [index for index, name in enumerate(law.parameters) if name.startswith("alpha")]
    share = fitted.converged[1:].mean()
    if not fitted.identified or share < confidence or not (low[exponents] > 0).all():
        return "not_identified"
    return "converged"


def _decreasing(law: Law, points: pd.DataFrame) -> bool | None:
    """Tell whether the loss, averaged over runs of equal x, falls from each x to the next."""
    if len(law.variables) > 1:
        return None
    (variable,) = law.variables
    means = points.groupby(variable).loss.mean()
    return bool((means.diff().dropna() < 0).all())


def _check_runs(law: Law, runs: pd.DataFrame, excluded: list[dict[str, str]], where: str) -> None:
    reasons = pd.Series([row["reason"] for row in excluded], dtype=str).value_counts().to_dict()
    left_out = "".join(f"; {count} left out: {reason}" for reason, count in reasons.items())
    found = f"found {len(runs)} runs{left_out}"
    if runs.empty:
        raise InputError(f"{where}: too few points for {law.name}: {_shortage(law)}; {found}")
    if law.loss == "envelope":
        return
    variables = list(law.variables)
    distinct = runs[variables].drop_duplicates()
    for variable in variables:
        if distinct[variable].nunique() < 2:
            raise InputError(
                f"{where}: {law.name} needs runs of at least two values of {variable}, "
                f"but all have {variable} = {runs[variable].iloc[0]}; {found}"
            )
    if len(distinct) < len(law.parameters):
        raise InputError(
            f"{where}: too few points for {law.name}: {_shortage(law)}; "
            f"found {len(distinct)} distinct values of ({', '.join(variables)}); {found}"
        )


def _shortage(law: Law) -> str:
    return f"expected at least {len(law.parameters)}, one for each of {', '.join(law.parameters)}"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _text(parameter: dict[str, Any]) -> str:
    unit = "" if parameter["unit"] == "1" else f" {parameter['unit']}"
    if parameter["value"] is None:
        return f"none (paper {parameter['paper']:.4g}{unit})"
    interval = "no interval"
    if parameter["low"] is not None and parameter["high"] is not None:
        interval = f"{parameter['low']:.4g} to {parameter['high']:.4g}"
    return f"{parameter['value']:.4g}{unit} ({interval}; paper {parameter['paper']:.4g})"
