"""Figure 13: the frontier of compute as it was spent, and as small batches would spend it."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs

LAWS = {"L_C": ("C", "fixed batch, C"), "L_C_min": ("C_min", r"small batches, $C_\mathrm{min}$")}


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    canvas = Canvas("frontier", width=4.6, height=3.4)
    (panel,) = canvas.panels
    critical = inputs.fit("B_crit")
    for place, (law, (variable, name)) in enumerate(LAWS.items()):
        if variable == "C_min" and critical is None:
            inputs.note("so C_min is not known")
            continue
        points = inputs.points(law)
        if points.empty:
            continue
        color = style.CATEGORIES[place]
        panel.draw(
            name,
            points[variable],
            points.loss,
            style.MARKERS[place],
            of=points,
            ms=3,
            color=color,
            label=name,
        )
        if fit := inputs.fit(law):
            ends = fit.content["range"][variable]
            panel.fit(fit, variable, ends, series=f"fit of {law}", color=color)
            panel.paper_law(fit, ends)
    panel.finish(style.COMPUTE, style.LOSS, legend="lower left")
    return canvas.drawn()
