"""Figure 9: the data bottleneck, and that overfitting depends on one combination of N and D."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, groups
from scaling_laws.figures.inputs import Inputs


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points; the right panel's y is L(N, D) / L(N, largest D) - 1."""
    points = inputs.points("L_ND")
    fit = inputs.fit("L_ND")
    norm = style.norm_of(points.D)
    canvas = Canvas("size", "collapse")
    left, right = canvas.panels
    for place, (D, group) in enumerate(groups(points, "D")):
        color = style.SIZES(norm(D))
        label = None if place else "runs"
        left.draw(f"D = {D:.0f}", group.N, group.loss, "o", of=group, color=color, label=label)
        if fit and group.N.nunique() > 1:
            ends = (group.N.min(), group.N.max())
            left.fit(
                fit,
                "N",
                ends,
                at={"D": D},
                series=f"fit at D = {D:.0f}",
                color=color,
                label=None,
                band=False,
            )
    left.finish(style.PARAMETERS, style.LOSS, legend="lower left")
    if fit is None:
        right.say(inputs.lack("L_ND"))
    else:
        power = fit.constants["alpha_N"] / fit.constants["alpha_D"]
        for N, group in groups(points, "N"):
            most = group.D.max()
            if group.D.nunique() < 2:
                continue
            endless = group.loss[most == group.D].mean()
            rest = group[most > group.D]
            x, y = N**power / rest.D, rest.loss / endless - 1
            right.keep(f"N = {N:.0f}", x, y, run=rest.run, N=rest.N)
            right.axes.scatter(x, y, c=rest.D, norm=norm, cmap=style.SIZES, s=18, zorder=3)
        if right.rows:
            x = np.concatenate([rows.x for rows in right.rows])
            x = np.geomspace(x.min(), x.max(), 100)
            c = fit.constants
            # Equation 4.3 in x = N^(alpha_N / alpha_D) / D.
            y = (1 + x * c["D_c"] / c["N_c"] ** power) ** c["alpha_D"] - 1
            right.draw("eq. 4.3", x, y, label="eq. 4.3 with this fit", **style.FIT)
        else:
            right.say("needs two sizes of data of one model")
    right.finish(
        r"$N^{\alpha_N/\alpha_D}/D$",
        r"$L(N,D)\,/\,L(N,\infty)-1$",
        scales=("log", "linear"),
        legend="upper left",
    )
    canvas.colorbar(norm, "Tokens in data set")
    return canvas.drawn()
