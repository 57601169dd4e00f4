"""Squared gradient norms of two batch sizes, for the gradient noise scale (`moments`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SquaredNorms:
    """Squared norms of the gradients of micro-batches, taken on their way to be accumulated.

    A hook on a parameter sees what one backward pass adds to its gradient, before it is added and
    before it is exchanged with other processes: no pass over the data is made for it.
    """

    def __init__(self, model: nn.Module) -> None:
        """Watch the parameters of `model`."""
        self._squares: list[Tensor] = []
        for parameter in model.parameters():
            parameter.register_hook(self._add)  # type: ignore[no-untyped-call]

    def _add(self, gradient: Tensor) -> None:
        self._squares.append(torch.linalg.vector_norm(gradient, dtype=torch.float32).square())

    def take(self) -> Tensor:
        """Return the sum of the squared norms since the last call; a scalar."""
        total = torch.stack(self._squares).sum()
        self._squares.clear()
        return total
