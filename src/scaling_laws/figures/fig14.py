"""Figure 14: the best size, and the steps that go with it, against compute."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.inputs import Inputs
from scaling_laws.models.counts import FLOP_PER_PF_DAY

FIXED, ADJUSTED = style.CATEGORIES[1], style.CATEGORIES[0]


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    canvas = Canvas("size", "steps")
    size, steps = canvas.panels
    known = inputs.fit("B_crit") is not None
    if not known:
        inputs.note("so what follows from C_min is not drawn")
    fixed = inputs.points("N_C")
    if not fixed.empty:
        size.draw(
            "fixed batch",
            fixed.C,
            fixed.N_opt,
            "s",
            run=fixed.run,
            N=fixed.N_opt,
            ms=3,
            color=FIXED,
            label="fixed batch, C",
        )
        B = inputs.runs("model_size").B.median()
        serial = fixed.C * FLOP_PER_PF_DAY / (6 * fixed.N_opt * B)
        steps.draw(
            "fixed batch",
            fixed.C,
            serial,
            "s",
            run=fixed.run,
            N=fixed.N_opt,
            ms=3,
            color=FIXED,
            label="S, fixed batch",
        )
    if fit := inputs.fit("N_C"):
        size.fit(fit, "C", fit.content["range"]["C"], series="fit of N_C", color=FIXED)
        size.paper_law(fit, fit.content["range"]["C"])
    best = inputs.points("N_opt") if known else pd.DataFrame()
    if not best.empty:
        size.draw(
            "small batches",
            best.C_min,
            best.N_opt,
            "o",
            run=best.run,
            N=best.N_opt,
            ms=3,
            color=ADJUSTED,
            label=r"small batches, $C_\mathrm{min}$",
        )
    if known and (fit := inputs.fit("N_opt")):
        size.fit(fit, "C_min", fit.content["range"]["C_min"], series="fit of N_opt", color=ADJUSTED)
        size.paper_law(fit, fit.content["range"]["C_min"])
    least = inputs.points("S_opt") if known else pd.DataFrame()
    if not least.empty:
        steps.draw(
            "small batches",
            least.C_min,
            least.S_opt,
            "o",
            run=least.run,
            ms=3,
            color=ADJUSTED,
            label=r"$S_\mathrm{min}$, adjusted",
        )
    if known and (fit := inputs.fit("S_opt")):
        steps.fit(
            fit, "C_min", fit.content["range"]["C_min"], series="fit of S_opt", color=ADJUSTED
        )
        steps.paper_law(fit, fit.content["range"]["C_min"])
    size.finish(style.COMPUTE, style.PARAMETERS, scales=("log", "log"), legend="upper left")
    steps.finish(style.COMPUTE, "Steps", scales=("log", "linear"), legend="best")
    return canvas.drawn()
