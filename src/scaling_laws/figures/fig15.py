"""Figure 15: where compute-efficient training would run out of data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws import paper
from scaling_laws.laws.efficient import crossing
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.identities import TABLE_5, TABLE_6
from scaling_laws.models.counts import FLOP_PER_PF_DAY

DECADES = 2  # beyond the crossing


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    compute = {name: TABLE_5[name] for name in ("alpha_C_min", "C_c_min")}
    other = {"D_e": paper.TABLE_6["D_e"].other or 0.0, "p_D": paper.TABLE_6["p_D"].other or 0.0}
    lines = {"Table 6": {name: TABLE_6[name] for name in ("D_e", "p_D")}, "eq. 6.7": other}
    ours = inputs.fits("L_C_min", "L_D", "N_opt")
    canvas = Canvas("paper", *(["ours"] if ours else []), width=3.6, height=3.0)
    panel = canvas.panels[0]
    _cross(panel, compute, TABLE_5, lines, 1e-8)
    panel.finish("Compute (PF-days)", style.LOSS, title="Paper", legend="lower left")
    if ours:
        size = ours[2].constants
        # At the critical batch training takes twice the least tokens (eq. 6.7).
        tokens = {"D_e": 2 * FLOP_PER_PF_DAY / (6 * size["N_e"]), "p_D": 1 - size["p_N"]}
        panel = canvas.panels[1]
        start = ours[0].content["range"]["C_min"][0]
        own = {r"own $N(C_\mathrm{min})$": tokens}
        _cross(panel, ours[0].constants, ours[1].constants, own, start)
        panel.finish("Compute (PF-days)", "", title="Own runs", legend="lower left")
    return canvas.drawn()


def _cross(
    panel: Panel,
    compute: Mapping[str, float],
    data: Mapping[str, float],
    lines: Mapping[str, Mapping[str, float]],
    start: float,
) -> None:
    """Draw L(C_min) and, for each way the tokens grow, L(D(C_min)) with the crossing."""
    places = {name: crossing(compute, tokens, data) for name, tokens in lines.items()}
    end = max(max(C for C, _ in places.values()), start) * 10**DECADES
    end = min(end, start * 1e30)
    x = np.geomspace(start, end, 100)
    loss = LAWS["L_C_min"](compute, C_min=x)
    panel.draw("L(C_min)", x, loss, color=style.CATEGORIES[0], label=r"$L(C_\mathrm{min})$")
    for place, (name, tokens) in enumerate(lines.items(), start=1):
        D = tokens["D_e"] * x ** tokens["p_D"]
        color = style.CATEGORIES[place]
        panel.draw(
            f"L(D(C)), {name}",
            x,
            LAWS["L_D"](data, D=D),
            color=color,
            ls=style.LINES[place],
            label=f"$L(D(C))$, {name}",
        )
        C, least = places[name]
        if start < C < end:
            panel.draw(
                f"crossing, {name}",
                [C],
                [least],
                style.MARKERS[place],
                color=color,
                ms=6,
                label=f"${style.scientific(C)}$ PF-days, {least:.2f} nats",
            )
