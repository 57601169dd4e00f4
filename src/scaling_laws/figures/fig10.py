"""Figure 10: the critical batch size against the loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, groups
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.forms import LAWS


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    content = inputs.content("B_crit") or {"points": []}
    points = pd.DataFrame(content["points"])
    canvas = Canvas("critical batch", width=4.6, height=3.2)
    (panel,) = canvas.panels
    noise = pd.DataFrame(content.get("noise_scale", {}).get("points", []))
    if noise.empty:
        inputs.note("no run measured the gradient noise scale; training.micro_batches does")
    else:
        panel.draw(
            "noise scale",
            noise.L,
            noise.B_crit,
            "o",
            of=noise,
            ms=2.5,
            color="0.65",
            zorder=1,
            label="gradient noise scale",
        )
    for place, (N, group) in enumerate(groups(points, "N")):
        panel.draw(
            "hyperbola",
            group.L,
            group.B_crit,
            f"-{style.MARKERS[place % 8]}",
            N=N,
            lw=0.8,
            color=style.CATEGORIES[place % 8],
            label=f"from the scan of {style.plain(N)} parameters",
        )
    if fit := inputs.fit("B_crit"):
        panel.fit(fit, "L", fit.content["range"]["L"])
    if panel.rows:
        law = LAWS["B_crit"]
        L = np.geomspace(1.5, 12, 200)
        constants = law.published or {}
        panel.paper(
            "paper's fit", L, law(constants, L=L), f"paper: {style.law_label(law, constants)}"
        )
    panel.finish(style.LOSS, "Critical batch size (tokens)", scales=("loss", "log"), legend="best")
    panel.axes.invert_xaxis()
    return canvas.drawn()
