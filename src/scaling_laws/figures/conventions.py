"""The exponent of the best size under every convention."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.fitted import IDENTIFIED

SHORT = {
    "without embeddings": "N",
    "all parameters": "N with embeddings",
    "6 N a token": "6 N D",
    "attention and head as well": "all FLOP",
}


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: x is the exponent, y the place of the convention."""
    table = inputs.table("tables/conventions.csv")
    known = table.status.isin([*IDENTIFIED, "published"]) & table.exponent.notna()
    for row in table[~known].to_dict(orient="records"):
        why = row["why"] if isinstance(row["why"], str) else row["status"].replace("_", " ")
        inputs.note(f"no exponent for {_name(row)}: {why}")
    rows = table[known].reset_index(drop=True)
    canvas = Canvas("exponents", width=6.6, height=1.0 + 0.24 * max(len(rows), 3))
    (panel,) = canvas.panels
    names = []
    for place, row in enumerate(rows.to_dict(orient="records")):
        published = row["status"] == "published"
        color = style.CATEGORIES[1 if published else 0]
        name = _name(row)
        names.append(name)
        panel.axes.plot(row["exponent"], place, "D" if published else "o", color=color)
        if row["low"] == row["low"]:
            panel.axes.plot([row["low"], row["high"]], [place] * 2, color=color, lw=1.4)
        panel.keep(name, [row["exponent"]], [place], low=[row["low"]], high=[row["high"]])
    panel.finish(
        r"Exponent of the best size, $N_\mathrm{opt} \propto C^{\,a}$",
        "",
        scales=("linear", "linear"),
        legend=None,
    )
    panel.axes.set_yticks(range(len(names)), names, fontsize=7.5)
    panel.axes.set_ylim(len(names) - 0.5, -0.5)
    return canvas.drawn()


def _name(row: Mapping[Hashable, Any]) -> str:
    parts = (row["how"], SHORT.get(row["count"]), SHORT.get(row["flop"]))
    return ", ".join(part for part in parts if isinstance(part, str))
