"""Figure 6, right: loss against non-embedding parameters, by number of layers."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.inputs import Inputs


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: run, n_layer, N, loss."""
    runs = inputs.runs("model_size")
    depths = sorted(runs.n_layer.unique())
    figure, (panel,) = style.panels(1, width=4.6)
    for index, n_layer in enumerate(depths):
        of_depth = runs[runs.n_layer == n_layer]
        panel.plot(
            of_depth.N,
            of_depth.test_loss,
            marker=style.MARKERS[index % len(style.MARKERS)],
            color=style.CATEGORIES[index % len(style.CATEGORIES)],
            lw=1,
            ms=5,
            label="1 layer" if n_layer == 1 else f"{n_layer} layers",
        )
    style.log_axis(panel.xaxis)
    style.loss_axis(panel)
    panel.set_xlabel(style.PARAMETERS)
    panel.set_ylabel(style.LOSS)
    panel.legend(loc="lower left")
    points = runs[["run", "n_layer", "N", "test_loss"]]
    return figure, points.rename(columns={"test_loss": "loss"})
