"""Figure 3: what grows with compute: model size, batch and serial steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws import paper

PARTS = (("S", "serial steps"), ("B", "batch size"), ("N", "model size"))
PAPER_ENDS = (1e-8, 1e1)  # a billionfold


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    powers = {part: paper.TABLE_6[f"p_{part}"].value or 0.0 for part, _ in PARTS}
    ours = inputs.fits("N_opt", "B_opt", "S_opt")
    canvas = Canvas("paper", *(["ours"] if ours else []), width=3.3)
    _stack(canvas.panels[0], powers, PAPER_ENDS)
    canvas.panels[0].finish(
        "Compute (PF-days)", "Growth (times)", title="Paper, Table 6", scales=("log", "log")
    )
    if ours:
        found = {fit.law.name[0]: fit.constants[f"p_{fit.law.name[0]}"] for fit in ours}
        _stack(canvas.panels[1], found, ours[0].content["range"]["C_min"])
        canvas.panels[1].finish("Compute (PF-days)", "", title="Own runs", scales=("log", "log"))
    return canvas.drawn()


def _stack(panel: Panel, powers: Mapping[str, float], ends: Sequence[float]) -> None:
    """Draw what each part contributes, one above the other."""
    x = np.geomspace(ends[0], ends[1], 50)
    growth = x / x[0]
    below = np.ones_like(x)
    for (part, name), color in zip(PARTS, style.CATEGORIES, strict=False):
        above = below * growth ** powers[part]
        times = growth[-1] ** powers[part]
        panel.fill(
            name, x, below, above, label=f"{name}: ${style.scientific(times)}$ times", color=color
        )
        below = above
