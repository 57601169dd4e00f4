"""Learning rate: its peak by the size of the model, and its course over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Callable

from scaling_laws.training.spec import RunSpec


def learning_rate(step: int, spec: RunSpec) -> float:
    """Return the learning rate of update `step`, which counts from 0.

    With S steps, W of warm-up, peak p, final rate f and t = step + 1, it rises linearly as p t / W
    up to t = W (Goyal et al. 2017, section 2.2). After that it is, with the part u = (t - W) /
    (S - W) of the way done, by `schedule`:

    - cosine: f + (p - f) (1 + cos(pi u)) / 2 (Loshchilov & Hutter 2017, equation 5; the paper,
      section 2.2, with f = 0).
    - linear: f + (p - f) (1 - u), the paper's alternative in appendix D.6.
    - constant: p.
    - wsd: p, and in the last D steps f + (p - f) (S - t) / D (warm-up, stable, decay: Hu et al.
      2024, section 4.2; the decay is Hägele et al.'s linear one, 2024).
    - inverse_sqrt: p sqrt(W / t), without a warm-up p / sqrt(t) (Vaswani et al. 2017, equation 3).

    Those that decay to f have it in the last step.

    Args:
        step: The update, from 0 to `spec.steps` - 1.
        spec: The run.
    """
    number = step + 1
    if number <= spec.warmup_steps:
        return spec.lr * number / spec.warmup_steps
    return SCHEDULES[spec.schedule](number, spec)


def paper_peak(N: float) -> float:
    """Return the peak rate for N non-embedding parameters (D.1): below zero from 1.2e10 on."""
    return 0.003239 - 0.0001395 * math.log(N)


def porian_peak(N: float) -> float:
    """Return the peak rate of Porian et al. 2024 (section 4); their N counts the head as well."""
    return 0.0047 * math.pow(N / 108e6, -1 / 3)


def _cosine(number: int, spec: RunSpec) -> float:
    return _towards_final(spec, 0.5 * (1 + math.cos(math.pi * _done(number, spec))))


def _linear(number: int, spec: RunSpec) -> float:
    return _towards_final(spec, 1 - _done(number, spec))


def _constant(number: int, spec: RunSpec) -> float:
    return spec.lr


def _wsd(number: int, spec: RunSpec) -> float:
    left = spec.steps - number
    return _towards_final(spec, left / spec.decay_steps) if left < spec.decay_steps else spec.lr


def _inverse_sqrt(number: int, spec: RunSpec) -> float:
    return spec.lr * math.sqrt(max(spec.warmup_steps, 1) / number)


SCHEDULES: dict[str, Callable[[int, RunSpec], float]] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
    "wsd": _wsd,
    "inverse_sqrt": _inverse_sqrt,
}


def _done(number: int, spec: RunSpec) -> float:
    return (number - spec.warmup_steps) / (spec.steps - spec.warmup_steps)


def _towards_final(spec: RunSpec, share: float) -> float:
    return spec.final_lr + (spec.lr - spec.final_lr) * share
