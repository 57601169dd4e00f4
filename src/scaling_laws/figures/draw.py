"""Draws a figure of the paper into SVG, PNG and the table of its points."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES, style
from scaling_laws.figures.inputs import Inputs
from scaling_laws.output import atomic


def figure(
    name: str,
    *,
    tables: Path,
    fits: Path,
    corpora: str = "{}",
    svg: Path,
    png: Path,
    csv: Path,
) -> dict[str, Any]:
    """Draw a figure of the paper from tables and fits.

    Args:
        name: Name of the figure, such as fig01.
        tables: Folder with one folder of tables a study.
        fits: Folder of fit JSONs.
        corpora: Titles of the evaluation corpora by name, as a JSON object.
        svg: SVG file to write.
        png: PNG file to write.
        csv: CSV file to write: the points drawn.

    Returns:
        Number of points drawn.

    Raises:
        InputError: If the figure is unknown, or a table, column or fit is missing.
    """
    if name not in FIGURES:
        raise InputError(f"unknown figure {name!r}; expected one of {', '.join(FIGURES)}")
    try:
        titles = json.loads(corpora)
    except json.JSONDecodeError as error:
        raise InputError(f"--corpora: not JSON ({error}); expected an object of titles") from None
    style.theme()
    # By name, so that an edit of one figure's module redraws that figure alone.
    module = import_module(f"scaling_laws.figures.{name}")
    drawing, points = module.draw(Inputs(tables, fits, titles))
    with atomic(svg) as partial:
        drawing.savefig(partial, metadata={"Date": None, "Creator": None, "Title": name})
    with atomic(png) as partial:
        drawing.savefig(partial, metadata={"Software": None})
    with atomic(csv) as partial:
        points.to_csv(partial, index=False)
    return {"points": len(points)}
