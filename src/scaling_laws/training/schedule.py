"""Learning rate over the steps of a run (paper, section 2.2)."""

from __future__ import annotations

import math


def learning_rate(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Return the rate of update `step` (from 0): linear warm-up, then half a cosine to zero.

    Args:
        step: The update, from 0 to steps - 1.
        peak: Rate at the end of the warm-up.
        warmup_steps: Updates of the warm-up.
        steps: Updates of the run.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * done))
