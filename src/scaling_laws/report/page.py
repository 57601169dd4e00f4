"""The report: one HTML page that holds everything it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES
from scaling_laws.laws.forms import LAWS
from scaling_laws.models.counts import FLOP_PER_PF_DAY
from scaling_laws.output import atomic
from scaling_laws.report.comparison import (
    STATUS,
    compare,
    interval,
    number,
    r_squared,
    read_fits,
    write_comparison,
)
from scaling_laws.report.contents import contents
from scaling_laws.report.story import data_story
from scaling_laws.tables import read_table
from scaling_laws.templates import environment

RUN_COLUMNS = (
    "run", "study", "n_layer", "d_model", "N", "D", "B", "steps", "tokens", "C", "lr", "dropout",
    "seed", "test_loss", "best_test_loss", "outcome",
)  # fmt: skip
GREEK = {"alpha": "α"}


def report(results: Path, *, output: Path, comparison: Path) -> dict[str, Any]:
    """Write the report page and the table of the paper's numbers beside ours.

    The page has no reference to another file. Figures that are not drawn and corpus files that
    are not there are named as absent; the table of runs and one fit must exist.

    Args:
        results: Folder of everything computed.
        output: HTML file to write.
        comparison: CSV file to write; the same table goes beside it as Markdown.

    Returns:
        Numbers of runs, laws and figures.

    Raises:
        InputError: If there are no runs or no fits, or a file is not what it should be.
    """
    shown = contents(results)
    fits = read_fits(results / "fits", shown.laws)
    runs = read_runs(results)
    table = compare(fits)
    write_comparison(table, comparison)
    figures = [
        {
            "name": name,
            "title": FIGURES[name].title,
            "caption": FIGURES[name].caption,
            "svg": inline_svg(path),
        }
        for name in shown.figures
        if (path := results / "figures" / f"{name}.svg").is_file()
    ]
    config = results / "config.yaml"
    page = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            fits=fits,
            laws=LAWS,
            status=STATUS,
            comparison=table.to_dict(orient="records"),
            figures=figures,
            figures_absent={
                name: ", ".join(shown.off.get(name, ["its file is missing"]))
                for name in FIGURES
                if name not in {figure["name"] for figure in figures}
            },
            runs=runs.to_dict(orient="records"),
            outcomes=runs.outcome.value_counts().to_dict(),
            planned=_planned(results / "plan" / "runs.tsv", set(runs.run)),
            pf_days=runs.C.sum() / FLOP_PER_PF_DAY,
            flop=runs.C.sum(),
            hours=runs.seconds.sum() / 3600 if "seconds" in runs else None,
            story=data_story(results, shown),
            config=config.read_text() if config.is_file() else None,
        )
    )
    with atomic(output) as partial:
        partial.write_text(page, encoding="utf-8")
    return {"runs": len(runs), "laws": len(fits), "figures": len(figures)}


def read_runs(results: Path) -> pd.DataFrame:
    """Return the runs of all studies, ordered by study, N, D and seed.

    Raises:
        InputError: If there is no table of them.
    """
    runs = read_table(results / "tables" / "runs.parquet", RUN_COLUMNS)
    runs["study"] = [", ".join(studies) for studies in runs.study]
    return runs.sort_values(["study", "N", "D", "seed", "run"], ignore_index=True)


def inline_svg(path: Path) -> Markup:
    """Return an SVG file as an element of an HTML page.

    Identifiers get the file's name as prefix, because those of two figures would collide in one
    page; the prolog, the metadata and the fixed size go.
    """
    text = path.read_text(encoding="utf-8")
    start = text.find("<svg")
    if start < 0:
        raise InputError(f"{path}: not an SVG file; draw it again with `scaling-laws figure`")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[start:], flags=re.DOTALL)
    prefix = path.stem
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    # A style sheet inside an SVG holds for the whole page.
    text = re.sub(r"<style\b.*?</style>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    opening = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    return Markup(f'{opening} aria-hidden="true" class="drawing">{rest}')


def symbol(name: str) -> Markup:
    """Return a parameter's name as HTML: alpha_N as α with an index N."""
    base, _, index = name.partition("_")
    letter = escape(GREEK.get(base, base))
    return Markup("<var>{}<sub>{}</sub></var>").format(letter, index)


def equation(text: str) -> Markup:
    """Return an equation in plain text as HTML with indices and exponents."""
    html = str(escape(text))
    html = re.sub(r"\^\(([^()]*)\)|\^(\w+)", lambda m: f"<sup>{m[1] or m[2]}</sup>", html)
    html = re.sub(r"(\w)_(\w)", r"\1<sub>\2</sub>", html.replace("alpha", "α"))
    return Markup(f"<var>{html}</var>")


def power(text: str) -> Markup:
    """Return 8.80e13 in a text as 8.80 × 10 to the 13."""
    html = str(escape(text))
    return Markup(
        re.sub(r"e(-?\d+)", lambda m: f"\u00a0×\u00a010<sup>{m[1].replace('-', '−')}</sup>", html)
    )


def _environment() -> jinja2.Environment:
    found = environment("scaling_laws.report")
    found.filters |= {
        "r_squared": r_squared,
        "symbol": symbol,
        "equation": equation,
        "number": lambda value: power(number(value)),
    }
    found.globals["interval"] = lambda low, high: power(interval(low, high))
    return found


def _planned(path: Path, trained: set[str]) -> dict[str, Any] | None:
    """Return how many runs were planned and which of them are in no table."""
    if not path.is_file():
        return None
    plan = pd.read_csv(path, sep="\t", dtype=str)
    if "run" not in plan:
        raise InputError(f"{path}: no column run; found {', '.join(plan.columns)}")
    names = set(plan.run)
    return {"runs": len(names), "missing": sorted(names - trained)}
