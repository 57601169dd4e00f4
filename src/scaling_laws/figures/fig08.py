"""Figure 8: loss on other text against model size and against loss on the test split."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import TEST, Inputs


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    table = inputs.evaluations("model_size")
    on_test = table[table.corpus == TEST][["run", "step", "loss"]]
    table = table.merge(on_test.rename(columns={"loss": "test_loss"}), on=["run", "step"])
    final = table[table.final]
    snapshots = table.groupby("run").step.nunique()
    # The run with the most snapshots; a run without any has no course of training to draw.
    course = table[(table.run == snapshots.idxmax()) & (snapshots.max() > 1)]
    others = [corpus for corpus in sorted(table.corpus.unique()) if corpus != TEST]
    canvas = Canvas("size", "test split", width=3.2)
    left, right = canvas.panels
    for place, corpus in enumerate([TEST, *others]):
        look = {"color": style.CATEGORIES[place % 8], "marker": style.MARKERS[place % 8], "ms": 4}
        points, during = final[final.corpus == corpus], course[course.corpus == corpus]
        means = points.groupby("N").loss.mean()
        left.axes.plot(means.index, means, color=look["color"], lw=0.8)
        left.draw(
            corpus, points.N, points.loss, "", of=points, ls="", label=inputs.title(corpus), **look
        )
        if corpus == TEST:
            continue
        right.draw(corpus, points.test_loss, points.loss, "", of=points, ls="", **look)
        right.draw(
            f"{corpus} during training",
            during.test_loss,
            during.loss,
            "--",
            of=during,
            lw=1.2,
            color=look["color"],
        )
    if course.empty:
        inputs.note("no run of the study model_size has snapshots, so none is drawn in training")
    else:
        right.axes.plot([], [], "--", color="0.4", lw=1.2, label="in training, largest model")
    right.axes.plot([], [], "o", color="0.4", label="after training, all models")
    left.finish(style.PARAMETERS, "Loss (nats per token)", legend=None)
    right.finish(
        "Loss on test split (nats)",
        "Loss on other text (nats)",
        scales=("loss", "loss"),
        legend="upper left",
    )
    # Both losses fall to the right and upwards, in the direction of progress.
    right.axes.invert_xaxis()
    right.axes.invert_yaxis()
    handles = left.axes.get_legend_handles_labels()
    canvas.figure.legend(*handles, loc="outside lower center", ncols=3)
    return canvas.drawn()
