"""GPT-2 and its training loop as a PyTorch user would write them after nanoGPT, in float32.

What ours is measured against: eager modules, the fused attention kernel, cross-entropy over all
logits, AdamW and clipping as PyTorch has them by default, batches from a memory map.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Causal self-attention of all heads."""

    def __init__(self, d_model: int, n_head: int) -> None:
        """Make the projections to queries, keys and values, and from their mixture."""
        super().__init__()
        self.n_head = n_head
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.projection = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each position takes from those before it, (batch, n_ctx, d_model)."""
        batch, n_ctx, d_model = x.shape
        query, key, value = (
            part.view(batch, n_ctx, self.n_head, -1).transpose(1, 2)
            for part in self.query_key_value(x).split(d_model, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.projection(mixed.transpose(1, 2).contiguous().view(batch, n_ctx, d_model))


class Block(nn.Module):
    """Attention and feed-forward layer."""

    def __init__(self, d_model: int, n_head: int) -> None:
        """Make a block."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_head)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.feed_forward = nn.Sequential(
            nn.Linear(d_model, 4 * d_model),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * d_model, d_model),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after the block."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class GPT(nn.Module):
    """GPT-2 with tied embeddings."""

    def __init__(
        self, n_layer: int, d_model: int, n_head: int, n_ctx: int, vocab_size: int
    ) -> None:
        """Make a model with weights drawn from N(0, 0.02)."""
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_embedding = nn.Embedding(n_ctx, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_head) for _ in range(n_layer))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.head.weight = self.token_embedding.weight
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the targets."""
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


class Loop:
    """A model in training."""

    def __init__(
        self,
        tokens: Path,
        *,
        n_layer: int,
        d_model: int,
        n_head: int,
        n_ctx: int,
        vocab_size: int,
        batch_sequences: int,
    ) -> None:
        """Set up training on a file of tokens of 16 bits."""
        torch.manual_seed(0)
        self.model = GPT(n_layer, d_model, n_head, n_ctx, vocab_size)
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
        self.tokens = np.memmap(tokens, dtype=np.uint16, mode="r")
        self.n_ctx, self.batch_sequences = n_ctx, batch_sequences

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return sequences from random places, and the same one token later."""
        starts = torch.randint(len(self.tokens) - self.n_ctx, (self.batch_sequences,)).tolist()
        inputs, targets = (
            torch.stack(
                [
                    torch.from_numpy(self.tokens[i + ahead :][: self.n_ctx].astype(np.int64))
                    for i in starts
                ]
            )
            for ahead in (0, 1)
        )
        return inputs, targets

    def step(self) -> None:
        """Make one update."""
        loss = self.model(*self.batch())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
