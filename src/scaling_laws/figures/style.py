"""How all figures look: theme, colours of model sizes, axes of losses and of log quantities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from scaling_laws.laws.forms import Law
from scaling_laws.laws.powers import PowerSum

# Panels are small and letters large, so that a figure can stand in a column of print.
PANEL_WIDTH, PANEL_HEIGHT = 2.9, 2.7
# Without its lightest end, which is faint on white; its lightness falls evenly, in grey too.
SIZES = LinearSegmentedColormap.from_list("sizes", mpl.colormaps["viridis"](np.linspace(0, 0.9)))
CATEGORIES = [
    color for place, color in enumerate(sns.color_palette("colorblind")) if place not in (6, 8)
]  # without its pale pink and yellow
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)), (0, (3, 3)))
FIT: dict[str, Any] = {"linestyle": "--", "linewidth": 1.4, "color": CATEGORIES[3], "zorder": 4}
PAPER: dict[str, Any] = {"linestyle": (0, (2, 2)), "linewidth": 0.9, "color": "0.35", "zorder": 3}
COMMANDS = ("alpha", "beta", "ln")  # of mathematical text
PARAMETERS = "Parameters (non-embedding)"
COMPUTE = "Compute (PF-days, non-embedding)"
LOSS = "Test loss (nats per token)"
LOSS_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SHADE = 0.18  # of an interval
SHORT = 0.7  # decades, in which labels at 1, 2 and 5 would be two or fewer


def theme() -> None:
    """Set the theme; SVG files hold their letters as shapes and are the same in every run."""
    sns.set_theme(
        context="paper",
        style="ticks",
        rc={
            "axes.grid": True,
            "axes.titlesize": 8.5,
            "axes.labelsize": 8.5,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 7.5,
            "legend.title_fontsize": 7.5,
            "legend.handlelength": 1.8,
            "legend.borderpad": 0.35,
            "legend.labelspacing": 0.3,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.w_pad": 0.06,
            "figure.constrained_layout.h_pad": 0.06,
            "figure.dpi": 200,  # of the layout too: at fewer, letters are rounded to pixels
            "grid.color": "0.92",
            "lines.linewidth": 1.0,
            "lines.markersize": 4.2,
            "legend.frameon": True,
            "legend.framealpha": 0.9,
            "legend.edgecolor": "0.8",
            "savefig.dpi": 200,
            "svg.fonttype": "path",
            "svg.hashsalt": "scaling-laws",
        },
    )


def norm_of(values: Iterable[float]) -> LogNorm:
    """Return the log scale of colours that spans `values`, such as numbers of parameters."""
    found = [float(value) for value in values]
    low, high = (min(found), max(found)) if found else (1.0, 10.0)
    return LogNorm(low, high) if low < high else LogNorm(low / 2, high * 2)


def colorbar(figure: Any, axes: Any, norm: LogNorm, label: str = PARAMETERS) -> None:
    """Put a colour bar right of `axes`; it has a label where it spans less than a decade, too."""
    bar = figure.colorbar(ScalarMappable(norm, SIZES), ax=axes, pad=0.02, aspect=25)
    bar.set_label(label)
    bar.outline.set_visible(False)
    log_axis(bar.ax, "y")


def log_axis(axes: Axes, which: str) -> None:
    """Make an axis logarithmic: a label each decade, at 1, 2 and 5, or at even steps if short.

    Call it when everything is drawn, because the labels follow from the limits.
    """
    axis = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}scale")("log")
    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low) if low > 0 else 12
    if decades < SHORT:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
        return
    # Of short ranges a label each decade may be none at all.
    subs: Sequence[float] = (1.0,)
    for most, labels in ((2, (1.0, 3.0)), (1.2, (1.0, 2.0, 5.0))):
        subs = labels if decades <= most else subs
    # Labels stand beside each other on x, and above each other on y.
    axis.set_major_locator(LogLocator(10, subs=subs, numticks=7 if which == "x" else 12))
    axis.set_minor_locator(LogLocator(10, subs=range(2, 10), numticks=12))
    axis.set_minor_formatter(NullFormatter())
    if decades <= 2:
        axis.set_major_formatter(FuncFormatter(lambda value, _: mathematical(value)))


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


def law_label(law: Law, constants: Mapping[str, float]) -> str:
    """Return a law as in the paper's legends, such as L = (N/8.8e13)^-0.076.

    Laws of more than one variable or term are called by their symbol.
    """
    if len(law.variables) > 1 or len(law.parameters) != 2 or len(law.powers) != 1:
        return law.symbol
    (variable,) = law.variables
    (power,) = law.powers
    scale = next(value for name, value in constants.items() if name != power)
    left = _math(law.response[0])
    exponent = constants[power]
    if isinstance(law.structure, PowerSum) and power in law.structure.inverse:
        return rf"${left} = {scientific(scale)}\,/\,{variable}^{{\,{1 / exponent:.2g}}}$"
    if law.of_loss:
        return rf"${left} = ({_math(variable)}\,/\,{scientific(scale)})^{{\,{-exponent:.3f}}}$"
    return rf"${left} = {scientific(scale)}\;{_math(variable)}^{{\,{exponent:.2f}}}$"


def scientific(value: float) -> str:
    """Return a number for mathematical text, such as 8.8 times 10 to the 13."""
    if 0.1 <= value < 1e4:
        return f"{value:#.2g}".rstrip(".") if value < 100 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    power = rf"10^{{{int(exponent)}}}"
    return power if mantissa == "1.0" else rf"{mantissa.removesuffix('.0')} \times {power}"


def plain(value: float) -> str:
    """Return a number as it is said: 500, 15k, 2.5M, 1e-07."""
    if value == 0:
        return "0"
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9999 * unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def mathematical(value: float) -> str:
    """Return a number for an axis or a legend: as it is said, or as a power of ten if tiny."""
    return f"${scientific(value)}$" if 0 < value < 1e-3 else plain(value)


def formula(text: str) -> str:
    """Return a law in plain text, such as (N_c / N)^alpha_N, as mathematics."""
    names = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)*")

    def name_of(found: re.Match[str]) -> str:
        base, *index = found[0].split("_")
        letter = rf"\{base}" if base in COMMANDS else base
        return rf"{letter}_{{{','.join(index)}}}" if index else letter

    raised = re.sub(r"\^\(([^()]*)\)|\^(\w+)", lambda m: f"^{{{m[1] or m[2]}}}", text)
    named = names.sub(name_of, raised)
    return f"${named.replace(' / ', '/').replace(' ', chr(92) + ',')}$"


def _math(name: str) -> str:
    """Return a name with its index, such as C_min, for mathematical text."""
    base, _, index = name.partition("_")
    return rf"{base}_{{\mathrm{{{index}}}}}" if index else base
