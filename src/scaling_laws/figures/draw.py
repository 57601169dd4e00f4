"""Draws a figure into SVG, PNG, the table of its points, and the words that go with it."""

from __future__ import annotations

import json
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES, lacking, reads_laws, reads_studies, style
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.forms import LAWS
from scaling_laws.output import atomic


def figure(
    name: str,
    results: Path,
    *,
    studies: str | None = None,
    laws: str | None = None,
    corpora: str = "{}",
    output: Path | None = None,
) -> dict[str, Any]:
    """Draw a figure of the paper, or one of our own, from tables and fits.

    What its studies or fits do not allow is left out, and said: in the figure, and under `notes` in
    the JSON file.

    Args:
        name: Name of the figure, such as fig01; an unknown one lists them.
        results: Folder of everything computed.
        studies: Studies that are on, with commas; when absent those that have tables.
        laws: Laws that are on, with commas; when absent those that have fits.
        corpora: Titles of the evaluation corpora by name, as a JSON object.
        output: Folder to write the SVG, the PNG, the CSV of what is drawn and the JSON of its
            words to; when absent the results' own, figures.

    Returns:
        Number of points drawn.

    Raises:
        InputError: If the figure is unknown, or a table, column or fit is missing.
    """
    if name not in FIGURES:
        raise InputError(f"unknown figure {name!r}; expected one of {', '.join(FIGURES)}")
    try:
        titles = json.loads(corpora)
        if not isinstance(titles, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise InputError(f"--corpora: not JSON ({error}); expected an object of titles") from None
    trained, fitted = there(results)
    read = {s for needs in FIGURES.values() for s in (*needs.studies, *needs.any_of, *needs.more)}
    on = trained if studies is None else _named("--studies", studies, {*trained, *read})
    of = fitted if laws is None else _named("--laws", laws, LAWS)
    if missing := lacking(name, on, of):
        raise InputError(f"{results}: {name} needs {', '.join(missing)}, which is not there")
    style.theme()
    inputs = Inputs(results, titles, on, of)
    # By name, so that an edit of one figure's module redraws that figure alone.
    drawing, points = import_module(f"scaling_laws.figures.{name}").draw(inputs)
    words = describe(name, drawing) | {
        "notes": inputs.notes,
        "points": len(points),
        "studies": reads_studies(name, on),
        "laws": reads_laws(name, of),
        "files": list(FIGURES[name].files),
    }
    folder = output or results / "figures"
    with atomic(folder / f"{name}.svg") as partial:
        drawing.savefig(
            partial, format="svg", metadata={"Date": None, "Creator": None, "Title": name}
        )
    with atomic(folder / f"{name}.png") as partial:
        drawing.savefig(partial, format="png", metadata={"Software": None})
    with atomic(folder / f"{name}.csv") as partial:
        points.to_csv(partial, index=False)
    with atomic(folder / f"{name}.json") as partial:
        partial.write_text(json.dumps(words, indent=2) + "\n")
    return {"points": len(points), "notes": len(inputs.notes)}


def _named(option: str, names: str, known: Collection[str]) -> list[str]:
    """Return names that stand between commas.

    Raises:
        InputError: When one is unknown.
    """
    found = [name for name in names.split(",") if name]
    if unknown := [name for name in found if name not in known]:
        raise InputError(f"{option}: no {unknown[0]!r}; expected of {', '.join(sorted(known))}")
    return found


def there(results: Path) -> tuple[list[str], list[str]]:
    """Return the studies that have tables in a results folder, and the laws that have fits."""
    studies = sorted(path.parent.name for path in results.glob("tables/*/runs.parquet"))
    return studies, [law for law in LAWS if (results / "fits" / f"{law}.json").exists()]


def describe(name: str, drawing: Figure) -> dict[str, Any]:
    """Return the words of a figure: title, caption, its panels, and what one who cannot see reads.

    Args:
        name: Name of the figure.
        drawing: As it was drawn.
    """
    needs = FIGURES[name]
    bars = [axes for axes in drawing.axes if axes.get_label() == "<colorbar>"]
    panels = [_panel(axes) for axes in drawing.axes if axes not in bars]
    outside = [text.get_text() for legend in drawing.legends for text in legend.get_texts()]
    sentences = [f"{needs.title}."]
    for place, panel in enumerate(panels, start=1):
        x, y = panel["x"], panel["y"]
        where = f"Panel {place}" if len(panels) > 1 else "One panel"
        if not panel["drawn"]:
            sentences.append(f"{where}: nothing drawn; {panel['text']}.")
            continue
        said = f"{where}: {_axis(y) or 'the same'} against {_axis(x)}"
        series = [entry for entry in panel["legend"] if entry]
        sentences.append(said + (f"; series: {', '.join(series)}." if series else "."))
    if outside:
        sentences.append(f"Series: {', '.join(outside)}.")
    sentences += [f"Colour: {bar.get_ylabel()}." for bar in bars]
    return {
        "name": name,
        "title": needs.title,
        "caption": needs.caption,
        "alt": _without_mathematics(" ".join(sentences)),
        "panels": panels,
        "legend": outside,
        "colours": [bar.get_ylabel() for bar in bars],
    }


def _panel(axes: Axes) -> dict[str, Any]:
    """Return what one pair of axes says."""
    legend = axes.get_legend()
    return {
        "drawn": axes.has_data(),
        "title": axes.get_title(),
        "x": _said(axes, "x"),
        "y": _said(axes, "y"),
        "legend": [] if legend is None else [text.get_text() for text in legend.get_texts()],
        "text": " ".join(text.get_text().replace("\n", " ") for text in axes.texts),
    }


def _said(axes: Axes, which: str) -> dict[str, Any]:
    low, high = sorted(getattr(axes, f"get_{which}lim")())
    return {
        "label": getattr(axes, f"get_{which}label")(),
        "scale": getattr(axes, f"get_{which}scale")(),
        "low": float(low),
        "high": float(high),
    }


def _axis(axis: dict[str, Any]) -> str:
    if not axis["label"]:
        return ""
    scale = ", logarithmic" if axis["scale"] == "log" else ""
    return f"{axis['label']} from {axis['low']:.3g} to {axis['high']:.3g}{scale}"


def _without_mathematics(text: str) -> str:
    """Return a text whose mathematical markup is gone, as it is read aloud."""
    for mark, plain in (
        (r"\mathrm", ""),
        (r"\times", "times"),
        (r"\alpha", "alpha"),
        (r"\infty", "infinity"),
        (r"\propto", "in proportion to"),
        (r"\ln", "ln"),
        (r"\,", " "),
        (r"\;", " "),
        ("$", ""),
        ("{", ""),
        ("}", ""),
    ):
        text = text.replace(mark, plain)
    return " ".join(text.split())
