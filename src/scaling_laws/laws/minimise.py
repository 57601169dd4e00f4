"""Many small robust fits at once: the same law from many starts, or to many resamples.

Fits of a scaling law are cheap each and come in thousands. Here a row of coordinates is one fit;
all rows take their Newton steps together, in a handful of array operations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from scaling_laws.laws.problem import Array, Problem, State

ITERATIONS = 300
TOLERANCE = 1e-12  # of the objective, that the next step would gain
LEAST = 1e-18  # of an objective a point, under which it counts as zero
ELEMENTS = 2**17  # rows times coordinates times points that are worked on together
DAMPING, LIGHTEST = 0.01, 1e-14  # at first, and at last
SHRINK, GROW = 0.2, 4.0
AT_BOUND = 1e-6  # of a range, from its end
PLACES = 8  # decimals of coordinates that are equal at one minimum
STUCK = 1e12  # damping at which no step helps any more
NARROW = 0.1  # each width of Huber's function over the one before, on the way to a narrow one
NARROWEST = 1e-4  # width, in typical residuals, at which it passes for the absolute value


@dataclass(frozen=True)
class Objective:
    """What a fit makes small: the weighted sum over points of a function of the residual.

    Attributes:
        kind: `ols`, half of the square; `huber`, the same up to delta and linear beyond (Huber
            1964); `lad`, the absolute value.
        delta: Where huber turns linear.
        space: Residuals of the logarithm, or of the value itself.
    """

    kind: Literal["huber", "lad", "ols"] = "ols"
    delta: float = 1e-3
    space: Literal["log", "linear"] = "log"

    def __str__(self) -> str:
        """Return it in words."""
        residual = "log residual" if self.space == "log" else "residual"
        return {
            "ols": f"sum of squares of the {residual}, halved",
            "huber": f"sum of Huber's function of the {residual}, delta {self.delta:g}",
            "lad": f"sum of absolute values of the {residual}",
        }[self.kind]

    def losses(self, residual: Array) -> Array:
        """Return the function of each residual."""
        size = np.abs(residual)
        if self.kind == "lad":
            return size
        if self.kind == "ols":
            return np.asarray(0.5 * residual**2)
        return np.where(
            size <= self.delta, 0.5 * residual**2, self.delta * (size - 0.5 * self.delta)
        )


@dataclass(frozen=True)
class Solution:
    """Where the rows ended.

    Attributes:
        theta: Coordinates, shape (rows, coordinates).
        objective: Shape (rows,).
        converged: Whether no step gains more than the tolerance, shape (rows,).
        at_bound: Coordinates that stand at a bound, shape (rows, coordinates).
    """

    theta: Array
    objective: Array
    converged: np.ndarray
    at_bound: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Solution:
        """Return some of the rows."""
        return Solution(
            self.theta[rows], self.objective[rows], self.converged[rows], self.at_bound[rows]
        )


@dataclass(frozen=True)
class Pull:
    """A spring that holds one published constant near a value, for profiles.

    Attributes:
        column: Which of the constants, shape (rows,).
        target: Logarithm of its value, shape (rows,).
        stiffness: In units of the objective, shape (rows,).
    """

    column: np.ndarray
    target: Array
    stiffness: Array


def minimise(
    problem: Problem,
    observed: Array,
    weights: Array,
    starts: Array,
    objective: Objective,
    *,
    pull: Pull | None = None,
    warm: bool = False,
    iterations: int = ITERATIONS,
) -> Solution:
    """Fit the rows.

    Args:
        problem: The law at the points.
        observed: Values, shape (points,) or (rows, points); positive.
        weights: Of the points, shape (points,) or (rows, points).
        starts: Coordinates, shape (rows, coordinates).
        objective: What is made small.
        pull: Holds a constant of each row.
        warm: Whether the starts are near the minima already.
        iterations: Steps after which a row that has not converged is given up.
    """
    logs = objective.space == "log" and problem.logarithmic
    newton = _Newton(problem, np.log(observed) if logs else observed, weights, objective, pull)
    theta = starts
    if not warm:
        theta = newton.solve(theta, np.inf, iterations, far=True).theta
    kept = np.arange(len(theta))
    if observed.ndim == weights.ndim == 1 and pull is None:
        # All rows are of one problem: those that have come to one place go on as one.
        places = theta.round(PLACES)
        _, first, kept = np.unique(places, axis=0, return_index=True, return_inverse=True)
        theta, kept = theta[first], kept.reshape(-1)
    return _narrow(newton, theta, objective, iterations, warm).take(kept)


def _narrow(
    newton: _Newton, theta: Array, objective: Objective, iterations: int, warm: bool
) -> Solution:
    """Fit with Huber's function, ever narrower: a narrow one alone is a maze far from its minimum.

    Absolute values have no second derivative; a function narrow enough stands for them.
    """
    if objective.kind == "ols":
        return newton.solve(theta, np.inf, iterations)
    typical = np.median(np.abs(newton.residual(theta)), axis=1).clip(1e-12)
    last = np.full(len(theta), objective.delta)
    if objective.kind == "lad":
        last = NARROWEST * typical
    width = typical * (NARROW if warm else 1)
    while (width * NARROW > last).any():
        theta = newton.solve(theta, np.maximum(width, last), iterations).theta
        width = width * NARROW
    solution = newton.solve(theta, last, iterations)
    if objective.kind == "lad":
        total = (newton.weights * np.abs(newton.residual(solution.theta))).sum(axis=1)
        return replace(solution, objective=total)
    return solution


@dataclass(frozen=True)
class _Newton:
    """Damped Newton steps of many rows inside of their bounds.

    Negative curvature is turned round, so that steps lead down from a saddle, too (Dauphin et al.
    2014); damping falls with every step that helps, and grows with every one that does not. A row
    that has ended makes room for the next one.

    Attributes:
        problem: The law at the points.
        observed: Values or their logarithms, shape (points,) or (rows, points).
        weights: Shape (points,) or (rows, points).
        objective: Tells what residuals are of.
        pull: Holds a constant of each row.
    """

    problem: Problem
    observed: Array
    weights: Array
    objective: Objective
    pull: Pull | None

    def residual(self, theta: Array) -> Array:
        """Return the residuals of every row."""
        return np.asarray(self._values(self.problem.evaluate(theta)) - self.observed)

    @property
    def _raised(self) -> bool:
        """Whether residuals are of the exponential of what is evaluated."""
        return self.objective.space == "linear" and self.problem.logarithmic

    def _values(self, state: State) -> Array:
        return np.exp(state.value) if self._raised else state.value

    def solve(
        self, starts: Array, delta: float | Array, iterations: int, far: bool = False
    ) -> Solution:
        """Move every row to its minimum, with a width of Huber's function for each.

        From `far` away the law is taken for linear between steps (Levenberg and Marquardt's way),
        which takes half as many; close by its curvature counts.
        """
        low, high = self.problem.low, self.problem.high
        theta = np.clip(starts, low, high)
        rows, count = theta.shape
        delta = np.broadcast_to(delta, rows)
        best, damping = np.full(rows, np.inf), np.full(rows, DAMPING)
        left, converged = np.full(rows, iterations), np.zeros(rows, dtype=bool)
        together = max(1, ELEMENTS // (count * self.observed.shape[-1]))
        live, waiting = np.split(np.arange(rows), [together])
        trial = theta[live]
        gradient, hessian = np.zeros((len(live), count)), np.zeros((len(live), count, count))
        while len(live):
            value, slopes, bends = self._expand(trial, live, delta[live], far)
            better = value < best[live]
            theta[live[better]], best[live[better]] = trial[better], value[better]
            gradient[better], hessian[better] = slopes[better], bends[better]
            damping[live] = (damping[live] * np.where(better, SHRINK, GROW)).clip(LIGHTEST)
            left[live] -= 1
            step, gain = _step(theta[live], gradient, hessian, damping[live], low, high)
            done = gain <= TOLERANCE * best[live] + LEAST * self.observed.shape[-1]
            converged[live[done]] = True
            keep = ~done & (damping[live] < STUCK) & (left[live] > 0)
            next_ones, waiting = np.split(waiting, [int((~keep).sum())])
            live = np.concatenate([live[keep], next_ones])
            trial = theta[live]
            trial[: keep.sum()] = np.clip(trial[: keep.sum()] + step[keep], low, high)
            more = np.zeros((len(next_ones), count))
            gradient = np.concatenate([gradient[keep], more])
            hessian = np.concatenate([hessian[keep], np.zeros((len(more), count, count))])
        slack = AT_BOUND * (high - low)
        at_bound = (theta - low < slack) | (high - theta < slack)
        return Solution(theta, best, converged, at_bound)

    def _expand(
        self, theta: Array, rows: np.ndarray, delta: Array, far: bool
    ) -> tuple[Array, Array, Array]:
        """Return objective, gradient and second derivatives of some rows."""
        state = self.problem.evaluate(theta)
        weights, observed, value = self._of(self.weights, rows), self.observed, self._values(state)
        residual = value - self._of(observed, rows)
        slope = np.clip(residual, -delta[:, None], delta[:, None])  # Huber's derivative
        first, second = weights * slope, weights * (slope == residual)
        # Its value: r^2 / 2 inside, delta (|r| - delta / 2) beyond.
        objective = np.einsum("ij,ij->i", first, residual - 0.5 * slope)
        if self._raised:
            first = first * value
            second = second * value**2 + (0 if far else first)
        gradient = self.problem.slopes(state, first)
        hessian = self.problem.bends(state, np.zeros_like(first) if far else first, second)
        if self.pull is not None:
            self._hold(theta, rows, objective, gradient, hessian)
        return np.where(np.isfinite(objective), objective, np.inf), gradient, hessian

    def _of(self, array: Array, rows: np.ndarray) -> Array:
        """Return what is of some rows of an array, or all of one that all rows share."""
        return array if array.ndim == 1 else array[rows]

    def _hold(
        self, theta: Array, rows: np.ndarray, objective: Array, gradient: Array, hessian: Array
    ) -> None:
        """Add the spring of each row."""
        assert self.pull is not None
        column, target = self.pull.column[rows], self.pull.target[rows]
        stiffness = self.pull.stiffness[rows]
        each = np.arange(len(theta))

        def held(theta: Array) -> Array:
            value = self.problem.constants(theta)[each, column]
            return np.asarray(np.log(value.clip(1e-300, 1e300)))

        excess = held(theta) - target
        slope = np.empty_like(theta)
        for coordinate in range(theta.shape[1]):
            move = np.zeros_like(theta)
            move[:, coordinate] = 1e-6
            slope[:, coordinate] = (held(theta + move) - held(theta - move)) / 2e-6
        objective += 0.5 * stiffness * excess**2
        gradient += (stiffness * excess)[:, None] * slope
        hessian += stiffness[:, None, None] * slope[:, :, None] * slope[:, None, :]


def _step(
    theta: Array, gradient: Array, hessian: Array, damping: Array, low: Array, high: Array
) -> tuple[Array, Array]:
    """Return steps, and what an undamped one would gain.

    Coordinates at a bound that would leave it stay.
    """
    held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    gradient = np.where(held, 0.0, gradient)
    scale = np.sqrt(np.abs(np.diagonal(hessian, axis1=1, axis2=2)))
    scale = np.where(held | (scale == 0), 1.0, scale)
    scaled = hessian / (scale[:, :, None] * scale[:, None, :])
    scaled[held] = 0.0
    scaled.transpose(0, 2, 1)[held] = 0.0
    scaled = np.where(np.isfinite(scaled), scaled, 0.0)
    curvature, axes = np.linalg.eigh(scaled)
    curvature = np.abs(curvature).clip(1e-12)
    along = np.matmul(axes.transpose(0, 2, 1), (np.nan_to_num(gradient) / scale)[:, :, None])[
        :, :, 0
    ]
    gain = 0.5 * (along**2 / curvature).sum(axis=1)
    moved = -np.matmul(axes, (along / (curvature + damping[:, None]))[:, :, None])[:, :, 0]
    return moved / scale, gain
