"""Figure 7: LSTMs beside Transformers, by size and along the context."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel, groups
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.positions import binned

PAIRS = 3


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    transformers = inputs.runs("model_size")
    transformers = transformers[transformers.architecture == "transformer"]
    lstms = inputs.runs("lstm")
    lstms = lstms[lstms.architecture == "lstm"]
    inputs.same_tokens(pd.concat([transformers, lstms]), ["Transformers", "LSTMs"])
    canvas = Canvas("size", "position")
    left, right = canvas.panels
    means = transformers.groupby("N").test_loss.mean()
    left.draw(
        "Transformers",
        means.index,
        means,
        "-o",
        N=means.index,
        color=style.CATEGORIES[0],
        label="Transformers",
    )
    for place, (n_layer, group) in enumerate(groups(lstms, "n_layer"), start=1):
        name = f"LSTMs, {n_layer} layer{'s' if n_layer > 1 else ''}"
        left.draw(
            name,
            group.N,
            group.test_loss,
            f"-{style.MARKERS[place]}",
            of=group,
            color=style.CATEGORIES[place],
            label=name,
        )
    left.finish(style.PARAMETERS, style.LOSS, legend="lower left")
    _by_position(right, inputs, transformers, lstms)
    right.finish("Token index in context", "Per-token test loss (nats)", legend="lower left")
    return canvas.drawn()


def _by_position(
    panel: Panel, inputs: Inputs, transformers: pd.DataFrame, lstms: pd.DataFrame
) -> None:
    """Draw some LSTMs, and beside each the Transformer of the nearest size."""
    table = inputs.positions("model_size", "lstm")
    table = table[table.final]
    ordered = lstms.sort_values("N").reset_index(drop=True)
    places = sorted({round(i * (len(ordered) - 1) / max(PAIRS - 1, 1)) for i in range(PAIRS)})
    for color, place in zip(style.CATEGORIES, places if len(ordered) else [], strict=False):
        lstm = ordered.iloc[place]
        apart = (transformers.N / lstm.N).map(lambda ratio: max(ratio, 1 / ratio))
        for kind, run, look in (
            ("LSTM", lstm, "--"),
            ("Transformer", transformers.loc[apart.idxmin()], "-"),
        ):
            of_run = table[table.run == run.run]
            position, loss = binned(of_run.position, of_run.loss)
            name = f"{kind}, {style.plain(run.N)}"
            panel.draw(
                name, position, loss, look, run=run.run, N=run.N, color=color, lw=1.2, label=name
            )
