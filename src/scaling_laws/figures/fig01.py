"""Figure 1: loss against compute, data set size and model size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.forms import determined, get_law, predict

PANELS = (
    ("C", "Compute (PF-days, non-embedding)"),
    ("D", "Data set size (tokens)"),
    ("N", style.PARAMETERS),
)


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: panel, series, run, N, x (unit of the panel), loss."""
    figure, axes = style.panels(3, width=3.6)
    drawn = []
    for panel, (variable, label) in zip(axes, PANELS, strict=True):
        fit = inputs.fit(f"L_{variable}")
        if variable == "C":
            drawn.append(_learning_curves(panel, inputs))
        else:
            drawn.append(_left_out(panel, inputs, variable, fit))
        drawn.append(_fitted(panel, variable, fit))
        style.log_axis(panel.xaxis)
        panel.set_xlabel(label)
        style.loss_axis(panel)
        panel.legend(loc="lower left")
    axes[0].set_ylabel(style.LOSS)
    return figure, pd.concat(drawn, ignore_index=True)


def _learning_curves(panel: Axes, inputs: Inputs) -> pd.DataFrame:
    curves = inputs.size_curves
    norm = style.size_norm(curves.N)
    for run in curves.run.unique():
        curve = curves[curves.run == run]
        color = style.SIZES(norm(float(curve.N.iloc[0])))
        panel.plot(curve.C, curve.test_loss, color=color, lw=0.7, alpha=0.7)
    return _rows("C", "learning curve", curves.run, curves.N, curves.C, curves.test_loss)


def _left_out(panel: Axes, inputs: Inputs, variable: str, fit: Mapping[str, Any]) -> pd.DataFrame:
    """Draw the runs that the law's rule leaves out for another reason than that they diverged."""
    runs = inputs.runs("data_size" if variable == "D" else "model_size")
    reasons = {row["run"]: row["reason"] for row in fit["excluded"]}
    runs = runs[runs.run.isin(reasons)]
    losses = runs[get_law(fit["law"]).loss]
    panel.plot(runs[variable], losses, "o", ms=4.5, mfc="white", mec="0.5", zorder=2)
    return _rows(variable, "left out", runs.run, runs.N, runs[variable], losses)


def _fitted(panel: Axes, variable: str, fit: Mapping[str, Any]) -> pd.DataFrame:
    points = pd.DataFrame(fit["points"])
    if variable == "C":
        panel.plot(points.C, points.loss, "o", ms=2.5, color="black", zorder=3)
    else:
        panel.plot(points[variable], points.loss, "o", ms=4.5, color=style.CATEGORIES[0], zorder=3)
    x = np.geomspace(*fit["range"][variable])
    loss = predict(fit, x) if determined(fit) else np.full_like(x, np.nan)
    panel.plot(x, loss, label=style.fit_label(fit), **style.FIT)
    series = "frontier" if variable == "C" else "fitted"
    N = points.N if "N" in points else pd.NA
    return _rows(variable, series, points.run, N, points[variable], points.loss)


def _rows(panel: str, series: str, run: Any, N: Any, x: Any, loss: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"panel": panel, "series": series, "run": run, "N": N, "x": x, "loss": loss}
    )
