"""Figure 2: learning curves against tokens processed and against compute."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, groups
from scaling_laws.figures.inputs import Inputs

PANELS = (("tokens", "Tokens processed"), ("C", style.COMPUTE))


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    curves = inputs.curves("model_size")
    norm = style.norm_of(curves.N)
    canvas = Canvas(*(variable for variable, _ in PANELS))
    for panel, (variable, label) in zip(canvas.panels, PANELS, strict=True):
        for run, curve in groups(curves, "run", sort=False):
            N = int(curve.N.iloc[0])
            color = style.SIZES(norm(N))
            panel.draw(
                "learning curve", curve[variable], curve.test_loss, run=run, N=N, color=color, lw=1
            )
        panel.finish(label, style.LOSS if variable == "tokens" else "")
    canvas.colorbar(norm)
    return canvas.drawn()
