"""Figure 19: least steps and least tokens to a loss, against size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.batch import reach
from scaling_laws.laws.efficient import steps_min

LEVELS = 7


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    found = inputs.tracks("model_size")
    critical = inputs.fit("B_crit")
    canvas = Canvas("steps", "tokens")
    if critical is None:
        for panel in canvas.panels:
            panel.say(inputs.lack("B_crit"))
    else:
        high = max(float(track.loss[0]) for track in found)
        low = min(float(track.loss.min()) for track in found)
        levels = np.linspace(np.log(high), np.log(low), LEVELS + 2)[1:-1]
        norm = style.norm_of(np.exp(levels))
        least = [np.minimum.accumulate(np.log(track.loss)) for track in found]
        steps = np.exp(
            [reach(np.log(t.steps), down, levels) for t, down in zip(found, least, strict=True)]
        )
        N = np.array([track.N for track in found])
        B = np.array([track.B for track in found])
        for level, S in zip(levels, steps.T, strict=True):
            batch = critical.law(critical.constants, L=np.array(np.exp(level)))
            S_min = (
                pd.Series(steps_min(S, B, batch))[np.isfinite(S)].groupby(N[np.isfinite(S)]).mean()
            )
            look = {"color": style.SIZES(norm(np.exp(level))), "ms": 3.5, "lw": 1}
            name = f"loss {np.exp(level):.3f}"
            canvas.panels[0].draw(name, S_min.index, S_min, "-o", N=S_min.index, **look)
            canvas.panels[1].draw(name, S_min.index, batch * S_min, "-o", N=S_min.index, **look)
        canvas.colorbar(norm, style.LOSS)
    canvas.panels[0].finish(
        style.PARAMETERS, r"Least steps, $S_\mathrm{min}$", scales=("log", "log")
    )
    canvas.panels[1].finish(
        style.PARAMETERS, r"Least tokens, $E_\mathrm{min}$", scales=("log", "log")
    )
    return canvas.drawn()
