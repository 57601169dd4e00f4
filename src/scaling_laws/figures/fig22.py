"""Figure 22: learning rate schedules, and that the sum of the rates matters more."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.errors import InputError
from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, groups
from scaling_laws.figures.inputs import Inputs


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    runs = inputs.runs("schedule")
    if "lr_sum" not in runs:
        raise InputError(
            f"{inputs.results / 'tables/schedule/runs.parquet'}: no column lr_sum; gather the runs "
            "again with `scaling-laws collect`"
        )
    curves = inputs.curves("schedule")
    canvas = Canvas("rate", "loss")
    left, right = canvas.panels
    for place, (schedule, group) in enumerate(groups(runs, "schedule")):
        color = style.CATEGORIES[place % 8]
        label: str | None = str(schedule).replace("_", " ").replace("sqrt", "square root")
        for run in group.run:
            curve = curves[curves.run == run]
            left.draw(
                str(schedule),
                curve.step,
                curve.lr,
                run=run,
                N=group.N.iloc[0],
                color=color,
                ls=style.LINES[place % 8],
            )
        right.draw(
            str(schedule),
            group.lr_sum,
            group.test_loss,
            style.MARKERS[place % 8],
            of=group,
            color=color,
            ms=5,
            label=label,
        )
    left.finish("Step", "Learning rate", scales=("linear", "linear"))
    right.finish("Learning rate, summed over steps", style.LOSS, scales=("log", "loss"))
    return canvas.drawn()
