"""Sums of power laws, the form of nearly all scaling laws, made ready to be fitted to points.

A law is

    y = floor + [ sum over terms of (coefficient * product of x^power) ^ (1 / T) ] ^ T

with T = 1 but for the joint laws of Kaplan et al. The logarithm of each term is linear in the
powers and in the logarithm of the coefficient. These, with the logarithms of x taken from their
mean over the points, are the coordinates that a fit moves in: of order one and hardly correlated,
where scales such as N_c are astronomic and tied to their exponents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import qmc

from scaling_laws.laws.problem import Array, Problem, State, Structure

POWERS = (1e-3, 5.0)  # far outside of what any data support: who ends there is not identified
STEEPEST = 20.0  # power of a law whose inverse is published: B_crit falls as L^-4.8 in the paper
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
        signed: Whether powers may be negative, too.
    """

    terms: tuple[Term, ...]
    temperature: str | None = None
    floor: str | None = None
    inverse: frozenset[str] = frozenset()
    signed: bool = False

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
        total = logs[0]
        if len(logs) > 1:
            T = power[self.temperature] if self.temperature else 1.0
            total = T * np.logaddexp.reduce([log / T for log in np.broadcast_arrays(*logs)])
        if self.floor:
            with np.errstate(divide="ignore"):
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
        return Tempered(self, log_x) if self.temperature else Flat(self, log_x)


@dataclass(frozen=True)
class _Features:
    """A term at the points: its logarithm is linear in its coordinates.

    Attributes:
        columns: Of its coordinates among all.
        values: What these are multiplied by, shape (columns, points).
        fixed: What is added, shape (points,); None for nothing.
    """

    columns: list[int]
    values: Array
    fixed: Array | None

    def __call__(self, theta: Array) -> Array:
        """Return the logarithm of the term, shape (rows, points)."""
        log = theta[:, self.columns] @ self.values
        return np.asarray(log if self.fixed is None else log + self.fixed)


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
        self._terms = []
        for number, term in enumerate(law.terms):
            columns, features = [self._amount + number], [np.ones(self.points)]
            for name, variables in term.powers.items():
                columns.append(self._power[name])
                features.append(sum((s * x[v] for v, s in variables.items()), np.zeros(1)))
            fixed = [count * x[name] for name, count in term.fixed.items()]
            added = np.asarray(sum(fixed[1:], fixed[0])) if fixed else None
            self._terms.append(_Features(columns, np.array(features), added))

    @property
    def coordinates(self) -> int:
        """How many there are."""
        return len(self.names)

    def bound(self, observed: Array) -> None:
        """Set the bounds of the coordinates from the observed values."""
        logs = np.log(observed)
        self.low = np.full(self.coordinates, -POWERS[1] if self.law.signed else POWERS[0])
        self.high = np.full(self.coordinates, POWERS[1])
        for name in self.law.inverse:
            self.high[self._power[name]] = STEEPEST
        self.low[self._amount :] = logs.min() - FAINT
        self.high[self._amount :] = logs.max() + LOUD
        if self._floor is not None:
            self.high[self._floor] = logs.min() + NOISE

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


class Flat(Powers):
    """A sum of power laws with T = 1; its floor is one more term.

    All derivatives are sums over points of shares of the terms times features that never change,
    and so are products of matrices.
    """

    def __init__(self, law: PowerSum, log_x: Mapping[str, Array]) -> None:
        """Set up the features of the terms and their products."""
        super().__init__(law, log_x)
        if self._floor is not None:
            self._terms.append(_Features([self._floor], np.ones((1, self.points)), None))
        self._products = [
            (one, other, (a.values[:, None] * b.values[None]).reshape(-1, self.points).T.copy())
            for one, a in enumerate(self._terms)
            for other, b in enumerate(self._terms)
            if one <= other
        ]

    def evaluate(self, theta: Array) -> State:
        """Return the logarithm of the law, keeping the share of each term."""
        logs = [term(theta) for term in self._terms]
        if len(logs) == 1:
            return State(theta, logs[0], (np.ones_like(logs[0]),))
        # Bounds keep every term far inside of what a float holds.
        shares = [np.exp(log, out=log) for log in logs]
        total = sum(shares[1:], shares[0].copy())
        for share in shares:
            share /= total
        value = np.log(total, out=total)
        return State(theta, value, tuple(shares))

    def gradient(self, state: State) -> Array:
        """Return the gradient: shares times features."""
        result = np.zeros((len(state.theta), self.coordinates, self.points))
        for term, share in zip(self._terms, state.parts, strict=True):
            for column, feature in zip(term.columns, term.values, strict=True):
                result[:, column] += share * feature
        return result

    def slopes(self, state: State, first: Array) -> Array:
        """Return the weighted gradient."""
        result = np.zeros((len(first), self.coordinates))
        for term, share in zip(self._terms, state.parts, strict=True):
            result[:, term.columns] += (first * share) @ term.values.T
        return result

    def bends(self, state: State, first: Array, second: Array) -> Array:
        """Return weighted second derivatives and squared gradients.

        With shares w_t and features u_t, the gradient is g = sum w_t u_t and the second derivative
        sum w_t u_t u_t^T - g g^T.
        """
        shares = state.parts
        both = second - first
        weighted = [both * share for share in shares]
        result = np.zeros((len(first), self.coordinates, self.coordinates))
        for one, other, products in self._products:
            weights = weighted[one] * shares[other]
            if one == other:
                weights += first * shares[one]
            rows, columns = self._terms[one].columns, self._terms[other].columns
            block = (weights @ products).reshape(-1, len(rows), len(columns))
            result[:, np.array(rows)[:, None], columns] += block
            if one != other:
                result[:, np.array(columns)[:, None], rows] += block.transpose(0, 2, 1)
        return result

    def curvature(self, state: State, weights: Array) -> Array:
        """Return weighted second derivatives."""
        return self.bends(state, weights, np.zeros_like(weights))


class Tempered(Powers):
    """A sum of power laws whose T is fitted as well; its floor is added to the whole."""

    def evaluate(self, theta: Array) -> State:
        """Return the logarithm of the law, keeping shares and logarithms of the terms."""
        logs = [term(theta) for term in self._terms]
        T = self._temperature(theta)
        highest = np.maximum.reduce(logs)
        shares = [np.exp((log - highest) / T) for log in logs]
        total = sum(shares[1:], shares[0].copy())
        inner = highest + T * np.log(total)
        value = inner
        if self._floor is not None:
            value = np.logaddexp(theta[:, [self._floor]], inner)
        return State(theta, value, (inner, *(share / total for share in shares), *logs))

    def gradient(self, state: State) -> Array:
        """Return the gradient."""
        inner, mean = state.parts[0], self._mean(state)
        # The entropy of the shares: the derivative by T of T times a sum of exponentials' log.
        mean[:, self._T] += inner / self._temperature(state.theta)
        if self._floor is not None:
            mean *= np.exp(inner - state.value)[:, None]
            mean[:, self._floor] = np.exp(state.theta[:, [self._floor]] - state.value)
        return mean

    def curvature(self, state: State, weights: Array) -> Array:
        """Return weighted second derivatives; T f(x / T) bends as f does, in x and T together."""
        inner = state.parts[0]
        result = np.zeros((len(weights), self.coordinates, self.coordinates))
        if self._floor is not None:
            above = np.exp(inner - state.value)  # share of the law that is not floor
            apart = self.gradient(state) / above[:, None]
            apart[:, self._floor] = -1.0
            mixed = (weights * above * (1 - above))[:, None] * apart
            result += mixed @ apart.transpose(0, 2, 1)
            weights = weights * above
        weights = weights / self._temperature(state.theta)
        for moved, share in self._moved(state):
            result += ((weights * share)[:, None] * moved) @ moved.transpose(0, 2, 1)
        mean = self._mean(state)
        return result - (weights[:, None] * mean) @ mean.transpose(0, 2, 1)

    @property
    def _T(self) -> int:
        return self._power[self.law.temperature or ""]

    def _temperature(self, theta: Array) -> Array:
        return theta[:, [self._T]]

    def _moved(self, state: State) -> Iterator[tuple[Array, Array]]:
        """Yield the derivatives of T times each term's logarithm over T, and the term's share."""
        T = self._temperature(state.theta)
        count = len(self._terms)
        for term, share, log in zip(
            self._terms, state.parts[1 : 1 + count], state.parts[1 + count :], strict=True
        ):
            moved = np.zeros((len(state.theta), self.coordinates, self.points))
            moved[:, term.columns] = term.values
            moved[:, self._T] -= log / T
            yield moved, share

    def _mean(self, state: State) -> Array:
        """Return the mean of those derivatives over the terms, by shares."""
        parts = (moved * share[:, None] for moved, share in self._moved(state))
        return np.asarray(sum(parts, np.zeros(1)))
