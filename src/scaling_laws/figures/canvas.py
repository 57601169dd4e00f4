"""Panels that keep what is drawn on them: the points of a figure are those that it shows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from scaling_laws.figures import style
from scaling_laws.laws.forecast import Fit

Scale = Literal["log", "loss", "linear"]
Scales = tuple[Scale, Scale]
COLUMNS = ("panel", "series", "run", "N", "x", "y", "low", "high")
SAMPLES = 100  # places along a line
SEEN = 0.2  # share of the paper's line that must fall into a panel
ROOM = 0.04  # of a panel's height, between a legend and what is drawn


class Panel:
    """One pair of axes, and the table of what stands on it.

    Attributes:
        axes: Of matplotlib.
        name: Name in the table.
    """

    def __init__(self, axes: Axes, name: str) -> None:
        """Draw on `axes`."""
        self.axes, self.name = axes, name
        self.rows: list[pd.DataFrame] = []
        self._scales: Scales = ("log", "loss")
        self._behind: list[tuple[str, Any, Any, str, dict[str, Any]]] = []

    def draw(
        self,
        series: str,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        look: str = "-",
        *,
        low: npt.ArrayLike | None = None,
        high: npt.ArrayLike | None = None,
        of: pd.DataFrame | None = None,
        run: Any = None,
        N: Any = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        """Draw points or a line, between `low` and `high` a band, and keep them.

        Args:
            series: Name in the table.
            x: Shape (points,), in the unit of the axis.
            y: Shape (points,).
            look: matplotlib's short form of line and marker.
            low: Lower end of an interval at each point; NaN where there is none.
            high: Upper end.
            of: Table with the `run` and the `N` of each point.
            run: Run of each point, or of all, where there is no such table.
            N: Parameters of each point, or of all.
            label: Entry of the legend.
            options: Of matplotlib's plot.
        """
        if of is not None:
            run, N = of["run"], of["N"]
        rows = self.keep(series, x, y, low=low, high=high, run=run, N=N)
        if rows.empty:
            return
        marked = look[-1:] in style.MARKERS and look[-1:]
        given: dict[str, Any] = {
            "linestyle": look.removesuffix(marked or "") or "none",
            "marker": marked or "none",
        }
        given |= normalize_kwargs(options, Line2D)
        (line,) = self.axes.plot(rows.x, rows.y, label=label or "_", **given)
        if rows.low.notna().any():
            band = rows[rows.low.notna() & rows.high.notna()]
            if given["linestyle"] == "none":
                below, above = (band.y - band.low).clip(0), (band.high - band.y).clip(0)
                self.axes.errorbar(
                    band.x,
                    band.y,
                    [below, above],
                    fmt="none",
                    ecolor=line.get_color(),
                    elinewidth=0.8,
                )
            else:
                self.axes.fill_between(
                    band.x, band.low, band.high, color=line.get_color(), alpha=style.SHADE, lw=0
                )

    def keep(
        self,
        series: str,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        low: npt.ArrayLike | None = None,
        high: npt.ArrayLike | None = None,
        run: Any = None,
        N: Any = None,
    ) -> pd.DataFrame:
        """Keep what is drawn by other means, and return its rows; arguments as of `draw`."""
        rows = pd.DataFrame({"x": np.asarray(x, dtype=float), "y": np.asarray(y, dtype=float)})
        rows = rows.assign(panel=self.name, series=series, run=_listed(run), N=_listed(N))
        rows["low"] = np.nan if low is None else np.asarray(low, dtype=float)
        rows["high"] = np.nan if high is None else np.asarray(high, dtype=float)
        if len(rows):
            self.rows.append(rows)
        return rows

    def fill(
        self, series: str, x: npt.ArrayLike, low: Any, high: Any, label: str, color: Any
    ) -> None:
        """Fill between two lines, and keep both."""
        self.axes.fill_between(x, low, high, color=color, alpha=0.8, lw=0, label=label)
        self.keep(series, x, high, low=low, high=high)

    def fit(
        self,
        fit: Fit,
        variable: str,
        ends: Sequence[float],
        *,
        at: Mapping[str, float] | None = None,
        series: str = "fit",
        label: str | None = "",
        band: bool = True,
        **options: Any,
    ) -> None:
        """Draw a fitted law over a range with the interval of its replicates.

        Args:
            fit: The fit.
            variable: What x is.
            ends: Of the range.
            at: The other variables.
            series: Name in the table.
            label: Entry of the legend; the law with its constants when empty.
            band: Whether to draw the interval, too: those of many lines would hide each other.
            options: Of matplotlib's plot, over those of a fit.
        """
        x = np.geomspace(ends[0], ends[1], SAMPLES)
        variables = {variable: x} | {name: np.full_like(x, at_) for name, at_ in (at or {}).items()}
        look = style.FIT | normalize_kwargs(options, Line2D)
        look["label"] = style.law_label(fit.law, fit.constants) if label == "" else label
        look["N"] = (at or {}).get("N")
        if not band:
            return self.draw(series, x, fit.law(fit.constants, **variables), **look)
        y, low, high = fit.band(**variables)
        return self.draw(series, x, y, low=low, high=high, **look)

    def paper(
        self, series: str, x: npt.ArrayLike, y: npt.ArrayLike, label: str, **options: Any
    ) -> None:
        """Draw what the paper has, thin and behind, where it falls into the panel."""
        look = style.PAPER | options
        places = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        self._behind.append((series, *places, label, look))

    def paper_law(self, fit: Fit, ends: Sequence[float]) -> None:
        """Draw a law of one variable with the paper's constants."""
        constants = fit.law.published
        if constants is None:
            return
        (variable,) = fit.law.variables
        x = np.geomspace(ends[0], ends[1], SAMPLES)
        label = f"paper: {style.law_label(fit.law, constants)}"
        self.paper("paper's fit", x, fit.law(constants, **{variable: x}), label)

    def say(self, text: str) -> None:
        """Write into the middle of a panel why it is empty."""
        self.axes.text(
            0.5,
            0.5,
            textwrap.fill(text, 30),
            transform=self.axes.transAxes,
            ha="center",
            va="center",
            fontsize=8,
            color="0.3",
        )

    def finish(
        self,
        x: str,
        y: str,
        *,
        scales: Scales = ("log", "loss"),
        title: str | None = None,
        legend: Any = "best",
        legend_title: str | None = None,
    ) -> None:
        """Set labels, scales and legend, when everything is drawn.

        Args:
            x: Label with its unit.
            y: Label with its unit.
            scales: Of x and y; `loss` is logarithmic with plain numbers.
            title: Of the panel.
            legend: Where it stands; None for none.
            legend_title: Its title.
        """
        self._scales = scales
        for which, scale in zip("xy", scales, strict=True):
            if scale in ("log", "loss"):
                getattr(self.axes, f"set_{which}scale")("log")
        if not self.rows:
            for axis in (self.axes.xaxis, self.axes.yaxis):
                axis.set_major_locator(NullLocator())
                axis.set_minor_locator(NullLocator())
        self._draw_behind()
        for which, scale in zip("xy", scales, strict=True):
            if not self.rows:
                continue
            if scale == "loss":
                style.loss_axis(self.axes, which)
            elif scale == "log":
                style.log_axis(self.axes, which)
        self.axes.set_xlabel(x)
        self.axes.set_ylabel(y)
        if title:
            self.axes.set_title(title)
        if legend is not None and any(self.axes.get_legend_handles_labels()):
            self.axes.legend(loc=legend, title=legend_title or "")

    def make_room(self) -> None:
        """Extend the y axis below what is drawn if the legend, as it was laid out, covers some."""
        legend = self.axes.get_legend()
        if legend is None:
            return
        box = legend.get_window_extent()
        data = self.axes.transData  # unlike that of a line across the whole panel
        lines = [
            np.asarray(line.get_xydata())
            for line in self.axes.lines
            if line.get_transform() == data
        ]
        places = [self.axes.transData.transform(_along(line)) for line in lines if len(line)]
        covered = any(box.contains(*place) for line in places for place in line)
        if not covered:
            return
        transform = self.axes.yaxis.get_transform()
        low, high = transform.transform(np.array(self.axes.get_ylim()))
        taken = box.height / self.axes.bbox.height + 2 * ROOM
        low = high - (high - low) / max(1 - taken, 0.3)
        self.axes.set_ylim(*transform.inverted().transform(np.array([low, high])))
        legend.set_loc("lower left")
        if self._scales[1] == "loss":
            style.loss_axis(self.axes, "y")

    def _draw_behind(self) -> None:
        """Draw what stands behind without a change of the limits, if any of it is within them."""
        if not self.rows:
            return
        self.axes.autoscale_view()
        (left, right), (bottom, top) = sorted(self.axes.get_xlim()), sorted(self.axes.get_ylim())
        limits = self.axes.get_xlim(), self.axes.get_ylim()
        for series, x, y, label, look in self._behind:
            seen = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
            if seen.mean() > SEEN:
                # Only what is seen: a line that leaves the panel would be kept as drawn.
                self.draw(series, x[seen], y[seen], label=label, **look)
        self.axes.set_xlim(*limits[0])
        self.axes.set_ylim(*limits[1])


class Canvas:
    """A figure of panels beside each other.

    Attributes:
        figure: Of matplotlib.
        panels: From left to right.
    """

    def __init__(
        self,
        *names: str,
        width: float = style.PANEL_WIDTH,
        rows: int = 1,
        sharey: bool = False,
        height: float = style.PANEL_HEIGHT,
    ) -> None:
        """Make a panel for each name, in rows."""
        columns = math.ceil(len(names) / rows)
        self.figure = Figure(figsize=(width * columns, height * rows))
        axes = self.figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel()
        for spare in axes[len(names) :]:
            spare.remove()
        self.panels = [Panel(place, name) for place, name in zip(axes, names, strict=False)]

    @property
    def axes(self) -> list[Axes]:
        """The axes of all panels."""
        return [panel.axes for panel in self.panels]

    def colorbar(self, norm: Any, label: str = style.PARAMETERS) -> None:
        """Put a colour bar right of the panels."""
        style.colorbar(self.figure, self.axes, norm, label)

    def _lay_out(self) -> None:
        """Place everything once, and lower panels where a legend would cover something."""
        self.figure.draw_without_rendering()
        for panel in self.panels:
            panel.make_room()
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")  # SVG and PNG need not find the places again

    def drawn(self) -> tuple[Figure, pd.DataFrame]:
        """Return the figure and the table of its points."""
        self._lay_out()
        rows = [rows for panel in self.panels for rows in panel.rows]
        if not rows:
            return self.figure, pd.DataFrame(columns=list(COLUMNS))
        return self.figure, pd.concat(rows, ignore_index=True)[list(COLUMNS)]


def _along(line: Any) -> npt.NDArray[np.float64]:
    """Return the points of a line and some between them."""
    line = np.asarray(line, dtype=float)
    between = [line[:-1] + share * np.diff(line, axis=0) for share in (0.25, 0.5, 0.75)]
    return np.concatenate([line, *between]) if len(line) > 1 else line


def groups(table: pd.DataFrame, by: Any, sort: bool = True) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Yield the values of a column, or tuples of several, each with its rows."""
    yield from table.groupby(by, sort=sort)


def _listed(values: Any) -> Any:
    """Return values without their index, one for all as it is."""
    if values is None:
        return pd.NA
    return values if np.isscalar(values) else list(values)
