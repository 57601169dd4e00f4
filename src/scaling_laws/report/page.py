"""The report: one HTML page that holds everything it shows."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES
from scaling_laws.laws.forms import LAWS
from scaling_laws.ledger import reading
from scaling_laws.models.counts import FLOP_PER_PF_DAY
from scaling_laws.output import atomic
from scaling_laws.report.checklist import checklist
from scaling_laws.report.claims import CLAIMS, Claim, read_tables
from scaling_laws.report.comparison import (
    STATUS,
    compare,
    interval,
    number,
    r_squared,
    read_fits,
    write_comparison,
)
from scaling_laws.report.contents import Contents, contents
from scaling_laws.report.sections import SECTIONS
from scaling_laws.report.verdict import verdicts
from scaling_laws.tables import read_table
from scaling_laws.templates import environment

RUN_COLUMNS = (
    "run", "study", "n_layer", "d_model", "N", "D", "B", "steps", "tokens", "C", "lr", "dropout",
    "seed", "test_loss", "best_test_loss", "outcome", "n_ctx", "schedule", "optimizer",
)  # fmt: skip
GREEK = {"alpha": "α", "beta": "β", "eta": "η"}
FLOW_COLUMNS = ("stage", "unit", "outcome", "reason", "count")


def report(results: Path, *, output: Path, comparison: Path) -> dict[str, Any]:
    """Write the report page and the table of the paper's numbers beside ours.

    The page has no reference to another file. What is not there is named as absent; one fit must
    exist, which may be of runs of your own.

    Args:
        results: Folder of everything computed.
        output: HTML file to write.
        comparison: CSV file to write; the same table goes beside it as Markdown.

    Returns:
        Numbers of runs, laws and figures.

    Raises:
        InputError: If there are no fits, or a file is not what it should be.
    """
    shown = contents(results)
    fits = read_fits(results / "fits", shown.laws)
    runs = read_runs(results)
    table = compare(fits)
    write_comparison(table, comparison)
    figures = {name: found for name in FIGURES if (found := _figure(results, name, shown))}
    drawn = {name: figure for name, figure in figures.items() if "svg" in figure}
    config = _config(results)
    held_out = _table(results / "tables" / "held_out.csv", ("law", "error"))
    judged = {name: verdicts(fit) for name, fit in fits.items()}
    words = Counter(verdict.word for of_law in judged.values() for verdict in of_law)
    page = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            sections=SECTIONS,
            fits=fits,
            laws=LAWS,
            status=STATUS,
            verdicts=judged,
            words=words,
            trends=_trends(results),
            comparison=table.to_dict(orient="records"),
            figures=figures,
            titles={name: FIGURES[name].title for name in FIGURES},
            runs=None if runs is None else runs.to_dict(orient="records"),
            outcomes={} if runs is None else runs.outcome.value_counts().to_dict(),
            planned=None
            if runs is None
            else _planned(results / "plan" / "runs.tsv", set(runs.run)),
            totals=None if runs is None else _totals(runs),
            flow=_flow(results / "tables" / "flow.csv"),
            checklist=checklist(fits, runs, shown.config, held_out),
            config=config,
            traced=[name for name in fits if _traced(results / "fits" / f"{name}.json")],
        )
    )
    with atomic(output) as partial:
        partial.write_text(page, encoding="utf-8")
    return {"runs": 0 if runs is None else len(runs), "laws": len(fits), "figures": len(drawn)}


def read_runs(results: Path) -> pd.DataFrame | None:
    """Return the runs of all studies, ordered by study, N, D and seed; None without their table.

    Raises:
        InputError: If the table lacks a column.
    """
    path = results / "tables" / "runs.parquet"
    if not path.is_file():
        return None
    runs = read_table(path, RUN_COLUMNS)
    runs["study"] = [", ".join(studies) for studies in runs.study]
    return runs.sort_values(["study", "N", "D", "seed", "run"], ignore_index=True)


def _figure(results: Path, name: str, shown: Contents) -> dict[str, Any]:
    """Return what stands for a figure: its drawing and words, or why there is none."""
    path = results / "figures" / f"{name}.svg"
    needs = FIGURES[name]
    found: dict[str, Any] = {"name": name, "title": needs.title, "caption": needs.caption}
    if off := shown.off.get(name):
        return found | {"absent": f"{', '.join(off)} off"}
    if not path.is_file():
        return found | {"absent": f"{path.name} is not in these results"}
    words: dict[str, Any] = {"alt": f"{needs.title}: {needs.caption}", "notes": []}
    sidecar = path.with_suffix(".json")
    if sidecar.is_file():
        try:
            words |= json.loads(reading(sidecar).read_text())
        except ValueError as error:
            raise InputError(f"{sidecar}: not JSON ({error})") from None
    return found | words | {"svg": inline_svg(path), "traced": _traced(path)}


def _traced(path: Path) -> bool:
    """Tell whether a manifest says what made a file; a command by hand may have left none."""
    return (path.parent / "lineage" / f"{path.stem}.json").is_file()


def _trends(results: Path) -> dict[str, Claim]:
    """Return what tables say of the paper's claims, by name; nothing without them."""
    if not (results / "tables" / "runs.parquet").is_file():
        return {}
    try:
        tables = read_tables(results / "tables")
    except InputError:  # every run diverged, or a table of evaluations is not there
        return {}
    return {claim.__name__: claim(tables) for claim in CLAIMS}


def _config(results: Path) -> str | None:
    path = results / "config.yaml"
    return reading(path).read_text() if path.is_file() else None


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame | None:
    """Return a CSV file that has at least some columns; None where it is not there."""
    if not path.is_file():
        return None
    table = pd.read_csv(reading(path))
    if missing := [column for column in columns if column not in table]:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns))}"
        )
    return table


def _flow(path: Path) -> list[dict[str, Any]] | None:
    """Return a row for each stage: what it kept, and what it dropped for which reasons."""
    table = _table(path, FLOW_COLUMNS)
    if table is None:
        return None
    rows: list[dict[str, Any]] = []
    entries = table.fillna({"reason": ""})[list(FLOW_COLUMNS)].itertuples(index=False, name=None)
    for stage, unit, outcome, reason, count in entries:
        if not rows or (rows[-1]["stage"], rows[-1]["unit"]) != (stage, unit):
            rows.append({"stage": stage, "unit": unit, "parts": []})
        rows[-1]["parts"].append(f"{reason or outcome}: {int(count):,}")
    return rows


def _totals(runs: pd.DataFrame) -> dict[str, Any]:
    return {
        "flop": runs.C.sum(),
        "pf_days": runs.C.sum() / FLOP_PER_PF_DAY,
        "hours": runs.seconds.sum() / 3600 if "seconds" in runs else None,
    }


def inline_svg(path: Path) -> Markup:
    """Return an SVG file as an element of an HTML page.

    Identifiers get the file's name as prefix, because those of two figures would collide in one
    page; the prolog and the metadata go, and the size becomes a variable of the style sheet.
    """
    text = reading(path).read_text(encoding="utf-8")
    start = text.find("<svg")
    if start < 0:
        raise InputError(f"{path}: not an SVG file; draw it again with `scaling-laws figure`")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[start:], flags=re.DOTALL)
    prefix = path.stem
    # Two colour bars are one picture, and so have one identifier, which nothing refers to.
    text = re.sub(r'(<image\b[^>]*?)\sid="[^"]*"', r"\1", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    # A style sheet inside an SVG holds for the whole page.
    text = re.sub(r"<style\b.*?</style>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    width = re.search(r'\swidth="([\d.]+)pt"', opening)
    inches = f' style="--inches: {float(width[1]) / 72:.2f}"' if width else ""
    opening = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    return Markup(f'{opening}{inches} aria-hidden="true" class="drawing">{rest}')


def symbol(name: str) -> Markup:
    """Return a parameter's name as HTML: alpha_N as α with an index N."""
    base, _, index = name.partition("_")
    letter = escape(GREEK.get(base, base))
    if not index:
        return Markup("<var>{}</var>").format(letter)
    return Markup("<var>{}<sub>{}</sub></var>").format(letter, index.replace("_", " "))


def equation(text: str) -> Markup:
    """Return an equation in plain text as HTML with indices and exponents."""
    html = str(escape(text))
    html = re.sub(r"\^\(([^()]*)\)|\^(\w+)", lambda m: f"<sup>{m[1] or m[2]}</sup>", html)
    for name, letter in GREEK.items():
        html = re.sub(rf"\b{name}(?=\b|_)", letter, html)
    html = re.sub(r"(\w)_(\w+)", lambda m: f"{m[1]}<sub>{m[2].replace('_', ' ')}</sub>", html)
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
        "power": power,
        "number": lambda value: power(number(value)),
    }
    found.globals["interval"] = lambda low, high: power(interval(low, high))
    return found


def _planned(path: Path, trained: set[str]) -> dict[str, Any] | None:
    """Return how many runs were planned and which of them are in no table."""
    if not path.is_file():
        return None
    plan = pd.read_csv(reading(path), sep="\t", dtype=str)
    if "run" not in plan:
        raise InputError(f"{path}: no column run; found {', '.join(plan.columns)}")
    names = set(plan.run)
    return {"runs": len(names), "missing": sorted(names - trained)}
