"""Figure 24: loss on every corpus against depth at a fixed size."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.fig05 import SAME_SIZE
from scaling_laws.figures.inputs import TEST, Inputs

STUDIES = ("aspect", "shape")


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    on = [study for study in STUDIES if study in inputs.studies]
    runs = inputs.runs(*on)
    runs = runs[(runs.d_ff == 4 * runs.d_model) & (runs.n_layer > 0)]
    # The largest group of one size.
    group = max(
        (runs[(runs.N / N).between(1 / SAME_SIZE, SAME_SIZE)] for N in runs.N.unique()),
        key=lambda rows: (rows.n_layer.nunique(), rows.N.mean()),
        default=runs,
    ).drop_duplicates("n_layer")
    canvas = Canvas("depth", width=5.0, height=3.4)
    (panel,) = canvas.panels
    table = inputs.evaluations(*on)
    table = table[table.final & table.run.isin(group.run)].sort_values("n_layer")
    corpora = [TEST, *(corpus for corpus in sorted(table.corpus.unique()) if corpus != TEST)]
    for place, corpus in enumerate(corpora):
        of_corpus = table[table.corpus == corpus]
        panel.draw(
            corpus,
            of_corpus.n_layer,
            of_corpus.loss,
            f"-{style.MARKERS[place % 8]}",
            of=of_corpus,
            color=style.CATEGORIES[place % 8],
            label=inputs.title(corpus),
        )
    if group.n_layer.nunique() < 2:
        inputs.note("no two runs of one size differ in depth")
    size = style.plain(group.N.mean()) if len(group) else "?"
    panel.finish("Layers", "Loss (nats per token)", title=f"{size} parameters", legend=None)
    panel.axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return canvas.drawn()
