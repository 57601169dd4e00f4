"""What the fit asks of a law: its value at points, and how that changes with its coordinates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DIFFERENCE = 1e-5  # of a coordinate, for second derivatives where a law does not give them


class Structure(ABC):
    """The mathematics of a law."""

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Names of the constants."""

    @abstractmethod
    def value(self, constants: Mapping[str, float], log_x: Mapping[str, Array]) -> Array:
        """Return the law.

        Args:
            constants: As they are published, by name.
            log_x: Logarithms of the variables, by name.
        """

    @abstractmethod
    def at(self, log_x: Mapping[str, Array]) -> Problem:
        """Return the law at some points, ready to be fitted.

        Args:
            log_x: Logarithms of the variables, each of shape (points,).
        """


@dataclass
class State:
    """A law at the points for some rows of coordinates.

    Attributes:
        theta: The coordinates, shape (rows, coordinates).
        value: The law or its logarithm, shape (rows, points).
        parts: What the law keeps for its derivatives.
    """

    theta: Array
    value: Array
    parts: tuple[Array, ...] = ()


class Problem(ABC):
    """A law and the points that it is fitted to, in coordinates that suit the search.

    Attributes:
        logarithmic: Whether `evaluate` gives the logarithm of the law.
        names: Constants of the law as it is published, in the order of `constants`.
        low: Lower bounds of the coordinates, shape (coordinates,).
        high: Upper bounds.
    """

    logarithmic = True
    names: list[str]
    low: Array
    high: Array

    @abstractmethod
    def bound(self, observed: Array) -> None:
        """Set the bounds of the coordinates from the observed values.

        Args:
            observed: Shape (points,).
        """

    @abstractmethod
    def starts(self, number: int, observed: Array) -> Array:
        """Return spread-out coordinates to start from, shape (number, coordinates).

        Args:
            number: How many.
            observed: The observed values, shape (points,).
        """

    @abstractmethod
    def evaluate(self, theta: Array) -> State:
        """Return the law at every point for each row of coordinates."""

    @abstractmethod
    def gradient(self, state: State) -> Array:
        """Return the gradient of the value, shape (rows, coordinates, points)."""

    def slopes(self, state: State, first: Array) -> Array:
        """Return the sum over points of a weight times the gradient.

        Args:
            state: What `evaluate` gave.
            first: Weights, shape (rows, points).

        Returns:
            Shape (rows, coordinates).
        """
        return np.asarray((self.gradient(state) @ first[:, :, None])[:, :, 0])

    def bends(self, state: State, first: Array, second: Array) -> Array:
        """Return the sum of `first` times second derivatives and `second` times squared gradients.

        Args:
            state: What `evaluate` gave.
            first: Weights, shape (rows, points).
            second: Weights, shape (rows, points).

        Returns:
            Shape (rows, coordinates, coordinates).
        """
        gradient = self.gradient(state)
        squares = (gradient * second[:, None]) @ gradient.transpose(0, 2, 1)
        return np.asarray(squares + self.curvature(state, first))

    def curvature(self, state: State, weights: Array) -> Array:
        """Return the sum over points of a weight times second derivatives, by differences."""
        count = state.theta.shape[1]
        result = np.empty((len(weights), count, count))
        for column in range(count):
            move = np.zeros_like(state.theta)
            move[:, column] = DIFFERENCE
            above, below = (
                self.slopes(self.evaluate(state.theta + sign * move), weights) for sign in (1, -1)
            )
            result[:, column] = (above - below) / (2 * DIFFERENCE)
        return 0.5 * (result + result.transpose(0, 2, 1))

    @abstractmethod
    def constants(self, theta: Array) -> Array:
        """Return the published constants for each row of coordinates, shape (rows, constants)."""

    @abstractmethod
    def coordinates_of(self, constants: Mapping[str, float]) -> Array:
        """Return the coordinates of published constants, shape (coordinates,)."""
