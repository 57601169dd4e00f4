"""LSTM (paper, section 3.2.1 and figure 7)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scaling_laws.models.architecture import Architecture
from scaling_laws.models.language_model import LanguageModel


class LSTM(LanguageModel):
    """Layers of width d_model from token embedding to head, without positions or norms.

    The paper states none of these choices. The cell is PyTorch's, without peepholes or projection.
    Every sequence starts from a state of zero, so that a token's context is the one it has in a
    Transformer. Dropout stands between layers, before the first and after the last, never on the
    recurrent connections (Zaremba et al. 2014).

    The first layer has no norm before it, and gates that receive next to nothing learn nothing:
    token embeddings of unit variance enter it, sqrt(d_model) times the weights that the head shares
    (Vaswani et al. 2017, section 3.4). Each gate starts with Glorot's uniform matrix for its input,
    an orthogonal one for the state (Saxe et al. 2013), and a bias of zero, but 1 where it forgets
    (Jozefowicz et al. 2015).
    """

    def __init__(self, architecture: Architecture) -> None:
        """Make a model with initial values drawn from PyTorch's global generator."""
        n_layer, d_model = architecture.n_layer, architecture.d_model
        super().__init__(architecture, embedding_std=1 / math.sqrt(d_model))
        self.embedding_scale = math.sqrt(d_model)
        self.layers = nn.LSTM(
            d_model,
            d_model,
            n_layer,
            batch_first=True,
            dropout=architecture.dropout if n_layer > 1 else 0.0,
        )
        for layer in range(n_layer):
            for gate in getattr(self.layers, f"weight_ih_l{layer}").chunk(4):
                nn.init.xavier_uniform_(gate)
            for gate in getattr(self.layers, f"weight_hh_l{layer}").chunk(4):
                nn.init.orthogonal_(gate)
            bias = getattr(self.layers, f"bias_ih_l{layer}")
            nn.init.zeros_(bias)
            nn.init.ones_(bias[d_model : 2 * d_model])  # gates: input, forget, cell, output
            # cuDNN adds a second bias to the same gates. As a constant zero it is no parameter.
            second = f"bias_hh_l{layer}"
            delattr(self.layers, second)
            self.layers.register_buffer(second, torch.zeros_like(bias), persistent=False)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the last layer's output, shape (batch, n_ctx, d_model)."""
        embedded = self.embedding_scale * self.token_embedding(tokens)
        x = F.dropout(embedded, self.dropout, self.training)
        x, _ = self.layers(x)
        return F.dropout(x, self.dropout, self.training)
