"""From links to documents: what each stage kept, and why it dropped the rest."""

from __future__ import annotations

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, TextArea
from matplotlib.patches import Rectangle

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs

STAGES = {
    "links": "submissions, kept: pages",
    "crawl": "pages",
    "extract": "documents",
    "dedup": "documents",
    "split": "documents",
}
REASONS = 3  # named in a bar's legend; the rest are summed


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: y is the stage, x the count up to the end of a part."""
    table = inputs.table("tables/flow.csv").fillna({"reason": ""})
    canvas = Canvas("stages", width=7.2, height=3.0)
    (panel,) = canvas.panels
    shown: list[str] = []
    for place, (stage, unit) in enumerate(STAGES.items()):
        rows = table[(table.stage == stage) & (table.stage != "tokens")]
        parts = [("kept", int(rows["count"][rows.outcome == "kept"].sum()), style.CATEGORIES[0])]
        held = int(rows["count"][rows.outcome == "held out"].sum())
        parts += [("held out", held, style.CATEGORIES[2])] if held else []
        lost = rows[rows.outcome == "dropped"].groupby("reason")["count"].sum()
        lost = lost.sort_values(ascending=False)
        greys = ("0.6", "0.72", "0.82", "0.9")  # lighter than what is kept, in grey print too
        named = list(lost.items())[:REASONS]
        rest = int(lost.iloc[REASONS:].sum())
        parts += [(str(why), int(n), grey) for (why, n), grey in zip(named, greys, strict=False)]
        parts += [("other reasons", rest, greys[-1])] if rest else []
        total, left = sum(count for _, count, _ in parts), 0.0
        for name, count, color in parts:
            share = 100 * count / max(total, 1)
            panel.axes.barh(place, share, left=left, color=color, height=0.62, ec="white", lw=0.6)
            panel.keep(f"{stage}: {name}", [left + share], [place], low=[count])
            left += share
        shown.append(f"{stage} ({unit})")
        key = AnnotationBbox(
            _key(parts), (0, place - 0.34), box_alignment=(0, 0), frameon=False, pad=0
        )
        panel.axes.add_artist(key)
    panel.finish("Share of what the stage read (%)", "", scales=("linear", "linear"), legend=None)
    panel.axes.set_yticks(range(len(shown)), shown)
    panel.axes.set_ylim(len(shown) - 0.4, -0.75)
    panel.axes.set_xlim(0, 100)
    panel.axes.grid(visible=False, axis="y")
    return canvas.drawn()


def _key(parts: list[tuple[str, int, str]]) -> HPacker:
    """Return the parts of a bar in words, each behind a square of its colour."""
    entries: list[Artist] = []
    for name, count, color in parts:
        square = DrawingArea(6, 6)
        square.add_artist(Rectangle((0, 0), 6, 6, color=color, lw=0))
        words = TextArea(f"{name.replace('_', ' ')} {count:,}", textprops={"size": 7})
        entries.append(HPacker(children=[square, words], pad=0, sep=3, align="center"))
    return HPacker(children=entries, pad=0, sep=9, align="center")
