"""Compute-efficient training in closed form: what L(N, S_min) and B_crit(L) imply (appendix B).

Compute is C_min in FLOP, what training would take at batches far below the critical one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scaling_laws.laws.problem import Array


class Efficient(NamedTuple):
    """The constants of L(N, S_min) (eq. 5.6) and of B_crit(L) (eq. 5.3)."""

    alpha_N: float
    N_c: float
    alpha_S: float
    S_c: float
    alpha_B: float
    B_star: float

    @classmethod
    def of(cls, size_and_steps: Mapping[str, float], batch: Mapping[str, float]) -> Efficient:
        """Return those of two laws' constants, by name."""
        return cls(**{name: {**size_and_steps, **batch}[name] for name in cls._fields})

    @property
    def excess(self) -> float:
        """By how much the loss is above that of endless training, f = alpha_N / alpha_S (B.5)."""
        return self.alpha_N / self.alpha_S

    @property
    def alpha_C(self) -> float:
        """The exponent of L(C_min) (1.8, 6.4, B.7)."""
        return 1 / (1 / self.alpha_S + 1 / self.alpha_B + 1 / self.alpha_N)

    @property
    def C_c(self) -> float:
        """The scale of L(C_min), in FLOP (B.8)."""
        powers = (1 + self.excess) ** (1 / self.alpha_S + 1 / self.alpha_N)
        steps = (1 / self.excess) ** (1 / self.alpha_S)
        return float(6 * self.N_c * self.B_star * self.S_c * powers * steps)

    def loss(self, C: npt.ArrayLike) -> Array:
        """Return the least loss for compute (B.6)."""
        return np.asarray((self.C_c / np.asarray(C)) ** self.alpha_C)

    def size(self, C: npt.ArrayLike) -> Array:
        """Return the best number of parameters for compute (B.9)."""
        share = (np.asarray(C) / self.C_c) ** (self.alpha_C / self.alpha_N)
        return np.asarray(self.N_c * share * (1 + self.excess) ** (1 / self.alpha_N))

    def batch(self, C: npt.ArrayLike) -> Array:
        """Return the critical batch at the least loss, in tokens (B.2)."""
        return np.asarray(self.B_star / self.loss(C) ** (1 / self.alpha_B))

    def steps(self, C: npt.ArrayLike) -> Array:
        """Return the least steps (B.10)."""
        share = (np.asarray(C) / self.C_c) ** (self.alpha_C / self.alpha_S)
        scale = self.C_c / (6 * self.N_c * self.B_star)
        return np.asarray(scale * (1 + self.excess) ** (-1 / self.alpha_N) * share)

    def tokens(self, C: npt.ArrayLike) -> Array:
        """Return the tokens processed at the critical batch, 2 C / 6 N (6.7)."""
        return np.asarray(2 * np.asarray(C) / (6 * self.size(C)))

    def loss_of(self, N: npt.ArrayLike, C: npt.ArrayLike) -> Array:
        """Return the loss of a size for compute, L(N, C) (B.3), which stands on both sides."""
        floor = (self.N_c / np.asarray(N)) ** self.alpha_N
        steps = 6 * self.B_star * self.S_c * np.asarray(N) / np.asarray(C)

        def right(loss: Array) -> Array:
            return np.asarray(floor + (steps / loss ** (1 / self.alpha_B)) ** self.alpha_S)

        return _where_equal(right, floor, steps)

    def loss_after(self, N: npt.ArrayLike, B: npt.ArrayLike, steps: npt.ArrayLike) -> Array:
        """Return the loss of a size after steps of a batch (5.6 by way of 5.4 and 5.3).

        The critical batch depends on the loss itself, so the equation is solved.

        Args:
            N: Parameters.
            B: Batch in tokens.
            steps: Updates.
        """
        N, B, steps = (np.asarray(values, dtype=float) for values in (N, B, steps))
        floor = (self.N_c / N) ** self.alpha_N

        def right(loss: Array) -> Array:
            least = steps_min(steps, B, self.B_star / loss ** (1 / self.alpha_B))
            return np.asarray(floor + (self.S_c / least) ** self.alpha_S)

        return _where_equal(right, floor, steps)

    def cost_of_size(self, ratio: npt.ArrayLike) -> Array:
        """Return the compute that a size `ratio` times the best one takes for its loss (B.16)."""
        return np.asarray(np.asarray(ratio) * self.steps_of_size(ratio))

    def steps_of_size(self, ratio: npt.ArrayLike) -> Array:
        """Return the steps that it takes, over those of the best size (B.17)."""
        left = 1 - np.asarray(ratio, dtype=float) ** -self.alpha_N
        return np.asarray((1 + left / self.excess) ** (-1 / self.alpha_S))

    def against_convergence(self, usual: float) -> tuple[float, float, float]:
        """Return size, steps and compute over those of a model trained to `usual` (B.12 to B.14).

        Args:
            usual: How far its loss is above that of endless training, such as 0.02.
        """
        f = self.excess
        size = ((1 + f) / (1 + usual)) ** (1 / self.alpha_N)
        steps = ((1 + 1 / f) / (1 + 1 / usual)) ** (1 / self.alpha_S)
        return size, steps, size * steps


def _where_equal(right: Callable[[Array], Array], floor: Array, shape: Array) -> Array:
    """Return where L equals right(L), which falls with L from above to below, by halving.

    Args:
        right: The other side of the equation.
        floor: Below which L cannot be.
        shape: Of the shape that L has beside that of `floor`.
    """
    low, high = (values + 0.0 * shape for values in (floor, floor * 1e6))
    for _ in range(100):
        middle = np.sqrt(low * high)
        above = right(middle) > middle
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(np.sqrt(low * high))


def steps_min(steps: npt.ArrayLike, batch: npt.ArrayLike, critical: npt.ArrayLike) -> Array:
    """Return the steps that training at far larger batches would take (5.4)."""
    return np.asarray(np.asarray(steps) / (1 + np.asarray(critical) / np.asarray(batch)))


def compute_min(compute: npt.ArrayLike, batch: npt.ArrayLike, critical: npt.ArrayLike) -> Array:
    """Return the compute that training at far smaller batches would take (5.5)."""
    return np.asarray(np.asarray(compute) / (1 + np.asarray(batch) / np.asarray(critical)))


def crossing(
    compute: Mapping[str, float], tokens: Mapping[str, float], data: Mapping[str, float]
) -> tuple[float, float]:
    """Return where L(C_min) meets the loss that its own tokens allow, L(D(C_min)) (6.8).

    Args:
        compute: alpha_C_min and C_c_min in PF-days.
        tokens: D_e and p_D of D = D_e C_min^p_D.
        data: alpha_D and D_c.

    Returns:
        C_min in PF-days, and the loss.
    """
    a, b = compute["alpha_C_min"], data["alpha_D"]
    right = b * np.log(data["D_c"] / tokens["D_e"]) - a * np.log(compute["C_c_min"])
    log_C = right / (b * tokens["p_D"] - a)
    return float(np.exp(log_C)), float((compute["C_c_min"] / np.exp(log_C)) ** a)
