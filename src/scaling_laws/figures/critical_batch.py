"""The critical batch by hyperbolae, by the extra tokens of a batch, and by the noise scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.batch import scans_of

EXTRA = 0.2  # tokens over the least
FAR = 4  # times the smallest batch, at which its tokens are the least within a few percent


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    content = inputs.content("B_crit") or {"points": []}
    points = pd.DataFrame(content["points"])
    canvas = Canvas("critical batch", width=4.8, height=3.2)
    (panel,) = canvas.panels
    noise = pd.DataFrame((content.get("noise_scale") or {}).get("points", []))
    if noise.empty:
        inputs.note("no run measured the gradient noise scale; training.micro_batches does")
    else:
        panel.draw(
            "noise scale",
            noise.L,
            noise.B_crit,
            "^",
            of=noise,
            ms=3,
            color="0.6",
            label="gradient noise scale",
        )
    panel.draw(
        "hyperbola",
        points.L,
        points.B_crit,
        "o",
        N=points.N,
        color=style.CATEGORIES[0],
        label=r"hyperbola, $E_\mathrm{min}/S_\mathrm{min}$",
    )
    scans, _ = scans_of(inputs.runs("batch_size"), inputs.curves("batch_size"))
    label: str | None = f"tokens {100 * EXTRA:.0f} % over the least, over {EXTRA}"
    for scan in scans:
        levels = scan.levels()
        steps = scan.steps(levels, np.zeros((1, len(scan.run))))[0]
        batch = scan.cheap(steps, EXTRA) / EXTRA
        # Where the smallest batch is not far below, its tokens are not the least there can be.
        there = batch * EXTRA > FAR * scan.B.min()
        panel.draw(
            "extra tokens",
            np.exp(levels)[there],
            batch[there],
            "s",
            N=scan.N,
            color=style.CATEGORIES[2],
            label=label,
        )
        label = None if there.any() else label
    if label:
        inputs.note(
            f"no scan has a batch of {FAR} times its smallest at {100 * EXTRA:.0f} % more tokens, "
            "so the second way is not drawn"
        )
    panel.finish(style.LOSS, "Critical batch size (tokens)", scales=("loss", "log"))
    panel.axes.invert_xaxis()
    return canvas.drawn()
