"""Figure 23: a power law of size beside a logarithm."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import SAMPLES, Canvas
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.judge import logarithm
from scaling_laws.laws.paper import FIGURE_23


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    points = inputs.points("L_N")
    canvas = Canvas("size", width=4.6, height=3.2)
    (panel,) = canvas.panels
    panel.draw(
        "runs",
        points.N,
        points.loss,
        "o",
        of=points,
        color=style.CATEGORIES[0],
        label="runs",
        zorder=3,
    )
    ends = (points.N.min(), points.N.max())
    if fit := inputs.fit("L_N"):
        panel.fit(fit, "N", ends, series="power law")
        panel.paper_law(fit, ends)
    a, b = logarithm(points.N, points.loss)
    N = np.geomspace(*ends, SAMPLES)
    scale = style.scientific(float(np.exp(-a / b)))
    panel.draw(
        "logarithm",
        N,
        a + b * np.log(N),
        ":",
        color=style.CATEGORIES[1],
        lw=1.4,
        label=rf"$L = {b:.3f}\,\ln(N\,/\,{scale})$",
    )
    slope, N_0 = FIGURE_23["slope"].value or 0.0, FIGURE_23["N_0"].value or 1.0
    label = rf"paper: $L = {slope}\,\ln(N\,/\,{style.scientific(N_0)})$"
    panel.paper("paper's logarithm", N, slope * np.log(N / N_0), label, linestyle="-.")
    panel.finish(style.PARAMETERS, "Test loss after training (nats per token)", legend="lower left")
    return canvas.drawn()
