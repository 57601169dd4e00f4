"""Figure 4: the joint laws of size and data, and of size and steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel
from scaling_laws.figures.inputs import Inputs


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    canvas = Canvas("data", "steps")
    left, right = canvas.panels
    sizes = [*inputs.points("L_ND").get("N", []), *inputs.runs("model_size").N]
    norm = style.norm_of(sizes)
    _joint(left, inputs, norm, "L_ND", "D", "-o")
    left.finish("Tokens in data set", style.LOSS)
    _joint(right, inputs, norm, "L_NS", "S_min", "-")
    right.finish(r"Steps at large batches, $S_\mathrm{min}$", "")
    canvas.colorbar(norm)
    return canvas.drawn()


def _joint(panel: Panel, inputs: Inputs, norm: LogNorm, law: str, variable: str, look: str) -> None:
    """Draw points and fit for each model size."""
    fit = inputs.fit(law)
    points = inputs.points(law)
    # Where the steps rest on a critical batch that is not known they mean nothing.
    if points.empty or (variable == "S_min" and inputs.fit("B_crit") is None):
        return panel.say("needs B_crit(L) from a batch scan")
    for place, N in enumerate(np.unique(points.N.to_numpy(dtype=float))):
        of_size = points[points.N == N]
        color = style.SIZES(norm(N))
        label = None if place else "runs"
        for run, part in of_size.groupby("run" if look == "-" else "N"):
            panel.draw(
                "runs",
                part[variable],
                part.loss,
                look[-1],
                run=part.run if look != "-" else run,
                N=N,
                color=color,
                ms=4,
                lw=1,
                label=label,
            )
            label = None
        if fit:
            ends = (of_size[variable].min(), of_size[variable].max())
            if look != "-":
                ends = fit.content["range"][variable]
            panel.fit(
                fit, variable, ends, at={"N": N}, color=color, lw=1, label=None if place else "fit"
            )
    return None
