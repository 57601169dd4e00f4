"""Decoder-only Transformer in the manner of GPT-2 (paper, section 2.1)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

INITIAL_STD = 0.02  # GPT-2; the paper does not state it


class Block(nn.Module):
    """Attention and feed-forward layer, each on the normalised residual stream and added to it.

    Dropout is on what each adds to the stream, not on the attention weights: the paper does not
    say where its dropout stands, and with it there the fused attention kernels could not be used.
    """

    def __init__(self, d_model: int, n_head: int, d_ff: int, dropout: float) -> None:
        """Make a block of width `d_model`."""
        super().__init__()
        self.n_head, self.dropout = n_head, dropout
        self.attention_norm = nn.LayerNorm(d_model)
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.projection = nn.Linear(d_model, d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, d_ff)
        self.contract = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the block; shapes (batch, n_ctx, d_model)."""
        drop = self.dropout if self.training else 0.0
        x = x + F.dropout(self._attend(self.attention_norm(x)), drop)
        hidden = F.gelu(self.expand(self.feed_forward_norm(x)), approximate="tanh")
        return x + F.dropout(self.contract(hidden), drop)

    def _attend(self, x: Tensor) -> Tensor:
        batch, n_ctx, d_model = x.shape
        heads = self.query_key_value(x).view(batch, n_ctx, 3, self.n_head, -1).transpose(1, 3)
        query, key, value = heads.unbind(2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.projection(mixed.transpose(1, 2).reshape(batch, n_ctx, d_model))
        return out


class Transformer(nn.Module):
    """Pre-norm Transformer with learned positions and tied embeddings."""

    def __init__(
        self,
        *,
        n_layer: int,
        d_model: int,
        n_head: int,
        d_ff: int,
        n_ctx: int,
        vocab_size: int,
        dropout: float = 0.0,
    ) -> None:
        """Make a model with GPT-2's initial values, drawn from PyTorch's global generator."""
        super().__init__()
        self.dropout = dropout
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_embedding = nn.Embedding(n_ctx, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_head, d_ff, dropout) for _ in range(n_layer))
        self.norm = nn.LayerNorm(d_model)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            # Each block adds to the residual stream twice; its variance shall not grow with depth.
            last = name.endswith(("projection.weight", "contract.weight"))
            nn.init.normal_(parameter, std=INITIAL_STD / (math.sqrt(2 * n_layer) if last else 1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the normalised residual stream after the last block.

        Args:
            tokens: Token numbers, shape (batch, n_ctx).

        Returns:
            Shape (batch, n_ctx, d_model); its product with `head` gives the logits.
        """
        positions = self.position_embedding.weight[: tokens.shape[1]]
        x = F.dropout(self.token_embedding(tokens) + positions, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        normalised: Tensor = self.norm(x)
        return normalised

    @property
    def head(self) -> Tensor:
        """The matrix from hidden states to logits, shape (vocab_size, d_model)."""
        return self.token_embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the next-token logits, shape (batch, n_ctx, vocab_size)."""
        return F.linear(self.hidden(tokens), self.head)
