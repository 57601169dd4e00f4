"""Decoder-only Transformer in the manner of GPT-2 (paper, sections 2.1 and 3.2.1)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from scaling_laws.models.activation import gelu
from scaling_laws.models.architecture import Architecture
from scaling_laws.models.attention import causal_attention
from scaling_laws.models.language_model import INITIAL_STD, LanguageModel


class Block(nn.Module):
    """Attention and feed-forward layer, each on the normalised residual stream and added to it.

    Dropout is on what each adds to the stream, not on the attention weights: the paper does not
    say where its dropout stands, and with it there the fused attention kernels could not be used.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Make a block with GPT-2's initial values."""
        super().__init__()
        d_model, d_ff = architecture.d_model, architecture.d_ff
        self.n_head, self.dropout = architecture.n_head, architecture.dropout
        # Every pass of a block adds to the residual stream twice: its variance shall not grow.
        added_std = INITIAL_STD / math.sqrt(2 * architecture.n_layer * architecture.reuse)
        self.attention_norm = nn.LayerNorm(d_model)
        self.query_key_value = _linear(d_model, 3 * d_model, INITIAL_STD)
        self.projection = _linear(d_model, d_model, added_std)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.expand = _linear(d_model, d_ff, INITIAL_STD)
        self.contract = _linear(d_ff, d_model, added_std)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the block; shapes (batch, n_ctx, d_model)."""
        drop = self.dropout if self.training else 0.0
        x = x + F.dropout(self._attend(self.attention_norm(x)), drop)
        hidden = gelu(self.expand(self.feed_forward_norm(x)))
        return x + F.dropout(self.contract(hidden), drop)

    def _attend(self, x: Tensor) -> Tensor:
        out: Tensor = self.projection(causal_attention(self.query_key_value(x), self.n_head))
        return out


class Transformer(LanguageModel):
    """Pre-norm Transformer with learned positions; without blocks it sees the last token alone.

    A Universal Transformer passes through its blocks `reuse` times with the same weights. That is
    all the paper says of it: neither the halting nor the embeddings of each pass that Dehghani et
    al. (2018) have are stated, and both are left out.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Make a model with GPT-2's initial values, drawn from PyTorch's global generator."""
        super().__init__(architecture)
        self.reuse = architecture.reuse
        self.position_embedding = nn.Embedding(architecture.n_ctx, architecture.d_model)
        nn.init.normal_(self.position_embedding.weight, std=INITIAL_STD)
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.n_layer))
        self.norm = nn.LayerNorm(architecture.d_model)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the normalised residual stream after the last block (batch, n_ctx, d_model)."""
        positions = self.position_embedding.weight[: tokens.shape[1]]
        x = F.dropout(self.token_embedding(tokens) + positions, self.dropout, self.training)
        for _ in range(self.reuse):
            for block in self.blocks:
                x = block(x)
        normalised: Tensor = self.norm(x)
        return normalised


def _linear(d_in: int, d_out: int, std: float) -> nn.Linear:
    """Return a layer whose weights are drawn from N(0, std), with biases of zero."""
    layer = nn.Linear(d_in, d_out)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer
