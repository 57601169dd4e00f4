"""Figure 12: what a model of another than the best size costs (eqs. B.16, B.17)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.efficient import Efficient
from scaling_laws.laws.identities import CRITICAL, TABLE_3

RATIOS = np.geomspace(0.1, 10, 400)
CHEAP = 1.2  # the paper's sizes from 0.6 to 2.2 of the best cost no more, rounded


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    laws = {"paper, Table 3": Efficient.of(TABLE_3, CRITICAL)}
    if fits := inputs.fits("L_NS", "B_crit"):
        laws["own runs"] = Efficient.of(fits[0].constants, fits[1].constants)
    canvas = Canvas("compute", "steps")
    compute, steps = canvas.panels
    for place, (name, law) in enumerate(laws.items()):
        least = (1 + law.excess) ** (-1 / law.alpha_N)  # smaller ones never reach the loss
        ratios = RATIOS[1.03 * least < RATIOS]
        color, look = style.CATEGORIES[place], style.LINES[place]
        cost = law.cost_of_size(ratios)
        seen = cost < 4
        compute.draw(name, ratios[seen], cost[seen], color=color, ls=look, label=name)
        serial = law.steps_of_size(ratios)
        seen = serial < 4
        steps.draw(name, ratios[seen], serial[seen], color=color, ls=look, label=name)
    for panel in canvas.panels:
        panel.axes.axvspan(0.6, 2.2, color="0.9", zorder=0, lw=0)
        panel.axes.axvline(1, color="0.7", lw=0.8)
    compute.axes.axhline(CHEAP, color="0.6", lw=0.8, ls=":")
    # Below that the law takes the loss to be reached later than early training reaches it.
    x = r"Size over the best, $N\,/\,N_\mathrm{efficient}$"
    compute.finish(
        x, r"Compute, $C\,/\,C_\mathrm{efficient}$", scales=("log", "linear"), legend="upper center"
    )
    steps.finish(
        x, r"Steps, $S\,/\,S_\mathrm{efficient}$", scales=("log", "linear"), legend="upper right"
    )
    return canvas.drawn()
