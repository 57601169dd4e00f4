"""Figure 1: loss against compute, data set size and model size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.forms import LAWS


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    canvas = Canvas("compute", "data", "size")
    compute, data, size = canvas.panels
    _compute(compute, inputs)
    _sizes(data, inputs, "L_D", "D", "data_size")
    _sizes(size, inputs, "L_N", "N", "model_size")
    data.finish("Data set size (tokens)", "", legend="lower left")
    size.finish(style.PARAMETERS, "", legend="lower left")
    return canvas.drawn()


def _compute(panel: Panel, inputs: Inputs) -> None:
    """Draw learning curves against C_min where B_crit(L) is known, as the paper does, else C."""
    adjusted = inputs.fits("B_crit", "L_C_min")
    law = "L_C_min" if adjusted else "L_C"
    if not adjusted:
        inputs.note("so the left panel of figure 1 shows compute at the fixed batch, C")
    found = inputs.tracks("model_size")
    norm = style.norm_of(track.N for track in found)
    for place, track in enumerate(found):
        critical = adjusted[0].law(adjusted[0].constants, L=track.loss) if adjusted else None
        panel.draw(
            "learning curve",
            np.exp(track.log_C(critical)),
            track.loss,
            run=track.run,
            N=track.N,
            color=style.SIZES(norm(track.N)),
            lw=0.7,
            label=None if place else "learning curves",
        )
    variable = next(iter(LAWS[law].variables))
    points = inputs.points(law)
    panel.draw(
        "frontier",
        points[variable],
        points.loss,
        "o",
        of=points,
        ms=2.2,
        color="black",
        zorder=3,
        label="frontier",
    )
    if fit := inputs.fit(law):
        ends = fit.content["range"][variable]
        panel.fit(fit, variable, ends)
        panel.paper_law(fit, ends)
    x = "Compute at small batches, C_min (PF-days)" if adjusted else style.COMPUTE
    panel.finish(x.replace("C_min", r"$C_\mathrm{min}$"), style.LOSS, legend="lower left")


def _sizes(panel: Panel, inputs: Inputs, law: str, variable: str, study: str) -> None:
    """Draw the runs that a law is fitted to, and those of its study that it leaves out."""
    content = inputs.content(law)
    if content is None:
        return panel.say(f"{LAWS[law].symbol} is off")
    points = pd.DataFrame(content["points"])
    panel.draw(
        "fitted",
        points[variable],
        points.loss,
        "o",
        of=points,
        color=style.CATEGORIES[0],
        zorder=3,
        label="runs",
    )
    runs = inputs.runs(study)
    runs = runs[runs.run.isin(row["run"] for row in content["excluded"])]
    panel.draw(
        "left out",
        runs[variable],
        runs[LAWS[law].loss],
        "o",
        of=runs,
        mfc="white",
        mec="0.5",
        zorder=2,
        label="left out of the fit",
    )
    if fit := inputs.fit(law):
        panel.fit(fit, variable, fit.content["range"][variable])
        panel.paper_law(fit, fit.content["range"][variable])
    return None
