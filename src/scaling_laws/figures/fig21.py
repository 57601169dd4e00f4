"""Figure 21: loss at some positions against size, for long and short contexts."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs

TOKENS = (1, 2, 4, 8, 16, 64, 256, 1024)


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    table = inputs.positions("model_size", "context")
    table = table[table.final]
    runs = inputs.runs("model_size", "context")
    inputs.same_tokens(runs, ["long and short contexts"])
    contexts = sorted(table.n_ctx.unique(), reverse=True)
    positions = [T for T in TOKENS if max(contexts, default=1) >= T]
    norm = style.norm_of(positions)
    canvas = Canvas("positions", width=5.2, height=3.4)
    (panel,) = canvas.panels
    for place, n_ctx in enumerate(contexts):
        label: str | None = f"context of {n_ctx}"
        for T in positions:
            of_token = table[(table.n_ctx == n_ctx) & (table.position == T)]
            means = of_token.groupby("N").loss.mean()
            if means.empty:
                continue
            panel.draw(
                f"token {T} of {n_ctx}",
                means.index,
                means,
                style.MARKERS[place % 8],
                N=means.index,
                color=style.SIZES(norm(T)),
                ls=style.LINES[place % 8],
                label=label,
            )
            label = None
    panel.finish(style.PARAMETERS, "Per-token test loss (nats)", legend="lower left")
    canvas.colorbar(norm, "Token index in context")
    return canvas.drawn()
