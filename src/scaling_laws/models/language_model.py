"""What all architectures share: the way from tokens to hidden states to logits."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scaling_laws.models.architecture import Architecture

INITIAL_STD = 0.02  # GPT-2; the paper does not state it


class LanguageModel(nn.Module, ABC):
    """Predicts each token from those before it.

    Hidden states and the head's matrix are apart, so that the loss can take their product in
    pieces: the logits of a whole batch are by far the largest tensor of a small model.
    """

    def __init__(self, architecture: Architecture, embedding_std: float = INITIAL_STD) -> None:
        """Make the token embedding, and the matrix of the head where it is not the same."""
        super().__init__()
        self.dropout = architecture.dropout
        self.token_embedding = nn.Embedding(architecture.vocab_size, architecture.d_model)
        nn.init.normal_(self.token_embedding.weight, std=embedding_std)
        self.untied_head: nn.Parameter | None = None
        if not architecture.tied_head:
            self.untied_head = nn.Parameter(torch.empty_like(self.token_embedding.weight))
            nn.init.normal_(self.untied_head, std=INITIAL_STD)

    @abstractmethod
    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the hidden states that the head makes logits of.

        Args:
            tokens: Token numbers, shape (batch, n_ctx); fewer than n_ctx are a shorter context.

        Returns:
            Shape (batch, n_ctx, d_model); its product with `head` gives the logits.
        """

    @property
    def head(self) -> Tensor:
        """The matrix from hidden states to logits, shape (vocab_size, d_model)."""
        return self.token_embedding.weight if self.untied_head is None else self.untied_head

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the next-token logits, shape (batch, n_ctx, vocab_size)."""
        return F.linear(self.hidden(tokens), self.head)
