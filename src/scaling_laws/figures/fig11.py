"""Figure 11: loss against size at fixed compute, and at fixed steps."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.curves import Track, slices
from scaling_laws.laws.efficient import Efficient
from scaling_laws.models.counts import FLOP_PER_PF_DAY

SLICES = 7
Of = Literal["compute", "steps"]


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    found = inputs.tracks("model_size")
    fits = inputs.fits("L_NS", "B_crit")
    law = Efficient.of(fits[0].constants, fits[1].constants) if fits else None
    if law is None:
        inputs.note("so figure 11 has no fitted lines")
    canvas = Canvas("compute", "steps", width=3.4)
    _slices(canvas.panels[0], found, law, "compute")
    _slices(canvas.panels[1], found, law, "steps")
    canvas.panels[0].finish(style.PARAMETERS, style.LOSS)
    canvas.panels[1].finish(style.PARAMETERS, style.LOSS)
    return canvas.drawn()


def _slices(panel: Panel, found: list[Track], law: Efficient | None, of: Of) -> None:
    """Draw the losses of all sizes at some steps or compute, and what eq. 5.6 gives for these."""
    ends = [(getattr(track, of)[0], getattr(track, of)[-1]) for track in found]
    low, high = max(min(first for first, _ in ends), 1e-300), max(last for _, last in ends)
    amounts = np.geomspace(low, high, SLICES + 2)[1:-1]
    norm = style.norm_of(amounts)
    table = pd.DataFrame(slices(found, amounts, of)).assign(N=[track.N for track in found])
    means = table.groupby("N").mean()
    B = float(np.median([track.B for track in found]))
    for column, amount in enumerate(amounts):
        losses = means[column].dropna()
        if len(losses) < 2:
            continue
        color = style.SIZES(norm(amount))
        panel.draw(
            f"{of} = {amount:.3g}", losses.index, losses, "o", N=losses.index, color=color, ms=3.5
        )
        if law:
            N = np.geomspace(losses.index.min(), losses.index.max(), 60)
            steps = amount if of == "steps" else amount * FLOP_PER_PF_DAY / (6 * N * B)
            panel.draw(
                f"fit at {of} = {amount:.3g}",
                N,
                law.loss_after(N, B, steps),
                "--",
                N=N,
                color=color,
            )
    label = "Compute (PF-days)" if of == "compute" else "Steps"
    style.colorbar(panel.axes.figure, panel.axes, norm, label)
