"""Cross-entropy of the next token, in nats.

With small models the head costs more than all blocks: its logits outgrow the processor's cache,
and PyTorch passes over them half a dozen times. Here a few sequences at a time go from hidden
states to losses, and in training to gradients, so that their logits never leave the cache.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from scaling_laws.models.transformer import Transformer

SEQUENCES_PER_BATCH = 32
LOGITS_PER_PIECE = 2**18  # 1 MiB of float32: half of a core's second-level cache


def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of every target in nats, without a gradient; shape (n,).

    Args:
        hidden: Normalised hidden states, shape (n, d_model).
        weight: Matrix of the head, shape (vocab_size, d_model).
        targets: Token numbers, shape (n,).
    """
    losses = [
        _exponentials(part, weight, target)[2] for part, target in _pieces(hidden, weight, targets)
    ]
    return torch.cat(losses)


@torch.no_grad()
def sequence_losses(model: Transformer, sequences: Tensor) -> Tensor:
    """Return every token's loss in nats without dropout, shape (sequences, n_ctx).

    Args:
        model: The model; it is left in the mode in which it was.
        sequences: Token numbers, shape (sequences, n_ctx + 1).
    """
    was_training = model.training
    model.eval()
    losses = []
    for part in torch.split(sequences, SEQUENCES_PER_BATCH):
        inputs, targets = part[:, :-1], part[:, 1:]
        hidden = model.hidden(inputs).flatten(0, 1)
        losses.append(token_losses(hidden, model.head, targets.flatten()).view(targets.shape))
    model.train(was_training)
    return torch.cat(losses)


def mean_over_sequences(losses: Tensor) -> tuple[float, float]:
    """Return the mean of `sequence_losses` and its standard error, sequences being independent."""
    means = losses.mean(1)
    return float(means.mean()), float(means.std() / math.sqrt(len(means)))


def mean_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss in nats, with gradients for `hidden` and `weight`; a scalar."""
    loss: Tensor = _MeanLoss.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return loss


class _MeanLoss(Function):
    """Mean cross-entropy that works out its gradient together with its value."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        total = hidden.new_zeros(())
        hidden_gradients, weight_gradient = [], torch.zeros_like(weight)
        for part, target in _pieces(hidden, weight, targets):
            gradient, sums, losses = _exponentials(part, weight, target)
            total += losses.sum()
            # d loss / d logits = softmax - indicator of the target, over the number of targets
            gradient /= sums * len(targets)
            gradient[torch.arange(len(target)), target] -= 1 / len(targets)
            hidden_gradients.append(gradient @ weight)
            weight_gradient.addmm_(gradient.t(), part)
        ctx.save_for_backward(torch.cat(hidden_gradients), weight_gradient)
        return total / len(targets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * gradients[0], weight_gradient * gradients[0], None


def _pieces(hidden: Tensor, weight: Tensor, targets: Tensor) -> zip[tuple[Tensor, Tensor]]:
    size = max(LOGITS_PER_PIECE // len(weight), 1)
    return zip(torch.split(hidden, size), torch.split(targets, size), strict=True)


def _exponentials(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(logits - their maximum), its sums over the vocabulary, and the losses."""
    logits = hidden @ weight.t()
    logits -= logits.amax(1, keepdim=True)
    at_target = logits.gather(1, targets[:, None])
    sums = logits.exp_().sum(1, keepdim=True)
    return logits, sums, (sums.log() - at_target).squeeze(1)
