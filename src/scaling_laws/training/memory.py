"""Memory of a run's training, foretold from its spec.

Counted is what PyTorch's allocator hands out: the CUDA context, its libraries and what
fragmentation wastes come on top, one to two GB of a GPU.
"""

from __future__ import annotations

import math

from scaling_laws.models import counts
from scaling_laws.training.spec import RunSpec

FLOAT32, BFLOAT16 = 4, 2
CONTEXT = 2_000_000_000  # bytes of a GPU that a process takes beside what is counted here
LOGITS = 2**26  # of a piece of the head's rows on a GPU (models.loss)
LSTM_ACTIVATIONS = 16  # elements of a layer per token and width: gates, states and their inputs


def training_memory(spec: RunSpec, processes: int = 1, sharded: bool = False) -> dict[str, int]:
    """Return the bytes that each process needs at the peak of a step, by what needs them.

    Args:
        spec: The run.
        processes: Processes that share its batches, one a GPU.
        sharded: Whether each holds a part of weights, gradients and optimizer state, and computes
            the activations of a block again in the backward pass.
    """
    spread = processes if sharded else 1
    weights = FLOAT32 * spec.N_total
    return {
        "weights": weights // spread,
        "gradients": weights // spread,
        "optimizer": _optimizer(spec) // spread,
        "gathered": _gathered(spec) if sharded else 0,
        "activations": _activations(spec, processes, sharded),
        "head": _head(spec, _tokens_at_once(spec, processes)),
    }


def fits(spec: RunSpec, processes: int, gpu_memory: float) -> bool:
    """Tell whether each process can hold the whole model in `gpu_memory` GB."""
    return sum(training_memory(spec, processes).values()) <= gpu_memory * 1e9


def slots_of(spec: RunSpec, gpu_memory: float, gpu_slots: int) -> int:
    """Return how many of the equal parts of a GPU of `gpu_memory` GB a run alone on it needs."""
    needed = sum(training_memory(spec).values()) + CONTEXT
    return min(math.ceil(needed / (gpu_memory * 1e9) * gpu_slots), gpu_slots)


def _tokens_at_once(spec: RunSpec, processes: int) -> int:
    """Return the tokens of one micro-batch of one process."""
    return spec.batch_tokens // (spec.micro_batches_of(processes) * processes)


def _matrices(spec: RunSpec) -> list[tuple[int, int, int]]:
    """Return the matrices as (how many, rows, columns)."""
    d_model = spec.d_model
    vocabulary = [(1 if spec.tied_head else 2, spec.vocab_size, d_model)]
    if spec.architecture == "lstm":
        return [*vocabulary, (2 * spec.n_layer, 4 * d_model, d_model)]
    return [
        *vocabulary,
        (1, spec.n_ctx, d_model),
        (spec.n_layer, 3 * d_model, d_model),
        (spec.n_layer, d_model, d_model),
        (2 * spec.n_layer, spec.d_ff, d_model),
    ]


def _optimizer(spec: RunSpec) -> int:
    """Return the bytes of the state; for Adafactor with the three copies an update makes."""
    if spec.optimizer != "adafactor":
        return 2 * FLOAT32 * spec.N_total
    matrices = _matrices(spec)
    elements = sum(number * rows * columns for number, rows, columns in matrices)
    means = sum(number * (rows + columns) for number, rows, columns in matrices)
    vectors = spec.N_total - elements
    largest = max(rows * columns for _, rows, columns in matrices)
    return FLOAT32 * (means + vectors + 3 * largest)


def _gathered(spec: RunSpec) -> int:
    """Return the bytes of the weights that are whole at one time, and of their gradients.

    Those are the embeddings, the block at work and the one after it.
    """
    groups = counts.parameter_groups(spec)
    outside = sum(groups.get(name, 0) for name in ("token_embedding", "position_embedding", "head"))
    blocks = (spec.N_total - outside) * min(2, spec.n_layer) // max(spec.n_layer, 1)
    return 2 * FLOAT32 * (outside + blocks)


def _activations(spec: RunSpec, processes: int, sharded: bool) -> int:
    """Return the bytes that the forward pass leaves for the backward pass."""
    tokens, d_model = _tokens_at_once(spec, processes), spec.d_model
    rounded = BFLOAT16 if spec.precision == "bfloat16" else FLOAT32
    ends = 2 * FLOAT32 * d_model * tokens  # embedded tokens; the last norm's input
    if spec.architecture == "lstm":
        return ends + FLOAT32 * LSTM_ACTIVATIONS * d_model * spec.n_layer * tokens
    # The residual stream before each half of a block; its norms' outputs, queries, keys, values,
    # what they mix; the feed-forward layer before and after its nonlinearity.
    stream = 2 * FLOAT32 * d_model
    masks = 2 * d_model if spec.dropout else 0  # a byte an element
    inside = rounded * (6 * d_model + 2 * spec.d_ff)
    block = tokens * (stream + masks + inside)
    passes = spec.n_layer * spec.reuse
    if sharded:
        return ends + passes * FLOAT32 * d_model * tokens + block
    # In bfloat16 rounded copies of the matrices wait for the backward pass, too.
    copies = BFLOAT16 * spec.N if rounded == BFLOAT16 else 0
    return ends + passes * block + copies


def _head(spec: RunSpec, tokens: int) -> int:
    """Return the bytes of the head's loss: logits of a piece, gradients of hidden and weight."""
    rounded = BFLOAT16 if spec.precision == "bfloat16" else FLOAT32
    rows = min(max(LOGITS // spec.vocab_size, 1), tokens)
    weight = spec.vocab_size * spec.d_model
    copies = 2 * rounded * weight if rounded == BFLOAT16 else 0  # the matrix, and a piece's product
    hidden = 2 * FLOAT32 * tokens * spec.d_model
    return rounded * rows * spec.vocab_size + FLOAT32 * weight + hidden + copies
