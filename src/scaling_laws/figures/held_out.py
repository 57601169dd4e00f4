"""What the smaller runs foretell of the largest."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: x is the loss, y the place of the form."""
    table = inputs.table("tables/held_out.csv")
    for row in table[table.predicted.isna()].to_dict(orient="records"):
        inputs.note(f"{row['form']}: {row['why']}")
    table = table[table.predicted.notna()]
    laws = list(dict.fromkeys(table.law))
    rows = max((len(table[table.law == law]) for law in laws), default=1)
    canvas = Canvas(*(laws or ["none"]), rows=max(len(laws), 1), width=6.6, height=0.8 + 0.3 * rows)
    if not laws:
        inputs.note("no law of single runs is fitted, so nothing is held out")
        canvas.panels[0].say("no law of single runs")
    for panel, law in zip(canvas.panels, laws, strict=False):
        forms = table[table.law == law].reset_index(drop=True)
        for place, form in enumerate(forms.itertuples()):
            color = style.CATEGORIES[0 if form.status == "converged" else 7]
            panel.axes.plot([form.low, form.high], [place] * 2, color=color, lw=1.4)
            panel.keep(str(form.form), [form.predicted], [place], low=[form.low], high=[form.high])
            panel.axes.plot(form.predicted, place, "o", color=color)
        panel.axes.axvline(forms.observed.iloc[0], color=style.CATEGORIES[3], lw=1.2, ls="--")
        panel.finish(style.LOSS, "", scales=("linear", "linear"), title=law, legend=None)
        names = [_name(form) for form in forms.form]
        panel.axes.set_yticks(range(len(names)), names)
        panel.axes.set_ylim(len(names) - 0.5, -0.5)
        beside = panel.axes.secondary_yaxis("right")
        beside.set_yticks(range(len(names)), [f"{error:.1f} % off" for error in forms.error])
        beside.tick_params(length=0)
    return canvas.drawn()


def _name(form: str) -> str:
    """Return the right side of a form, and what sets it apart, such as N with embeddings."""
    equation, *apart = (form.partition(" = ")[2] or form).split(", ")
    return ", ".join([style.formula(equation), *apart])
