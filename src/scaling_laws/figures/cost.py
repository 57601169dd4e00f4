"""What the studies of a plan cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs
from scaling_laws.models.counts import FLOP_PER_PF_DAY


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: x is compute up to the end of a part, y the study."""
    plan = inputs.table("plan/runs.tsv")
    rows = [
        {"study": study, "run": run, "N": N, "C": C / len(studies.split(",")) / FLOP_PER_PF_DAY}
        for run, studies, N, C in zip(plan.run, plan.study, plan.N, plan.C_full, strict=True)
        for study in studies.split(",")
    ]
    table = pd.DataFrame(rows)
    totals = table.groupby("study").C.sum().sort_values(ascending=False)
    least = table.N[table.N > 0].min()
    norm = style.norm_of(table.N.clip(least))
    canvas = Canvas("studies", width=6.0, height=0.9 + 0.26 * len(totals))
    (panel,) = canvas.panels
    for place, study in enumerate(totals.index):
        of_study = table[table.study == study].groupby("N").C.sum()
        ends = np.cumsum(of_study.to_numpy())
        starts = np.r_[0.0, ends[:-1]]
        colors = [style.SIZES(norm(max(N, least))) for N in of_study.index]
        panel.axes.barh(place, ends - starts, left=starts, color=colors, height=0.7, lw=0)
        panel.keep(study, ends, np.full(len(ends), place), N=of_study.index, low=starts, high=ends)
    panel.finish(
        "Training compute (PF-days, attention and head counted)",
        "",
        scales=("linear", "linear"),
        legend=None,
    )
    panel.axes.xaxis.set_major_locator(MaxNLocator(4))
    panel.axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.mathematical(value)))
    counts = table.groupby("study").run.nunique()
    names = [
        f"{study.replace('_', ' ')} ({counts[study]} run{'s' if counts[study] > 1 else ''})"
        for study in totals.index
    ]
    panel.axes.set_yticks(range(len(names)), names)
    panel.axes.set_ylim(len(names) - 0.4, -0.6)
    panel.axes.grid(visible=False, axis="y")
    canvas.colorbar(norm)
    return canvas.drawn()
