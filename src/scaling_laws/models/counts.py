"""Parameters and operations of an architecture, as the paper and its critics count them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from scaling_laws.models.architecture import Architecture

FLOP_PER_PF_DAY = 8.64e19  # 1e15 FLOP/s for a day

Counting = Literal["non_embedding", "with_head", "total"]
Convention = Literal["non_embedding", "attention", "head", "full", "chinchilla"]


def non_embedding_parameters(model: Architecture) -> int:
    """Return N, the parameters that are neither embeddings, positions nor head.

    A Transformer has N = 2 d_model n_layer (2 d_model + d_ff), biases and norms not counted
    (eq. 2.1), however often it passes through them; an LSTM 4 (d_in + d_h + 1) d_h a layer, with
    d_in = d_h = d_model and one bias a gate.
    """
    n_layer, d_model = model.n_layer, model.d_model
    if model.architecture == "lstm":
        return n_layer * 4 * (2 * d_model + 1) * d_model
    return 2 * d_model * n_layer * (2 * d_model + model.d_ff)


def parameter_groups(model: Architecture) -> dict[str, int]:
    """Return the parameters of each group of tensors; their sum is the model's total."""
    n_layer, d_model, d_ff = model.n_layer, model.d_model, model.d_ff
    vocabulary = model.vocab_size * d_model
    embedding_and_head = {
        "token_embedding": vocabulary,
        "head": 0 if model.tied_head else vocabulary,
    }
    if model.architecture == "lstm":
        return embedding_and_head | {
            "recurrence": n_layer * 8 * d_model**2,
            "biases": n_layer * 4 * d_model,
        }
    return embedding_and_head | {
        "position_embedding": model.n_ctx * d_model,
        "attention": n_layer * 4 * d_model**2,
        "feed_forward": n_layer * 2 * d_model * d_ff,
        "biases": n_layer * (4 * d_model + d_ff + d_model),
        "norms": (2 * n_layer + 1) * 2 * d_model,
    }


def parameters(model: Architecture, counting: Counting) -> int:
    """Return the parameters by one of three ways to count them.

    Args:
        model: The architecture.
        counting: `non_embedding` is the paper's N. `with_head` adds the matrix of the head, be it
            tied or not, but no input embedding (Porian et al. 2024). `total` is every parameter
            (Hoffmann et al. 2022, Pearce & Song 2024).
    """
    if counting == "total":
        return sum(parameter_groups(model).values())
    head = model.vocab_size * model.d_model if counting == "with_head" else 0
    return non_embedding_parameters(model) + head


def training_flop_per_token(model: Architecture, convention: Convention = "non_embedding") -> int:
    """Return FLOP per training token: 3 times the forward pass, as the backward pass costs 2.

    Weights count as often as they are passed through. An LSTM has no attention to count.

    Args:
        model: The architecture.
        convention: `non_embedding` is the paper's 6 N. `attention` adds 6 n_layer n_ctx d_model for
            the scores and sums of attention, averaged over a causal mask (table 1); `head` adds
            6 d_model vocab_size (Porian et al. 2024); `full` adds both. `chinchilla` is Hoffmann et
            al. 2022, appendix F: attention without a mask, softmax, and both vocabulary matrices.
    """
    return 3 * sum(forward(model) for forward in _FORWARD[convention])


def _matrices(model: Architecture) -> int:
    return 2 * non_embedding_parameters(model) * model.reuse


def _vocabulary(model: Architecture) -> int:
    return 2 * model.vocab_size * model.d_model


def _attention(model: Architecture) -> int:
    """Return the FLOP of scores and weighted sums, of which a causal mask leaves half."""
    return 2 * _attention_layers(model) * model.n_ctx * model.d_model


def _softmax(model: Architecture) -> int:
    return 3 * _attention_layers(model) * model.n_ctx * model.n_head


def _attention_layers(model: Architecture) -> int:
    return 0 if model.architecture == "lstm" else model.n_layer * model.reuse


# Terms of one token's forward pass. Without a mask attention is twice the causal average, and
# Hoffmann et al. count the embedding as a product with one-hot vectors, the size of the head's.
_FORWARD: dict[Convention, tuple[Callable[[Architecture], int], ...]] = {
    "non_embedding": (_matrices,),
    "attention": (_matrices, _attention),
    "head": (_matrices, _vocabulary),
    "full": (_matrices, _attention, _vocabulary),
    "chinchilla": (_matrices, _attention, _attention, _softmax, _vocabulary, _vocabulary),
}
