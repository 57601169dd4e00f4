"""Residuals of every fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Scales
from scaling_laws.figures.inputs import Inputs

ACROSS = 3  # panels in a row


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: x is what was fitted, y observed over fitted in percent."""
    fits = [fit for law in inputs.laws if (fit := inputs.fit(law))]
    if not fits:
        canvas = Canvas("none", width=4)
        canvas.panels[0].say("no fit is determined by these runs")
        canvas.panels[0].finish("Fitted", "Observed over fitted (%)")
        return canvas.drawn()
    rows = int(np.ceil(len(fits) / ACROSS))
    columns = int(np.ceil(len(fits) / rows))
    canvas = Canvas(*(fit.law.name for fit in fits), rows=rows, width=2.6, height=2.2)
    symbols = [fit.law.symbol for fit in fits]
    titles = [
        fit.law.symbol
        if symbols.count(fit.law.symbol) == 1
        else f"{fit.law.symbol}: {fit.law.name}"
        for fit in fits
    ]
    for place, (panel, fit) in enumerate(zip(canvas.panels, fits, strict=True)):
        points = pd.DataFrame(fit.content["points"])
        x = {name: points[name].to_numpy(dtype=float) for name in fit.law.variables}
        response = "loss" if "loss" in points else fit.law.response[0]
        fitted = fit.law(fit.constants, **x)
        residual = 100 * (points[response].to_numpy(dtype=float) / fitted - 1)
        N = points.N if "N" in points else None
        panel.draw(
            "residuals", fitted, residual, "o", run=points.run, N=N, ms=3, color=style.CATEGORIES[0]
        )
        spread = 2 * float(np.std(residual))
        panel.axes.axhspan(-spread, spread, color="0.93", zorder=0, lw=0)
        panel.axes.axhline(0, color="0.5", lw=0.8)
        scales: Scales = ("loss" if fit.law.of_loss else "log", "linear")
        unit = "nats" if fit.law.of_loss else fit.law.response[1]
        panel.finish(
            f"Fitted ({unit})",
            "" if place % columns else "Observed over fitted (%)",
            scales=scales,
            title=titles[place],
        )
    return canvas.drawn()
