"""Laws that are no sums of powers: the learning-rate rule, and what repeated data are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from scaling_laws.laws.problem import Array, Problem, State, Structure

WORTH = (1e-3, 1e4)  # bounds of R_D and R_N


@dataclass(frozen=True)
class Line(Structure):
    """y = intercept + slope ln x, fitted as it is: y may be small, and falls through zero.

    Attributes:
        variable: Name of x.
        intercept: Name of the first constant.
        slope: Name of the second.
    """

    variable: str
    intercept: str
    slope: str

    @property
    def names(self) -> list[str]:
        """Names of the constants."""
        return [self.intercept, self.slope]

    def value(self, constants: Mapping[str, float], log_x: Mapping[str, Array]) -> Array:
        """Return y for constants."""
        return np.asarray(constants[self.intercept] + constants[self.slope] * log_x[self.variable])

    def at(self, log_x: Mapping[str, Array]) -> LineAt:
        """Return the line at some points."""
        return LineAt(self, log_x[self.variable])


class LineAt(Problem):
    """A line at some points; its coordinates are the value at their mean, and the slope."""

    logarithmic = False

    def __init__(self, law: Line, log_x: Array) -> None:
        """Set up the features."""
        self.names = law.names
        self._centre = float(log_x.mean())
        self._features = np.array([np.ones_like(log_x), log_x - self._centre])
        self.low, self.high = np.full(2, -np.inf), np.full(2, np.inf)

    def bound(self, observed: Array) -> None:
        """Set bounds far outside of what the observed values allow."""
        far = 1e3 * float(np.abs(observed).max() or 1)
        self.low, self.high = np.full(2, -far), np.full(2, far)

    def evaluate(self, theta: Array) -> State:
        """Return the line."""
        return State(theta, theta @ self._features)

    def gradient(self, state: State) -> Array:
        """Return the features."""
        return np.broadcast_to(self._features, (len(state.theta), *self._features.shape))

    def curvature(self, state: State, weights: Array) -> Array:
        """Return zeros: a line has no second derivatives."""
        return np.zeros((len(weights), 2, 2))

    def starts(self, number: int, observed: Array) -> Array:
        """Return level lines: any start leads to the one minimum."""
        return np.tile([float(observed.mean()), 0.0], (min(number, 4), 1))

    def constants(self, theta: Array) -> Array:
        """Return intercept and slope."""
        return np.column_stack([theta[:, 0] - theta[:, 1] * self._centre, theta[:, 1]])

    def coordinates_of(self, constants: Mapping[str, float]) -> Array:
        """Return the coordinates of an intercept and a slope."""
        intercept, slope = (constants[name] for name in self.names)
        return np.array([intercept + slope * self._centre, slope])


@dataclass(frozen=True)
class Repeated(Structure):
    """Loss with repeated data (Muennighoff et al. 2023, arXiv 2305.16264, equation 5).

    L = E + A / N'^alpha + B / D'^beta. Of U_D distinct tokens that are seen R_D times again count

        D' = U_D + U_D R_D* (1 - exp(-R_D / R_D*)),

    and N' likewise of the U_N parameters that U_D tokens call for, and R_N times as many more.
    Fitted are R_D* and R_N*; the law of data seen once is given.

    Attributes:
        once: A, B, E, alpha, beta of the law of data seen once.
    """

    once: Mapping[str, float]

    @property
    def names(self) -> list[str]:
        """Names of the constants."""
        return ["R_D", "R_N"]

    def value(self, constants: Mapping[str, float], log_x: Mapping[str, Array]) -> Array:
        """Return the loss for constants."""
        theta = np.log([[constants[name] for name in self.names]])
        return np.asarray(np.exp(self.at(log_x).evaluate(theta).value[0]))

    def at(self, log_x: Mapping[str, Array]) -> RepeatedAt:
        """Return the law at points of N, D (tokens processed) and U (distinct ones)."""
        return RepeatedAt(self, log_x)


class RepeatedAt(Problem):
    """Repeated data at some points; its coordinates are the logarithms of R_D* and R_N*."""

    low, high = np.log([[WORTH[0]] * 2, [WORTH[1]] * 2])

    def __init__(self, law: Repeated, log_x: Mapping[str, Array]) -> None:
        """Work out how often data and parameters are repeated."""
        self.names = law.names
        self._once = law.once
        A, B, alpha, beta = (law.once[name] for name in ("A", "B", "alpha", "beta"))
        N, D, U = np.broadcast_arrays(*(np.exp(log_x[name]) for name in ("N", "D", "U")))
        U = np.minimum(U, D)
        # The size that D = U tokens call for: where one more FLOP buys as much on either side.
        called_for = (alpha * A / (beta * B)) ** (1 / alpha) * U ** (beta / alpha)
        U_N = np.minimum(called_for, N)
        self._unique = (U, U_N)
        self._repeats = (D / U - 1, N / U_N - 1)

    def bound(self, observed: Array) -> None:
        """Do nothing: the bounds do not depend on the losses."""

    def evaluate(self, theta: Array) -> State:
        """Return the logarithm of the loss."""
        once = self._once
        loss = np.full((len(theta), self._unique[0].size), once["E"])
        slopes = []
        pairs = (("B", "beta"), ("A", "alpha"))
        for column, (amount, power) in enumerate(pairs):
            worth = np.exp(theta[:, [column]])
            ratio = self._repeats[column] / worth
            counted = self._unique[column] * (1 - worth * np.expm1(-ratio))
            by_worth = self._unique[column] * (-np.expm1(-ratio) - ratio * np.exp(-ratio)) * worth
            part = once[amount] * counted ** -once[power]
            loss = loss + part
            slopes.append(-once[power] * part / counted * by_worth)
        return State(theta, np.log(loss), (loss, *slopes))

    def gradient(self, state: State) -> Array:
        """Return the gradient of the logarithm of the loss."""
        loss, *slopes = state.parts
        return np.stack([slope / loss for slope in slopes], axis=1)

    def starts(self, number: int, observed: Array) -> Array:
        """Return starts spread over the bounds."""
        return np.asarray(self.low + (self.high - self.low) * qmc.Halton(2, seed=0).random(number))

    def constants(self, theta: Array) -> Array:
        """Return R_D* and R_N*."""
        return np.exp(theta)

    def coordinates_of(self, constants: Mapping[str, float]) -> Array:
        """Return the coordinates of R_D* and R_N*."""
        return np.log([constants[name] for name in self.names])
