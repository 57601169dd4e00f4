"""GPT-2's activation, for training on a processor and on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR
ELEMENTS_PER_PIECE = 2**16  # which stay in a core's cache from the first operation to the last


def gelu(x: Tensor) -> Tensor:
    """Return GELU in its approximation by tanh (Hendrycks & Gimpel 2016), of any shape.

    On a processor by way of (1 + tanh u) / 2 = sigmoid(2u), which PyTorch works out in a quarter of
    the time: GELU(x) = x sigmoid(z) with z = sqrt(8 / pi) (x + 0.044715 x^3).
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.gelu(x, approximate="tanh")
    if torch.is_grad_enabled() and x.requires_grad:
        activated: Tensor = _GELU.apply(x)  # type: ignore[no-untyped-call]
        return activated
    result = torch.empty_like(x, memory_format=torch.contiguous_format)
    for x_, r in _pieces(x, result):
        _sigmoid(x_, torch.mul(x_, x_, out=r)).mul_(x_)
    return result


class _GELU(Function):
    """x s with s = sigmoid(z), whose derivative is s + x z' (s - s^2).

    The derivative is worked out at once, while everything is in the cache, and kept in the place
    of x: a step needs no more memory than PyTorch's, and the way back is one product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result, derivative = (
            torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2)
        )
        room = torch.empty(min(x.numel(), ELEMENTS_PER_PIECE))
        for x_, r, d in _pieces(x, result, derivative):
            torch.mul(x_, x_, out=r)
            torch.mul(r, 3 * CUBIC, out=d).add_(LINEAR).mul_(x_)
            sigmoid = _sigmoid(x_, r)
            bend = torch.addcmul(sigmoid, sigmoid, sigmoid, value=-1, out=room[: len(x_)])
            torch.addcmul(sigmoid, d, bend, out=d)
            r.mul_(x_)
        ctx.save_for_backward(derivative)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (derivative,) = ctx.saved_tensors
        return torch.mul(gradients[0], derivative)


def _sigmoid(x: Tensor, square: Tensor) -> Tensor:
    """Return sigmoid(z) in the place of the squares of x."""
    return square.mul_(CUBIC).add_(LINEAR).mul_(x).sigmoid_()


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same elements of tensors of one shape, a piece at a time."""
    flat = [tensor.reshape(-1) for tensor in tensors]
    yield from zip(*(torch.split(part, ELEMENTS_PER_PIECE) for part in flat), strict=True)
