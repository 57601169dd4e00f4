"""Figure 4, left: loss against data set size for each model size, with the joint law."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.forms import determined, predict


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: run, N, D, loss."""
    fit = inputs.fit("L_ND")
    points = pd.DataFrame(fit["points"])[["run", "N", "D", "loss"]]
    norm = style.size_norm(points.N)
    figure, (panel,) = style.panels(1, width=5.2)
    D = np.geomspace(*fit["range"]["D"])
    for N in np.unique(points.N.to_numpy(dtype=float)):
        of_size = points[points.N == N]
        color = style.SIZES(norm(N))
        panel.plot(of_size.D, of_size.loss, "o", ms=4.5, color=color, zorder=3)
        if determined(fit):
            panel.plot(D, predict(fit, N, D), ls="--", lw=1, color=color)
    style.log_axis(panel.xaxis)
    style.loss_axis(panel)
    panel.set_xlabel("Tokens in data set")
    panel.set_ylabel(style.LOSS)
    style.size_colorbar(figure, panel, norm)
    return figure, points
