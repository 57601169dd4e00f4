"""Cross-entropy of the next token, in nats.

With small models the head costs more than all blocks: PyTorch passes over its logits half a dozen
times, and a batch of them outgrows every cache. Here a few rows at a time go from hidden states to
losses, and in training to gradients. Each piece is three matrix products and one pass between them:

- exponentials e = 2**(hidden log2(e) weight^T), as PyTorch works out 2**x faster than e**x;
- softmax = e / s with s the sum of a row. It is never worked out: what is multiplied with it, or
  has been, is divided by s instead, and that has d_model columns, not vocab_size.

With h the hidden states of a piece, W the weight and Y the indicators of the targets, the gradients
of the summed loss are (e W) / s - Y W and e^T (h / s) - Y^T h.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

LOGITS_PER_PIECE = 2**21  # 8 MiB of float32, a few times a core's second-level cache
LOGITS_PER_PIECE_OF_GPU = 2**26  # enough to keep it busy
ROWS = 1024  # more are no faster
PADDING = 16
NARROW = 64
LOG2_E = 1 / math.log(2)
SOUND = 2.0**100  # sums of exponentials between its inverse and itself have lost no digits


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of every target in nats, without a gradient; shape (n,).

    Args:
        hidden: Normalised hidden states, shape (n, d_model).
        weight: Matrix of the head, shape (vocab_size, d_model).
        targets: Token numbers, all of them below vocab_size, shape (n,).
    """
    scaled = hidden * LOG2_E
    losses = [
        _exponentials(scaled[rows], weight, targets[rows], logits)[2]
        for rows, logits in _pieces(scaled, weight)
    ]
    return torch.cat(losses)


def mean_loss(hidden: Tensor, weight: Tensor, targets: Tensor, bfloat16: bool = False) -> Tensor:
    """Return the mean loss in nats, with gradients for `hidden` and `weight`; a scalar.

    It can be differentiated once.

    Args:
        hidden: Normalised hidden states, shape (n, d_model).
        weight: Matrix of the head, shape (vocab_size, d_model).
        targets: Token numbers, all of them below vocab_size, shape (n,).
        bfloat16: Round logits, exponentials and the factors of all matrix products to bfloat16;
            the gradient of `weight` is summed over the pieces in its own precision.
    """
    loss: Tensor = _MeanLoss.apply(hidden, weight, targets, bfloat16)  # type: ignore[no-untyped-call]
    return loss


class _MeanLoss(Function):
    """Mean cross-entropy that works out its gradient together with its value."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, bfloat16: bool
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            states = hidden.to(weight.dtype)
            factor = torch.bfloat16 if bfloat16 else weight.dtype
            matrix, scaled = weight.to(factor), (states * LOG2_E).to(factor)
            losses = []
            to_hidden, to_weight = torch.empty_like(states), _room_for_product(weight).zero_()
            product = torch.empty_like(matrix) if bfloat16 else None
            for rows, logits in _pieces(scaled, matrix):
                exponentials, sums, loss = _exponentials(
                    scaled[rows], matrix, targets[rows], logits
                )
                losses.append(loss)
                mixed = _room_for_product(scaled[rows])
                to_hidden[rows] = torch.mm(exponentials, matrix, out=mixed) / sums
                divided = (states[rows] / sums).to(factor)
                if product is None:
                    to_weight.addmm_(exponentials.t(), divided)
                else:
                    to_weight += torch.mm(exponentials.t(), divided, out=product)
            to_hidden -= weight[targets]
            to_weight = to_weight.contiguous()
            to_weight.index_add_(0, targets, states, alpha=-1)
            to_hidden /= len(targets)
            to_weight /= len(targets)
        # Not saved, but handed over: so the engine may add to them, and need not copy them first.
        ctx.gradients = to_hidden.to(hidden.dtype), to_weight
        return torch.cat(losses).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_hidden, to_weight = ctx.gradients
        del ctx.gradients
        return to_hidden.mul_(gradients[0]), to_weight.mul_(gradients[0]), None, None


def _room_for_product(like: Tensor) -> Tensor:
    """Return an uninitialised matrix of the shape of another, for `torch.mm` to fill.

    A processor's product works out sixteen of its last dimension at once, and takes up to five
    times as long where few are left over. By columns, the last dimension is the other one.
    """
    rows, columns = like.shape
    if like.device.type == "cpu" and columns < NARROW and columns % 16:
        return like.new_empty(columns, rows).t()
    return torch.empty_like(like)


def _pieces(hidden: Tensor, weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of the rows, and uninitialised room for the logits of each.

    Every piece passes once over the weight's gradient, so it has no fewer rows than the width
    makes worth while.
    """
    vocab_size, d_model = weight.shape
    if hidden.device.type == "cpu":
        size = min(max(LOGITS_PER_PIECE // vocab_size, 2 * d_model), ROWS)
    else:
        size = max(LOGITS_PER_PIECE_OF_GPU // vocab_size, 1)
    logits = _room(size, vocab_size, weight.dtype, weight.device)
    for begin in range(0, len(hidden), size):
        end = min(begin + size, len(hidden))
        yield slice(begin, end), logits[: end - begin]


@lru_cache(maxsize=2)
def _room(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Rows that begin a power of two apart would share a few lines of the cache.
    return torch.empty(rows, columns + PADDING, dtype=dtype, device=device)[:, :columns]


def _exponentials(
    scaled: Tensor, weight: Tensor, targets: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return exponentials of the logits up to a factor of each row, their sums, and the losses.

    The factor, which makes the largest exponential 1, is left out as long as no sum comes near the
    limits of float32. To see that, a GPU would have to be waited for.

    Args:
        scaled: Hidden states times log2(e), shape (n, d_model).
        weight: Matrix of the head, shape (vocab_size, d_model).
        targets: Token numbers, shape (n,).
        logits: Where to put the exponentials, shape (n, vocab_size).

    Returns:
        Shapes (n, vocab_size), (n, 1) and (n,); the losses at least in float32.
    """
    on_processor = logits.device.type == "cpu"
    for centred in (False, True) if on_processor else (True,):
        torch.mm(scaled, weight.t(), out=logits)
        if centred:
            logits -= logits.amax(1, keepdim=True)
        at_target = logits.gather(1, targets[:, None])
        sums = logits.exp2_().sum(1, keepdim=True)
        if on_processor and not centred:
            low, high = sums.aminmax()
            if low > 1 / SOUND and high < SOUND:
                break
    precise = torch.promote_types(sums.dtype, torch.float32)
    losses = (sums.to(precise).log2() - at_target) / LOG2_E
    return logits, sums, losses.squeeze(1)
