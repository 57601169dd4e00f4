"""Figure 2: learning curves against tokens processed and against compute."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.inputs import Inputs

PANELS = (
    ("tokens", "Tokens processed", "Against tokens"),
    ("C", "Compute (PF-days, non-embedding)", "Against compute"),
)


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: run, N, step, tokens, C (PF-days), loss."""
    curves = inputs.size_curves
    norm = style.size_norm(curves.N)
    figure, axes = style.panels(2, sharey=True)
    for panel, (variable, label, title) in zip(axes, PANELS, strict=True):
        for run in curves.run.unique():
            curve = curves[curves.run == run]
            color = style.SIZES(norm(float(curve.N.iloc[0])))
            panel.plot(curve[variable], curve.test_loss, color=color, lw=1.1)
        style.log_axis(panel.xaxis)
        panel.set_xlabel(label)
        panel.set_title(title)
    style.loss_axis(axes[0])
    axes[0].set_ylabel(style.LOSS)
    style.size_colorbar(figure, axes, norm)
    points = curves[["run", "N", "step", "tokens", "C", "test_loss"]]
    return figure, points.rename(columns={"test_loss": "loss"})
