"""Figure 20: loss by position in the context, by size and in training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.positions import along_context, binned

TOKENS = 8  # positions drawn in training


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    table = inputs.positions("model_size")
    canvas = Canvas("by size", "in training", width=3.6)
    left, right = canvas.panels
    _by_size(left, table[table.final])
    left.finish("Token index in context", "Per-token test loss (nats)", legend="lower left")
    _in_training(right, inputs, table)
    right.finish("Step", "Per-token test loss (nats)")
    return canvas.drawn()


def _by_size(panel: Panel, table: pd.DataFrame) -> None:
    """Draw the loss of each size along the context, and a + b T^-c fitted to it."""
    norm = style.norm_of(table.N)
    first = table.drop_duplicates("run").drop_duplicates("N")
    fits = along_context(table).set_index("run")
    for place, (run, N) in enumerate(zip(first.run, first.N, strict=True)):
        of_run = table[table.run == run]
        color = style.SIZES(norm(N))
        T, loss = binned(of_run.position, of_run.loss)
        panel.draw(
            "runs", T, loss, "-", run=run, N=N, color=color, label=None if place else "models"
        )
        constants = fits.loc[run, ["a", "b", "c"]].to_dict()
        label = None if place else r"$L_T = a + b\,T^{-c}$"
        panel.draw(
            "fit",
            T,
            LAWS["L_T"](constants, T=T),
            "--",
            run=run,
            N=N,
            color=color,
            lw=0.9,
            label=label,
        )
    style.colorbar(panel.axes.figure, panel.axes, norm)


def _in_training(panel: Panel, inputs: Inputs, table: pd.DataFrame) -> None:
    """Draw the loss at some positions along the training of the largest model with snapshots."""
    steps = table.groupby("run").step.nunique()
    kept = table[table.run.isin(steps[steps > 1].index)]
    if kept.empty:
        inputs.note("no run of the study model_size has snapshots; training.snapshots keeps some")
        return panel.say("needs snapshots of a run")
    largest = kept[kept.run == kept.sort_values("N").run.iloc[-1]]
    n_ctx = int(largest.n_ctx.iloc[0])
    wanted = np.unique(np.geomspace(1, n_ctx, TOKENS).round().astype(int))
    norm = style.norm_of(wanted)
    for T in wanted:
        of_token = largest[largest.position == T].sort_values("step")
        panel.draw(
            f"T = {T}",
            of_token.step,
            of_token.loss,
            "-o",
            of=of_token,
            color=style.SIZES(norm(T)),
            ms=3,
        )
    style.colorbar(panel.axes.figure, panel.axes, norm, "Token index in context")
    return None
