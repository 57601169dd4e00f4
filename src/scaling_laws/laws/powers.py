"""Sums of power laws, the form of nearly all scaling laws, made ready to be fitted to points.

A law is

    y = floor + [ sum over terms of (coefficient * product of x^power) ^ (1 / T) ] ^ T

with T = 1 but for the joint laws of Kaplan et al. The logarithm of each term is linear in the
powers and in the logarithm of the coefficient. These, with the logarithms of x taken from their
mean over the points, are the coordinates that a fit moves in: of order one and hardly correlated,
where scales such as N_c are astronomic and tied to their exponents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import qmc

from scaling_laws.laws.problem import Array, Problem, State, Structure

POWERS = (1e-3, 5.0)  # far outside of what any data support: who ends there is not identified
START_POWERS = (0.02, 1.5)
FAINT = 12.0  # e-foldings that a term may lie under the observed values
LOUD = 6.0  # e-foldings that it may lie above them
NOISE = 0.5  # e-foldings that noise may take the least observed value below the floor


@dataclass(frozen=True)
class Term:
    """One power law of a sum.

    Attributes:
        amount: Name of its coefficient; or of the scale s of a term (s / x)^power.
        powers: For each free power the variables that it is of: {"alpha": {"N": -1}} is N^-alpha.
        fixed: Powers of variables that are not fitted.
        scale: Whether `amount` is a scale; there is one free power then, of one variable.
    """

    amount: str
    powers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    scale: bool = False


@dataclass(frozen=True)
class PowerSum(Structure):
    """A sum of power laws.

    Attributes:
        terms: What is summed.
        temperature: The power that is T as well; None where T = 1.
        floor: Name of what remains when every term has vanished; None where nothing does.
        inverse: Powers that are published as their inverse: B_crit = B_* / L^(1 / alpha_B).
    """

    terms: tuple[Term, ...]
    temperature: str | None = None
    floor: str | None = None
    inverse: frozenset[str] = frozenset()

    @property
    def powers(self) -> list[str]:
        """Names of the free powers."""
        named = [name for term in self.terms for name in term.powers]
        return list(dict.fromkeys([*named, *([self.temperature] if self.temperature else [])]))

    @property
    def names(self) -> list[str]:
        """Names of all constants: powers, amounts, floor."""
        amounts = [term.amount for term in self.terms]
        return [*self.powers, *amounts, *([self.floor] if self.floor else [])]

    def log_value(self, constants: Mapping[str, float], log_x: Mapping[str, Array]) -> Array:
        """Return the logarithm of the law for its published constants.

        Args:
            constants: By name.
            log_x: Logarithms of the variables, by name.
        """
        power = {
            name: 1 / constants[name] if name in self.inverse else constants[name]
            for name in self.powers
        }
        logs = []
        for term in self.terms:
            amount = np.log(constants[term.amount])
            if term.scale:
                amount = amount * next(iter(power[name] for name in term.powers))
            free = [
                sign * power[name] * log_x[variable]
                for name, variables in term.powers.items()
                for variable, sign in variables.items()
            ]
            fixed = [number * log_x[variable] for variable, number in term.fixed.items()]
            logs.append(amount + sum([*free, *fixed], np.float64(0)))
        T = power[self.temperature] if self.temperature else 1.0
        total = T * np.logaddexp.reduce([log / T for log in np.broadcast_arrays(*logs)], axis=0)
        if self.floor and constants[self.floor] > 0:
            total = np.logaddexp(np.log(constants[self.floor]), total)
        return np.asarray(total)

    def value(self, constants: Mapping[str, float], log_x: Mapping[str, Array]) -> Array:
        """Return the law for its published constants; see `log_value`."""
        return np.exp(self.log_value(constants, log_x))

    def at(self, log_x: Mapping[str, Array]) -> Powers:
        """Return the law at some points.

        Args:
            log_x: Logarithms of the variables, each of shape (points,).
        """
        return Powers(self, log_x)


class Powers(Problem):
    """A sum of power laws at some points; see `Problem`."""

    def __init__(self, law: PowerSum, log_x: Mapping[str, Array]) -> None:
        """Set up the features of the terms."""
        self.law = law
        self.names = law.names
        self._centre = {name: float(np.mean(values)) for name, values in log_x.items()}
        self.points = len(next(iter(log_x.values())))
        x = {name: np.asarray(values - self._centre[name]) for name, values in log_x.items()}
        self._power = {name: column for column, name in enumerate(law.powers)}
        self._amount = len(self._power)
        self._floor = self._amount + len(law.terms) if law.floor else None
        self._T = self._power[law.temperature] if law.temperature else None
        # Of each term: the columns of its coordinates, and what these are multiplied by.
        self._terms: list[tuple[list[int], Array, Array]] = []
        for number, term in enumerate(law.terms):
            columns, features = [self._amount + number], [np.ones(self.points)]
            for name, variables in term.powers.items():
                columns.append(self._power[name])
                features.append(sum((s * x[v] for v, s in variables.items()), np.zeros(1)))
            fixed = sum((n * x[v] for v, n in term.fixed.items()), np.zeros(self.points))
            self._terms.append((columns, np.array(features), np.asarray(fixed)))
        self._flat_floor = self._floor is not None and self._T is None
        if self._flat_floor and self._floor is not None:
            self._terms.append(([self._floor], np.ones((1, self.points)), np.zeros(self.points)))

    @property
    def coordinates(self) -> int:
        """How many there are."""
        return len(self.names)

    def bound(self, observed: Array) -> None:
        """Set the bounds of the coordinates from the observed values.

        Args:
            observed: Shape (points,).
        """
        logs = np.log(observed)
        low, high = np.full(self.coordinates, POWERS[0]), np.full(self.coordinates, POWERS[1])
        low[self._amount :] = logs.min() - FAINT
        high[self._amount :] = logs.max() + LOUD
        if self._floor is not None:
            high[self._floor] = logs.min() + NOISE
        self.low, self.high = low, high

    def evaluate(self, theta: Array) -> State:
        """Return the logarithm of the law, and its gradient."""
        rows = len(theta)
        logs = [theta[:, columns] @ features + fixed for columns, features, fixed in self._terms]
        gradient = np.zeros((rows, self.coordinates, self.points))
        if len(logs) == 1 and self._T is None:
            columns, features, _ = self._terms[0]
            gradient[:, columns] = features
            return State(theta, logs[0], gradient, ())
        T = theta[:, [self._T]] if self._T is not None else 1.0
        highest = np.maximum.reduce(logs)
        shares = [np.exp((log - highest) / T) for log in logs]
        total = sum(shares[1:], shares[0].copy())
        value = highest + T * np.log(total)
        for number, (columns, features, _) in enumerate(self._terms):
            shares[number] /= total
            for column, feature in zip(columns, features, strict=True):
                gradient[:, column] += shares[number] * feature
        if self._T is not None:
            mean = sum((w * log for w, log in zip(shares, logs, strict=True)), np.zeros(1))
            gradient[:, self._T] += (value - mean) / T
        inner = value
        if self._floor is not None and not self._flat_floor:
            floor = theta[:, [self._floor]]
            value = np.logaddexp(floor, inner)
            gradient *= np.exp(inner - value)[:, None]
            gradient[:, self._floor] = np.exp(floor - value)
        return State(theta, value, gradient, (inner, *shares, *logs))

    def curvature(self, state: State, weights: Array) -> Array:
        """Return the weighted sum of second derivatives; a law of one term has none."""
        count = self.coordinates
        result = np.zeros((len(weights), count, count))
        if not state.parts:
            return result
        inner, *rest = state.parts
        shares, logs = rest[: len(self._terms)], rest[len(self._terms) :]
        wrapped = self._floor is not None and not self._flat_floor
        if wrapped and self._floor is not None:
            above = np.exp(inner - state.value)  # share of the law that is not floor
            # log(floor + f): the gradient of f comes back from what `evaluate` made of it.
            split = state.gradient / above[:, None]
            split[:, self._floor] = -1.0
            mixed = (weights * above * (1 - above))[:, None] * split
            result += mixed @ split.transpose(0, 2, 1)
            weights = weights * above
        T = state.theta[:, [self._T]] if self._T is not None else 1.0
        weights = weights / T
        mean = np.zeros((len(weights), count, self.points))
        for (columns, features, _), share, log in zip(self._terms, shares, logs, strict=True):
            weighted = weights * share
            if self._T is None:
                block = (weighted[:, None] * features) @ features.T
                result[np.ix_(range(len(weights)), columns, columns)] += block
                for column, feature in zip(columns, features, strict=True):
                    mean[:, column] += share * feature
                continue
            moved = np.zeros((len(weights), count, self.points))
            moved[:, columns] = features
            moved[:, self._T] -= log / T
            result += (weighted[:, None] * moved) @ moved.transpose(0, 2, 1)
            mean += share[:, None] * moved
        result -= (weights[:, None] * mean) @ mean.transpose(0, 2, 1)
        return result

    def starts(self, number: int, observed: Array) -> Array:
        """Return starts with powers log-uniform, and terms that share the observed mean."""
        terms = len(self.law.terms) + (self._floor is not None)
        draws = qmc.Halton(self._amount + terms, seed=0).random(number)
        low, high = np.log(START_POWERS)
        theta = np.empty((number, self.coordinates))
        theta[:, : self._amount] = np.exp(low + (high - low) * draws[:, : self._amount])
        shares = -np.log(np.clip(draws[:, self._amount :], 1e-6, 1 - 1e-6))
        shares /= shares.sum(axis=1, keepdims=True)
        theta[:, self._amount :] = np.log(observed).mean() + np.log(shares)
        return np.clip(theta, self.low, self.high)

    def constants(self, theta: Array) -> Array:
        """Return powers, amounts and floor as they are published; a scale may overflow."""
        found = np.empty((len(theta), self.coordinates))
        for name, column in self._power.items():
            power = theta[:, column]
            found[:, column] = 1 / power if name in self.law.inverse else power
        with np.errstate(over="ignore"):
            found[:, self._amount :] = np.exp(self.log_amounts(theta))
        return found

    def log_amounts(self, theta: Array) -> Array:
        """Return the logarithms of coefficients, scales and floor, shape (rows, amounts)."""
        logs = theta[:, self._amount :].copy()
        for number, term in enumerate(self.law.terms):
            for name, variables in term.powers.items():
                power = theta[:, self._power[name]]
                for variable, sign in variables.items():
                    logs[:, number] -= sign * power * self._centre[variable]
            for variable, count in term.fixed.items():
                logs[:, number] -= count * self._centre[variable]
            if term.scale:
                logs[:, number] /= theta[:, self._power[next(iter(term.powers))]]
        return logs

    def coordinates_of(self, constants: Mapping[str, float]) -> Array:
        """Return the coordinates of published constants, shape (coordinates,)."""
        theta = np.empty(self.coordinates)
        for name, column in self._power.items():
            inverse = name in self.law.inverse
            theta[column] = 1 / constants[name] if inverse else constants[name]
        for number, term in enumerate(self.law.terms):
            log = float(np.log(constants[term.amount]))
            if term.scale:
                log *= theta[self._power[next(iter(term.powers))]]
            for name, variables in term.powers.items():
                for variable, sign in variables.items():
                    log += sign * theta[self._power[name]] * self._centre[variable]
            log += sum(number * self._centre[v] for v, number in term.fixed.items())
            theta[self._amount + number] = log
        if self._floor is not None:
            theta[self._floor] = np.log(constants[self.law.floor or ""])
        return theta
