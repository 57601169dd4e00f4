"""Causal self-attention for training on a processor and on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from scaling_laws.models.processor import through_onednn

LONGEST = 512  # tokens; beyond, PyTorch's kernel is as fast and keeps no weights for the gradient
QUERIES = 128  # positions whose attention weights are worked out together
LOG2_E = 1 / math.log(2)  # PyTorch works out 2**x four times as fast as e**x
SOUND = 2.0**100  # sums of exponentials between its inverse and itself have lost no digits


def causal_attention(query_key_value: Tensor, n_head: int) -> Tensor:
    """Return what every position takes from itself and those before it.

    Args:
        query_key_value: Queries, keys and values of all heads, shape (batch, n_ctx, 3 d_model).
        n_head: Heads.

    Returns:
        Shape (batch, n_ctx, d_model).
    """
    batch, n_ctx, width = query_key_value.shape
    on_processor = query_key_value.device.type == "cpu"
    if on_processor and n_ctx <= LONGEST and through_onednn():
        mixed: Tensor = _Attention.apply(query_key_value, n_head)  # type: ignore[no-untyped-call]
        return mixed
    query, key, value = _heads(query_key_value, n_head)
    heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return heads.transpose(1, 2).reshape(batch, n_ctx, width // 3)


class _Attention(Function):
    """Attention by way of whole blocks of weights, which at short contexts beats fused kernels.

    Weights are kept as exponentials that do not sum to one: what they have mixed, and the gradient
    that comes back, are divided by the sums in their place, being far smaller.
    """

    @staticmethod
    def forward(ctx: Any, query_key_value: Tensor, n_head: int) -> Tensor:
        batch, n_ctx, _ = query_key_value.shape
        heads = _heads(query_key_value, n_head).contiguous().view(3, batch * n_head, n_ctx, -1)
        query, key, value = heads
        mixed = torch.empty_like(query)
        sums = query.new_empty(batch * n_head, n_ctx, 1)
        scaled = query * (LOG2_E / math.sqrt(query.shape[-1]))
        exponentials = []
        for rows, seen in _blocks(n_ctx):
            weights, sums[:, rows] = _exponentials(scaled[:, rows], key[:, seen])
            mixed[:, rows] = weights @ value[:, seen]
            exponentials.append(weights)
        mixed /= sums
        ctx.save_for_backward(heads, mixed, sums, *exponentials)
        ctx.n_head = n_head
        return mixed.view(batch, n_head, n_ctx, -1).transpose(1, 2).reshape(batch, n_ctx, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (query, key, value), mixed, sums, *exponentials = ctx.saved_tensors
        batch, n_ctx, d_model = gradients[0].shape
        gradient = gradients[0].view(batch, n_ctx, ctx.n_head, -1).transpose(1, 2)
        gradient = gradient.reshape(mixed.shape) / sums
        shift = (gradient * mixed).sum(-1, keepdim=True)
        to_query = torch.empty_like(mixed)
        summed = torch.promote_types(mixed.dtype, torch.float32)
        to_key, to_value = (torch.zeros_like(mixed, dtype=summed) for _ in range(2))
        for (rows, seen), weights in zip(_blocks(n_ctx), exponentials, strict=True):
            to_value[:, seen] += weights.transpose(1, 2) @ gradient[:, rows]
            # The softmax's gradient: weight times the excess of its own gradient over their mean.
            scores = gradient[:, rows] @ value[:, seen].transpose(1, 2)
            scores.sub_(shift[:, rows]).mul_(weights)
            to_query[:, rows] = scores @ key[:, seen]
            to_key[:, seen] += scores.transpose(1, 2) @ query[:, rows]
        scale = 1 / math.sqrt(mixed.shape[-1])
        result = mixed.new_empty(batch, n_ctx, 3 * d_model)
        parts = _heads(result, ctx.n_head)
        for part, found in zip(parts, (to_query * scale, to_key * scale, to_value), strict=True):
            part.copy_(found.view(part.shape))
        return result, None


def _heads(query_key_value: Tensor, n_head: int) -> Tensor:
    """Return a view of shape (3, batch, n_head, n_ctx, d_model / n_head)."""
    batch, n_ctx, _ = query_key_value.shape
    return query_key_value.view(batch, n_ctx, 3, n_head, -1).permute(2, 0, 3, 1, 4)


def _blocks(n_ctx: int) -> Iterator[tuple[slice, slice]]:
    """Yield the positions of queries, and those that they see."""
    for begin in range(0, n_ctx, QUERIES):
        end = min(begin + QUERIES, n_ctx)
        yield slice(begin, end), slice(end)


def _exponentials(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Return 2**scores, zero where a position would see a later one, and their sums.

    The last query is that of the last key. As long as no sum leaves float32's range, the customary
    subtraction of each row's maximum can be spared.
    """
    begin = key.shape[1] - query.shape[1]
    weights = (query @ key.transpose(1, 2)).exp2_().tril_(begin)
    sums = weights.sum(-1, keepdim=True)
    low, high = sums.aminmax()
    if low > 1 / SOUND and high < SOUND:
        return weights, sums
    scores = query @ key.transpose(1, 2)
    later = torch.ones(scores.shape[1:], dtype=torch.bool).triu_(begin + 1)
    scores.masked_fill_(later, -math.inf)
    weights = scores.sub_(scores.amax(-1, keepdim=True)).exp2_()
    return weights, weights.sum(-1, keepdim=True)
