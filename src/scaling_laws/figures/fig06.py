"""Figure 6: loss against parameters with and without embeddings, by depth."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs

DEPTHS = {0: "0 layers", 1: "1 layer", 2: "2 layers", 3: "3 layers", 6: "6 layers"}
PANELS = {"N_total": "Parameters (with embedding)", "N": style.PARAMETERS}


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    runs = inputs.runs("model_size", "depth")
    inputs.same_tokens(runs, ["depths"])
    family = runs.n_layer.map(
        lambda depth: DEPTHS.get(depth, "> 6 layers" if depth > 6 else "4, 5 layers")
    )
    order = [*list(DEPTHS.values())[:4], "4, 5 layers", "6 layers", "> 6 layers"]
    canvas = Canvas(*PANELS)
    for panel, (count, label) in zip(canvas.panels, PANELS.items(), strict=True):
        for place, name in enumerate(order):
            of_depth = runs[(family == name) & (runs[count] > 0)].sort_values(count)
            color, marker = style.CATEGORIES[place], style.MARKERS[place]
            means = of_depth.groupby(count).test_loss.mean()  # over seeds
            panel.axes.plot(means.index, means, color=color)
            x, runs_, N = of_depth[count], of_depth.run, of_depth.N
            look = {"color": color, "ms": 4.5, "label": name}
            panel.draw(name, x, of_depth.test_loss, marker, run=runs_, N=N, **look)
        panel.finish(label, style.LOSS if count == "N_total" else "", legend="lower left")
    return canvas.drawn()
