"""The S-curve of the deduplication, and the similarities of what it dropped."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.errors import InputError
from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points; the bars are in documents, the line is a chance."""
    table = inputs.table("tables/duplicates.csv")
    canvas = Canvas("similarity", width=4.6)
    (panel,) = canvas.panels
    chance = table[table.series == "chance"]
    panel.draw(
        "chance",
        chance.similarity,
        chance.value,
        color=style.CATEGORIES[0],
        label="chance to be a candidate",
    )
    thresholds = table.similarity[table.series == "threshold"]
    if thresholds.empty:
        path = inputs.results / "tables/duplicates.csv"
        raise InputError(f"{path}: no row of the series threshold; expected one")
    least = float(thresholds.iloc[0])
    panel.axes.axvline(least, color="0.4", ls=":", lw=1.2, label=f"threshold {least:g}")
    found = table[table.series == "found"]
    if found.value.sum():
        counts = panel.axes.twinx()
        width = float(found.similarity.diff().median())
        counts.bar(
            found.similarity, found.value, width * 0.9, color=style.CATEGORIES[1], alpha=0.5, lw=0
        )
        counts.set_ylabel("Near duplicates dropped", color=style.CATEGORIES[1])
        counts.grid(visible=False)
        # The line stands before the bars.
        panel.axes.set_zorder(counts.get_zorder() + 1)
        panel.axes.patch.set_visible(False)
        panel.keep("found", found.similarity, found.value)
    else:
        inputs.note("no near duplicate was dropped")
    panel.finish(
        "Similarity of a pair (Jaccard)", "Chance", scales=("linear", "linear"), legend=None
    )
    # Above: the line and the bars leave no corner free.
    canvas.figure.legend(
        *panel.axes.get_legend_handles_labels(), loc="outside upper center", ncols=2
    )
    return canvas.drawn()
