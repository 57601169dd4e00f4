"""A model with its loss, which is what is trained and evaluated."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from scaling_laws.models.language_model import LanguageModel
from scaling_laws.models.loss import mean_loss, token_losses

SEQUENCES_PER_BATCH = 32


class Objective(nn.Module):
    """A model that is called for losses, so that whoever wraps it sees one forward pass."""

    def __init__(self, model: LanguageModel, bfloat16: bool = False) -> None:
        """Take the loss of `model`; with `bfloat16`, its training multiplies matrices in that."""
        super().__init__()
        self.model = model
        self._bfloat16 = bfloat16

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the loss of the next token in nats.

        Args:
            sequences: Token numbers, shape (sequences, n_ctx + 1).

        Returns:
            In training the mean, with a gradient; else of every token, shape (sequences, n_ctx),
            without dropout and in float32.
        """
        targets = sequences[:, 1:]
        autocast = self.training and self._bfloat16 and sequences.is_cuda
        with torch.autocast(sequences.device.type, torch.bfloat16, enabled=autocast):
            hidden = self.model.hidden(sequences[:, :-1]).flatten(0, 1)
        if not self.training:
            return token_losses(hidden, self.model.head, targets.flatten()).view(targets.shape)
        return mean_loss(hidden, self.model.head, targets.flatten(), self._bfloat16)


@torch.no_grad()
def sequence_losses(objective: nn.Module, sequences: Tensor) -> Tensor:
    """Return every token's loss in nats without dropout, shape (sequences, n_ctx).

    Args:
        objective: The objective, however wrapped; it is left in the mode in which it was.
        sequences: Token numbers, shape (sequences, n_ctx + 1).
    """
    was_training = objective.training
    objective.eval()
    losses = torch.cat([objective(part) for part in torch.split(sequences, SEQUENCES_PER_BATCH)])
    objective.train(was_training)
    return losses


def mean_over_sequences(losses: Tensor) -> tuple[float, float]:
    """Return the mean of `sequence_losses` and its standard error, sequences being independent."""
    means = losses.mean(1)
    return float(means.mean()), float(means.std() / math.sqrt(len(means)))
