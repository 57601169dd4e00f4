"""How all figures look: theme, colours of model sizes, axes of losses and of log quantities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from scaling_laws.laws.forms import get_law

PANEL_WIDTH, PANEL_HEIGHT = 4.0, 3.4
# Without its lightest end, which is faint on white.
SIZES = LinearSegmentedColormap.from_list("sizes", mpl.colormaps["viridis"](np.linspace(0, 0.9)))
CATEGORIES = sns.color_palette("colorblind")
MARKERS = "osD^vPX"
FIT = {"linestyle": "--", "linewidth": 1.5, "color": CATEGORIES[3], "zorder": 4}
PARAMETERS = "Parameters (non-embedding)"
LOSS = "Test loss (nats per token)"
LOSS_STEPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def theme() -> None:
    """Set the theme; SVG files hold their letters as shapes and are the same in every run."""
    sns.set_theme(
        context="paper",
        style="ticks",
        rc={
            "axes.grid": True,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "grid.color": "0.92",
            "legend.frameon": True,
            "legend.framealpha": 0.9,
            "legend.edgecolor": "0.8",
            "savefig.dpi": 200,
            "svg.fonttype": "path",
            "svg.hashsalt": "scaling-laws",
        },
    )


def panels(count: int, *, width: float = PANEL_WIDTH, sharey: bool = False) -> tuple[Figure, Any]:
    """Return a figure of `count` panels beside each other, and the array of their axes."""
    figure = Figure(figsize=(width * count, PANEL_HEIGHT))
    axes = figure.subplots(1, count, sharey=sharey, squeeze=False)[0]
    return figure, axes


def size_norm(sizes: Iterable[float]) -> LogNorm:
    """Return the log scale of colours that spans `sizes`, numbers of parameters."""
    values = list(sizes)
    low, high = min(values), max(values)
    return LogNorm(low, high) if low < high else LogNorm(low / 2, high * 2)


def size_colorbar(figure: Figure, axes: Any, norm: LogNorm) -> None:
    """Put the colour bar of model sizes right of `axes`."""
    bar = figure.colorbar(ScalarMappable(norm, SIZES), ax=axes, pad=0.02, aspect=25)
    bar.set_label(PARAMETERS)
    bar.outline.set_visible(False)


def log_axis(axis: Any) -> None:
    """Make an x or y axis logarithmic, a label each decade and a tick at each of 2 to 9."""
    axis._set_axes_scale("log")
    axis.set_major_locator(LogLocator(10, numticks=12))
    axis.set_minor_locator(LogLocator(10, subs=range(2, 10), numticks=12))
    axis.set_minor_formatter(NullFormatter())


def loss_axis(axes: Axes, which: str = "y", step: float | None = None) -> None:
    """Make an axis of losses logarithmic with plain numbers at even steps.

    Call it when everything is drawn, because the steps follow from the limits.
    """
    axis = getattr(axes, f"{which}axis")
    low, high = sorted(axis.get_view_interval())
    low, high = max(low, 1e-3), max(high, 2e-3)
    if step is None:
        step = next((s for s in LOSS_STEPS if (high - low) / s <= 8), LOSS_STEPS[-1])
    decimals = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
    ticks = step * np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low, high)
    axis.set_major_locator(FixedLocator(ticks[ticks > 0].tolist()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{decimals}f}"))
    axis.set_minor_locator(NullLocator())


def fit_label(fit: Mapping[str, Any]) -> str:
    """Return a fitted power law as in the paper's legends, such as L = (N/8.8e13)^-0.076.

    A fit that the runs do not determine says so.
    """
    doubt = "" if fit["status"] == "converged" else f"\n({fit['status'].replace('_', ' ')})"
    law = get_law(fit["law"])
    (variable,) = law.variables
    exponent, scale = (fit["parameters"][name]["value"] for name in law.parameters)
    power = rf"^{{\,{-exponent:.3f}}}"
    if scale is None:
        return rf"$L \propto {variable}{power}$" + doubt
    return rf"$L = ({variable}\,/\,{_scientific(scale)}){power}$" + doubt


def _scientific(value: float) -> str:
    if 0.1 <= value < 1e4:
        return f"{value:#.2g}".rstrip(".")
    mantissa, exponent = f"{value:.1e}".split("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}"
