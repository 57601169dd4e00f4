"""Many small robust fits at once: the same law from many starts, or to many resamples.

Fits of a scaling law are cheap each and come in thousands. Here a row of coordinates is one fit;
all rows take their Newton steps together, in a handful of array operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scaling_laws.laws.problem import Array, Problem, State

ITERATIONS = 300
TOLERANCE = 1e-12  # of the objective, that the next step would gain
LEAST = 1e-18  # of an objective a point, under which it counts as zero
ELEMENTS = 2**18  # rows times coordinates times points that are worked on together
SHRINK, GROW = 0.2, 5.0
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
    rows, coordinates = starts.shape
    points = observed.shape[-1]
    y = np.log(observed) if objective.space == "log" and problem.logarithmic else observed
    together = max(1, ELEMENTS // (coordinates * points))
    y, weights = (np.broadcast_to(array, (rows, points)) for array in (y, weights))
    parts = []
    for begin in range(0, rows, together):
        some = slice(begin, begin + together)
        held = Pull(pull.column[some], pull.target[some], pull.stiffness[some]) if pull else None
        newton = _Newton(problem, y[some], weights[some], held)
        parts.append(_solve(newton, starts[some], objective, iterations, warm))
    return Solution(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("theta", "objective", "converged", "at_bound")
        )
    )


def _solve(
    newton: _Newton, starts: Array, objective: Objective, iterations: int, warm: bool
) -> Solution:
    """Fit with Huber's function, ever narrower: a narrow one alone is a maze far from its minimum.

    Absolute values have no second derivative; a function narrow enough stands for them.
    """
    space = objective.space
    if objective.kind == "ols":
        return newton.solve(starts, np.inf, space, iterations)
    theta = starts if warm else newton.solve(starts, np.inf, space, iterations).theta
    typical = np.median(np.abs(newton.residual(theta, space)), axis=1).clip(1e-12)
    last = np.full(len(theta), objective.delta)
    if objective.kind == "lad":
        last = NARROWEST * typical
    width = typical * (NARROW if warm else 1)
    while (width * NARROW > last).any():
        theta = newton.solve(theta, np.maximum(width, last)[:, None], space, iterations).theta
        width = width * NARROW
    solution = newton.solve(theta, last[:, None], space, iterations)
    if objective.kind == "lad":
        total = (newton.weights * np.abs(newton.residual(solution.theta, space))).sum(axis=1)
        return Solution(solution.theta, total, solution.converged, solution.at_bound)
    return solution


class _Newton:
    """Damped Newton steps of many rows inside of their bounds.

    Negative curvature is turned round, so that steps lead down from a saddle, too (Dauphin et al.
    2014); damping falls with every step that helps, and grows with every one that does not.
    """

    def __init__(
        self, problem: Problem, observed: Array, weights: Array, pull: Pull | None
    ) -> None:
        self.problem, self.observed, self.weights, self.pull = problem, observed, weights, pull

    def residual(self, theta: Array, space: str) -> Array:
        """Return the residuals of every row."""
        values, _ = self._values(self.problem.evaluate(theta), space)
        return np.asarray(values - self.observed)

    def _values(self, state: State, space: str) -> tuple[Array, bool]:
        """Return what residuals are of, and whether it is the exponential of what was evaluated."""
        raised = space == "linear" and self.problem.logarithmic
        return np.exp(state.value) if raised else state.value, raised

    def solve(self, starts: Array, delta: float | Array, space: str, iterations: int) -> Solution:
        """Move every row to its minimum."""
        problem = self.problem
        low, high = problem.low, problem.high
        theta = np.clip(starts, low, high)
        rows = len(theta)
        delta = np.broadcast_to(np.asarray(delta, dtype=float), (rows, 1))
        damping = np.full(rows, 1e-2)
        converged = np.zeros(rows, dtype=bool)
        least = LEAST * self.weights.sum(axis=1)
        live = np.arange(rows)
        objective, gradient, hessian = self._expand(theta, live, delta, space)
        best = objective.copy()
        for _ in range(iterations):
            step, gain = _step(theta[live], gradient, hessian, damping[live], low, high)
            done = gain <= TOLERANCE * best[live] + least[live]
            converged[live[done]] = True
            stuck = damping[live] > STUCK
            keep = ~(done | stuck)
            live, step, gradient, hessian = live[keep], step[keep], gradient[keep], hessian[keep]
            if not len(live):
                break
            trial = np.clip(theta[live] + step, low, high)
            value, new_gradient, new_hessian = self._expand(trial, live, delta, space)
            better = value < best[live]
            theta[live[better]], best[live[better]] = trial[better], value[better]
            gradient[better], hessian[better] = new_gradient[better], new_hessian[better]
            damping[live] *= np.where(better, SHRINK, GROW)
            damping.clip(1e-14, out=damping)
        slack = 1e-6 * (high - low)
        at_bound = (theta - low < slack) | (high - theta < slack)
        return Solution(theta, best, converged, at_bound)

    def _expand(
        self, theta: Array, rows: np.ndarray, delta: Array, space: str
    ) -> tuple[Array, Array, Array]:
        """Return objective, gradient and second derivatives."""
        state = self.problem.evaluate(theta)
        value, raised = self._values(state, space)
        residual = value - self.observed[rows]
        weights, delta = self.weights[rows], delta[rows]
        slope = np.clip(residual, -delta, delta)  # the derivative of Huber's function
        size = np.abs(residual)
        inside = size <= delta
        # Half of slope (2 |r| - |slope|) is r^2 / 2 inside, delta (|r| - delta / 2) beyond.
        objective = 0.5 * (weights * np.abs(slope) * (2 * size - np.abs(slope))).sum(axis=1)
        first, second = weights * slope, weights * inside
        if raised:
            first = first * value
            second = second * value**2 + first
        gradient = np.matmul(state.gradient, first[:, :, None])[:, :, 0]
        hessian = (state.gradient * second[:, None]) @ state.gradient.transpose(0, 2, 1)
        hessian += self.problem.curvature(state, first)
        if self.pull is not None:
            self._pull(theta, rows, objective, gradient, hessian)
        return np.where(np.isfinite(objective), objective, np.inf), gradient, hessian

    def _pull(
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
