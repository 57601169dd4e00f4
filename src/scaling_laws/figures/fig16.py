"""Figure 16: when to stop early, and how train and test loss part."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, Panel
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.efficient import steps_min
from scaling_laws.laws.forms import LAWS


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points."""
    runs = inputs.runs("data_size")
    norm = style.norm_of(runs.D)
    canvas = Canvas("stopping", "curves")
    left, right = canvas.panels
    _bound(left, inputs, runs, norm)
    x = r"$S_c\,[L(N,D)-L(N,\infty)]^{-1/\alpha_S}$"
    left.finish(
        x, r"Step of the least loss, $S_\mathrm{stop}$", scales=("log", "log"), legend="upper left"
    )
    _curves(right, inputs, runs, norm)
    right.finish("Step", "Loss (nats per token)", legend="upper right")
    canvas.colorbar(norm, "Tokens in data set")
    return canvas.drawn()


def _bound(panel: Panel, inputs: Inputs, runs: pd.DataFrame, norm: LogNorm) -> None:
    """Draw the steps of the least loss against the bound of eq. 5.7."""
    fits = inputs.fits("L_ND", "L_NS", "B_crit")
    if fits is None:
        return panel.say(inputs.lack("L_ND", "L_NS", "B_crit"))
    joint, steps, critical = fits
    stopped = runs[runs.outcome == "early_stopped"]
    endless = (joint.constants["N_c"] / stopped.N) ** joint.constants["alpha_N"]
    above = stopped.best_test_loss - endless
    batch = critical.law(critical.constants, L=stopped.best_test_loss.to_numpy(dtype=float))
    stop = steps_min(stopped.best_step, stopped.B, batch)
    there = (above > 0).to_numpy() & (stop > 0)
    if not there.any():
        inputs.note("no run of the study data_size was stopped early above L(N, infinity)")
        return panel.say("no run stopped early")
    bound = LAWS["S_stop"](
        {name: steps.constants[name] for name in ("alpha_S", "S_c")}, dL=above[there].to_numpy()
    )
    rows = stopped[there]
    for place in range(len(rows)):
        row = rows.iloc[place]
        panel.draw(
            "runs",
            [bound[place]],
            [stop[there][place]],
            "o",
            run=row.run,
            N=row.N,
            color=style.SIZES(norm(row.D)),
        )
    ends = np.array([min(bound.min(), stop[there].min()), max(bound.max(), stop[there].max())])
    panel.draw(
        "bound", ends, ends, "-", color=style.CATEGORIES[3], lw=1.2, label="bound of eq. 5.7"
    )
    return None


def _curves(panel: Panel, inputs: Inputs, runs: pd.DataFrame, norm: LogNorm) -> None:
    """Draw train and test loss of the largest model, and their gap where the test loss is least."""
    curves = inputs.curves("data_size", also=["train_loss"])
    largest = runs[runs.N.max() == runs.N]
    for place, run in enumerate(largest.sort_values("D").itertuples()):
        curve = curves[curves.run == run.run]
        color = style.SIZES(norm(run.D))
        panel.draw(
            "test",
            curve.step,
            curve.test_loss,
            "-",
            run=run.run,
            N=run.N,
            color=color,
            lw=1.2,
            label=None if place else "test",
        )
        train = curve[curve.train_loss.notna()]
        panel.draw(
            "train",
            train.step,
            train.train_loss,
            "--",
            run=run.run,
            N=run.N,
            color=color,
            label=None if place else "train",
        )
        at = train[train.step == run.best_step]
        if len(at):
            row = at.iloc[0]
            # In its colour, and narrower from run to run, so that bars at one step are all seen.
            ends = [row.train_loss, row.test_loss]
            width = 4 * (1 - place / len(largest)) + 1
            panel.axes.plot([row.step] * 2, ends, color=color, lw=width, solid_capstyle="butt")
