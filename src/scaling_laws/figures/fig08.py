"""Figure 8: loss on other text against model size and against loss on the test split."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.inputs import Inputs

TEST = "test"


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: panel, series, run, N, step, corpus, test_loss, loss."""
    table = inputs.evaluations()
    on_test = table[table.corpus == TEST][["run", "step", "loss"]]
    table = table.merge(on_test.rename(columns={"loss": "test_loss"}), on=["run", "step"])
    final = table[table.final]
    snapshots = table.groupby("run").step.nunique()
    # The run with the most snapshots; a run without any has no course of training to draw.
    largest = table[(table.run == snapshots.idxmax()) & (snapshots.max() > 1)]
    others = [corpus for corpus in sorted(table.corpus.unique()) if corpus != TEST]
    looks = {
        corpus: {"color": style.CATEGORIES[index % 10], "marker": style.MARKERS[index % 7]}
        for index, corpus in enumerate([TEST, *others])
    }
    titles = {corpus: inputs.corpora.get(corpus, corpus.replace("_", " ")) for corpus in others}
    titles[TEST] = inputs.corpora.get(TEST, "Test split")

    figure, (left, right) = style.panels(2, width=4.4)
    for corpus, look in looks.items():
        points = final[final.corpus == corpus]
        means = points.groupby("N").loss.mean()
        left.plot(means.index, means, color=look["color"], lw=0.8)
        left.plot(points.N, points.loss, ls="", ms=4.5, label=titles[corpus], **look)
    style.log_axis(left.xaxis)
    left.set_xlabel(style.PARAMETERS)
    left.set_ylabel("Loss (nats per token)")
    style.loss_axis(left)
    # Between the points there is no room for it.
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(looks))

    for corpus in others:
        points, course = final[final.corpus == corpus], largest[largest.corpus == corpus]
        right.plot(points.test_loss, points.loss, ls="", ms=4.5, **looks[corpus])
        right.plot(course.test_loss, course.loss, "--", lw=1.2, color=looks[corpus]["color"])
    right.set_xlabel(f"Loss on {titles[TEST].lower()} (nats per token)")
    right.set_ylabel("Loss on other text (nats per token)")
    _progress_axes(right)
    right.plot([], [], "--", color="0.4", lw=1.2, label="During training, largest model")
    right.plot([], [], "o", color="0.4", ms=4.5, label="End of training, all models")
    right.legend(loc="upper left")

    drawn = [
        final.assign(panel="left", series="end of training"),
        final[final.corpus != TEST].assign(panel="right", series="end of training"),
        largest[largest.corpus != TEST].assign(panel="right", series="during training"),
    ]
    columns = ["panel", "series", "run", "N", "step", "corpus", "test_loss", "loss"]
    return figure, pd.concat(drawn, ignore_index=True)[columns]


def _progress_axes(panel: Axes) -> None:
    """Let both losses fall to the right and upwards, as in the paper."""
    for which in "xy":
        style.loss_axis(panel, which)
    panel.invert_xaxis()
    panel.invert_yaxis()
