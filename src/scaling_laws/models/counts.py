"""Parameters and operations of a Transformer (paper, section 2.1 and table 1)."""

from __future__ import annotations


def non_embedding_parameters(n_layer: int, d_model: int, d_ff: int) -> int:
    """Return N = 2 d_model n_layer (2 d_model + d_ff), biases and norms not counted (eq. 2.1)."""
    return 2 * d_model * n_layer * (2 * d_model + d_ff)


def parameter_groups(
    n_layer: int, d_model: int, d_ff: int, n_ctx: int, vocab_size: int
) -> dict[str, int]:
    """Return the parameters of each group of tensors; their sum is the model's total."""
    return {
        "token_embedding": vocab_size * d_model,  # tied: the head has no matrix of its own
        "position_embedding": n_ctx * d_model,
        "attention": n_layer * 4 * d_model**2,
        "feed_forward": n_layer * 2 * d_model * d_ff,
        "biases": n_layer * (4 * d_model + d_ff + d_model),
        "norms": (2 * n_layer + 1) * 2 * d_model,
    }


def training_flop_per_token(
    n_layer: int, d_model: int, d_ff: int, n_ctx: int, vocab_size: int
) -> int:
    """Return FLOP per training token with attention and head: 3 times table 1's forward pass.

    C = 6 N counts the non-embedding matrices alone; this adds 6 n_layer n_ctx d_model for
    attention, masked half left out, and 6 d_model vocab_size for the head.
    """
    matrices = non_embedding_parameters(n_layer, d_model, d_ff)
    return 6 * (matrices + n_layer * n_ctx * d_model + d_model * vocab_size)
