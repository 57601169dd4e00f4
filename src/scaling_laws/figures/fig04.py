"""Figure 4: the joint laws of size and data, and of size and steps."""

from __future__ import annotations

import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel, groups
from scaling_laws.figures.inputs import Inputs


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    canvas = Canvas("data", "steps")
    left, right = canvas.panels
    sizes = [*inputs.points("L_ND").get("N", []), *inputs.runs("model_size").N]
    norm = style.norm_of(sizes)
    _by_data(left, inputs, norm)
    left.finish("Tokens in data set", style.LOSS)
    _by_steps(right, inputs, norm)
    right.finish(r"Steps at large batches, $S_\mathrm{min}$", "")
    canvas.colorbar(norm)
    return canvas.drawn()


def _by_data(panel: Panel, inputs: Inputs, norm: LogNorm) -> None:
    """Draw the least losses of each size on subsets of the data, and L(N, D)."""
    fit = inputs.fit("L_ND")
    for place, (N, runs) in enumerate(groups(inputs.points("L_ND"), "N")):
        look = {"color": style.SIZES(norm(N))}
        first = not place
        panel.draw("runs", runs.D, runs.loss, "o", of=runs, label="runs" if first else None, **look)
        if fit:
            ends = fit.content["range"]["D"]
            label = "fit" if first else None
            panel.fit(fit, "D", ends, at={"N": N}, lw=1, label=label, band=False, **look)


def _by_steps(panel: Panel, inputs: Inputs, norm: LogNorm) -> None:
    """Draw the learning curves of each size, and L(N, S_min)."""
    fit, points = inputs.fit("L_NS"), inputs.points("L_NS")
    # Steps that rest on a critical batch that is not known mean nothing.
    if points.empty or inputs.fit("B_crit") is None:
        return panel.say(inputs.lack("L_NS", "B_crit"))
    for place, (N, of_size) in enumerate(groups(points, "N")):
        look = {"color": style.SIZES(norm(N))}
        label = None if place else "runs"
        for _, curve in groups(of_size, "run"):
            panel.draw("runs", curve.S_min, curve.loss, of=curve, label=label, **look)
            label = None
        if fit:
            ends = (of_size.S_min.min(), of_size.S_min.max())
            label = None if place else "fit"
            panel.fit(fit, "S_min", ends, at={"N": N}, lw=1, label=label, band=False, **look)
    return None
