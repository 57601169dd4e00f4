"""Figure 18: steps and tokens to each loss, over batches, with the hyperbolae of eq. 5.1."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.batch import FEWEST_BATCHES, scans_of

LEVELS = 6


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    scans, _ = scans_of(inputs.runs("batch_size"), inputs.curves("batch_size"))
    if not scans:
        inputs.note(f"no model of the study batch_size has {FEWEST_BATCHES} batches or more")
        canvas = Canvas("no scan", width=4)
        canvas.panels[0].say(f"needs one model at {FEWEST_BATCHES} batches or more")
        canvas.panels[0].finish("Step", "Tokens processed", scales=("log", "log"))
        return canvas.drawn()
    levels = [scan.levels(LEVELS) for scan in scans]
    losses = np.exp(np.concatenate(levels))
    norm = style.norm_of(losses)
    canvas = Canvas(*(f"N = {scan.N}" for scan in scans))
    label: tuple[str | None, str | None] = ("runs", "hyperbola, eq. 5.1")
    for place, (panel, scan, heights) in enumerate(zip(canvas.panels, scans, levels, strict=True)):
        steps = scan.steps(heights, np.zeros((1, len(scan.run))))
        least, fewest = scan.hyperbolae(steps, np.ones((1, len(scan.run)), dtype=bool))
        best, batches = scan.best(steps)[0], np.unique(scan.B)
        for level, S, S_min, E_min in zip(heights, best.T, least[0], fewest[0], strict=True):
            color = style.SIZES(norm(np.exp(level)))
            there = np.isfinite(S)
            panel.draw(
                f"loss {np.exp(level):.3f}",
                S[there],
                (batches * S)[there],
                "o",
                N=scan.N,
                color=color,
                label=label[0],
            )
            if np.isfinite(S_min):
                B = np.geomspace(batches.min() / 4, batches.max() * 4, 100)
                along = S_min + E_min / B
                panel.draw(
                    f"hyperbola at {np.exp(level):.3f}",
                    along,
                    B * along,
                    "--",
                    N=scan.N,
                    color=color,
                    label=label[1],
                )
                label = (None, None)
        panel.finish(
            "Step",
            "" if place else "Tokens processed",
            scales=("log", "log"),
            title=f"{style.plain(scan.N)} parameters",
        )
    canvas.colorbar(norm, style.LOSS)
    return canvas.drawn()
