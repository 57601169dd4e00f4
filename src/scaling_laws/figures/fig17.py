"""Figure 17: Transformers that use their blocks again."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, groups
from scaling_laws.figures.inputs import Inputs

PANELS = {"with reuse": "Parameters, reuse counted (non-embedding)", "once": style.PARAMETERS}


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    plain = inputs.runs("model_size")
    again = inputs.runs("universal")
    again = again[again.architecture == "universal"]
    inputs.same_tokens(pd.concat([plain, again]), ["Universal Transformers", "plain ones"])
    means = plain[plain.architecture == "transformer"].groupby("N").test_loss.mean()
    canvas = Canvas(*PANELS)
    for panel, (name, label) in zip(canvas.panels, PANELS.items(), strict=True):
        panel.draw(
            "no reuse",
            means.index,
            means,
            "-o",
            N=means.index,
            color=style.CATEGORIES[0],
            label="no reuse",
        )
        for place, (reuse, group) in enumerate(groups(again, "reuse"), start=1):
            x = group.N * (reuse if name == "with reuse" else 1)
            panel.draw(
                f"{reuse}x reuse",
                x,
                group.test_loss,
                f"-{style.MARKERS[place % 8]}",
                of=group,
                color=style.CATEGORIES[place % 8],
                label=f"{reuse}x reuse",
            )
        panel.finish(label, style.LOSS if name == "with reuse" else "", legend="lower left")
    return canvas.drawn()
