"""Time of an update, foretold from a run's spec and from updates that were measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scaling_laws.models.counts import training_flop_per_token
from scaling_laws.training.spec import RunSpec

PARTS = 8  # of an update's work


def work(spec: RunSpec) -> npt.NDArray[np.float64]:
    """Return what one update does, each to be weighed with a time of its own.

    Starting operations (a step, and each pass of a layer), products of weights, of attention and of
    the head, and passes over activations, attention weights and logits.
    """
    tokens, layers = spec.batch_tokens, spec.n_layer * spec.reuse
    flop = {
        name: training_flop_per_token(spec, name) for name in ("non_embedding", "attention", "head")
    }
    attends = spec.architecture != "lstm"
    return np.array(
        [
            1.0,
            layers,
            tokens * flop["non_embedding"],
            tokens * (flop["attention"] - flop["non_embedding"]),
            tokens * (flop["head"] - flop["non_embedding"]),
            tokens * layers * (spec.d_ff + 6 * spec.d_model),
            tokens * layers * spec.n_ctx * spec.n_head if attends else 0.0,
            tokens * spec.vocab_size,
        ]
    )


def fit_times(specs: Sequence[RunSpec], seconds: Sequence[float]) -> list[float]:
    """Return the time of each part of `work`, none below zero, from measured updates.

    Relative errors are squared, so that a small model counts as much as a large one.
    """
    from scipy.optimize import nnls  # a second, which a dry run needs not wait for

    measured = np.array(seconds)
    parts = np.array([work(spec) for spec in specs])
    scale = parts.max(axis=0)
    scale[scale == 0] = 1
    times, _ = nnls(parts / scale / measured[:, None], np.ones(len(measured)))
    return [float(time) for time in times / scale]
