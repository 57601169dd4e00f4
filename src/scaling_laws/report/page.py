"""The report: one HTML page that holds everything it shows."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from scaling_laws.errors import InputError, TooFewRunsError
from scaling_laws.figures import FIGURES
from scaling_laws.json_files import Form, read_object
from scaling_laws.laws.forms import LAWS
from scaling_laws.ledger import reading
from scaling_laws.models.counts import FLOP_PER_PF_DAY
from scaling_laws.output import atomic
from scaling_laws.report.checklist import checklist
from scaling_laws.report.claims import CLAIMS, WORDS, Claim, Tables, read_tables
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
from scaling_laws.report.times import duration
from scaling_laws.report.verdict import verdicts
from scaling_laws.tables import TEXT_KINDS, read_table, read_text_table
from scaling_laws.templates import environment

RUN_COLUMNS = (
    "run", "study", "n_layer", "d_model", "N", "D", "B", "steps", "tokens", "C", "lr", "dropout",
    "seed", "test_loss", "best_test_loss", "outcome", "n_ctx", "schedule", "optimizer",
)  # fmt: skip
GREEK = {"alpha": "α", "beta": "β", "eta": "η"}
NAMES = {"E_min", "n_ctx", "n_layer", "d_model"} | {
    name for law in LAWS.values() for name in (*law.parameters, *law.variables, law.response[0])
}
TERMS = re.compile(
    rf"\b(?:{'|'.join(sorted(name for name in NAMES if '_' in name or name in GREEK))})\b(?![./]\w)"
)


class Words(Form):
    """What the page takes from the JSON file of a figure."""

    alt: str
    notes: list[str]
    points: int
    studies: list[str]
    laws: list[str]
    files: list[str]


def report(
    results: Path, *, output: Path | None = None, comparison: Path | None = None
) -> dict[str, Any]:
    """Write the report page and the table of the paper's numbers beside ours.

    The page has no reference to another file. What is not there is named as absent; one fit must
    exist, which may be of runs of your own.

    Args:
        results: Folder of everything computed.
        output: HTML file to write; when absent the results' own, report.html.
        comparison: CSV file to write; the same table goes beside it as Markdown. When absent the
            results' own, tables/paper_vs_ours.csv.

    Returns:
        What was read: runs, the points of each law and where they are from, and figures.

    Raises:
        InputError: If there are no fits, or a file is not what it should be.
    """
    output = output or results / "report.html"
    comparison = comparison or results / "tables" / "paper_vs_ours.csv"
    if comparison.suffix != ".csv" or output == comparison.with_suffix(".md"):
        raise InputError(
            f"--comparison {comparison}: expected a file that ends in .csv; the same table is "
            f"written to {comparison.with_suffix('.md')}"
        )
    shown = contents(results)
    fits = read_fits(results / "fits", shown.laws)
    runs = read_runs(results)
    table = compare(fits)
    figures = {name: _figure(results, name, shown) for name in FIGURES}
    drawn = {name: figure for name, figure in figures.items() if "svg" in figure}
    not_drawn = [figure for figure in figures.values() if "absent" in figure]
    trends = _trends(results)
    spoken = [
        section
        for section in SECTIONS
        if any(law in fits for law in section.laws)
        or any(trend in trends for trend in section.trends)
        or any(name in drawn for name in section.figures)
    ]
    config = _config(results)
    held_out = _table(results / "tables" / "held_out.csv")
    judged = {name: verdicts(fit, fits.get("B_crit")) for name, fit in fits.items()}
    words = Counter(verdict.word for of_law in judged.values() for verdict in of_law)
    page = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            sections=spoken,
            unspoken=[section for section in SECTIONS if section not in spoken],
            not_fitted=[LAWS[law].symbol for law in shown.laws if law not in fits],
            stale=[] if runs is None else _stale(fits, runs),
            fits=fits,
            laws=LAWS,
            status=STATUS,
            verdicts=judged,
            words=words,
            trends=trends,
            words_of=WORDS,
            comparison=table.to_dict(orient="records"),
            figures=drawn,
            not_drawn=not_drawn,
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
    write_comparison(table, comparison)
    with atomic(output) as partial:
        partial.write_text(page, encoding="utf-8")
    return {
        "runs": "no table of runs" if runs is None else len(runs),
        **{
            name: f"{fit['n_points']} points from {', '.join(fit['inputs'])}"
            for name, fit in fits.items()
        },
        "figures": len(drawn),
    }


def read_runs(results: Path) -> pd.DataFrame | None:
    """Return the runs of all studies, ordered by study, N, D and seed; None without their table.

    Raises:
        InputError: If the table is damaged, lacks a column, or has no rows.
    """
    path = results / "tables" / "runs.parquet"
    if not path.exists():
        return None
    runs = read_table(path, RUN_COLUMNS)
    if runs.empty:
        raise InputError(f"{path}: no rows; expected one a run")
    runs["study"] = [", ".join(studies) for studies in runs.study]
    return runs.sort_values(["study", "N", "D", "seed", "run"], ignore_index=True)


def _figure(results: Path, name: str, shown: Contents) -> dict[str, Any]:
    """Return what stands for a figure: its drawing and words, or why there is none."""
    path = results / "figures" / f"{name}.svg"
    needs = FIGURES[name]
    found: dict[str, Any] = {"name": name, "title": needs.title, "caption": needs.caption}
    if off := shown.off.get(name):
        return found | {"absent": f"{', '.join(off)} off"}
    if not path.exists():
        return found | {"absent": f"{path.name} is not in these results"}
    words = read_object(path.with_suffix(".json"), Words)
    return found | words | {"svg": inline_svg(path), "traced": _traced(path)}


def _traced(path: Path) -> bool:
    """Tell whether a manifest says what made a file; a command by hand may have left none."""
    return (path.parent / "lineage" / f"{path.stem}.json").is_file()


def _trends(results: Path) -> dict[str, Claim]:
    """Return what tables say of the paper's claims, by name; nothing without them.

    Raises:
        InputError: If one is damaged.
    """
    if not all((results / "tables" / f"{name}.parquet").exists() for name in Tables._fields):
        return {}
    try:
        tables = read_tables(results / "tables")
    except TooFewRunsError:  # every run diverged
        return {}
    return {claim.__name__: claim(tables) for claim in CLAIMS}


def _config(results: Path) -> str | None:
    path = results / "config.yaml"
    return reading(path).read_text(encoding="utf-8") if path.exists() else None


def _table(path: Path) -> pd.DataFrame | None:
    """Return a table of text; None where it is not there."""
    # A grid may have no run, and no law may be of single runs.
    rows = path.name == "flow.csv"
    return read_text_table(path, TEXT_KINDS[path.name], rows=rows) if path.exists() else None


def _flow(path: Path) -> list[dict[str, Any]] | None:
    """Return a row for each stage and unit: what it kept, and what it dropped for which reasons."""
    table = _table(path)
    if table is None:
        return None
    parts: dict[tuple[str, str], list[str]] = defaultdict(list)
    columns = table.fillna({"reason": ""})[list(TEXT_KINDS[path.name])]
    for stage, unit, outcome, reason, count in columns.itertuples(index=False, name=None):
        parts[stage, unit].append(f"{reason or outcome}: {int(count):,}")
    return [{"stage": stage, "unit": unit, "parts": of} for (stage, unit), of in parts.items()]


def _stale(fits: Mapping[str, Any], runs: pd.DataFrame) -> list[str]:
    """Return the laws that were fitted to runs which the table now has as diverged."""
    diverged = set(runs.run[runs.outcome == "diverged"])
    return [
        LAWS[law].symbol
        for law, fit in fits.items()
        if diverged & {point.get("run") for point in fit["points"]}
    ]


def _totals(runs: pd.DataFrame) -> dict[str, Any]:
    return {
        "flop": runs.C.sum(),
        "pf_days": runs.C.sum() / FLOP_PER_PF_DAY,
        "time": duration(runs.seconds.sum()) if "seconds" in runs else None,
    }


def inline_svg(path: Path) -> Markup:
    """Return an SVG file as an element of an HTML page.

    Identifiers get the file's name as prefix, because those of two figures would collide in one
    page; the prolog and the metadata go, and the size becomes a variable of the style sheet.

    Raises:
        InputError: When it is no SVG file, or not a whole one.
    """
    content = reading(path).read_bytes()
    try:
        whole = ElementTree.fromstring(content).tag.rpartition("}")[2] == "svg"
    except ElementTree.ParseError:
        whole = False
    if not whole:
        raise InputError(f"{path}: not a whole SVG file; draw it again with `scaling-laws figure`")
    text = content.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.find("<svg") :], flags=re.DOTALL)
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


def terms(text: str) -> Markup:
    """Return a sentence as HTML in which the constants and variables of laws are set as such."""
    return Markup(TERMS.sub(lambda match: symbol(match[0]), str(escape(text))))


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
        "terms": terms,
        "number": lambda value: power(number(value)),
    }
    found.globals["interval"] = lambda *of: power(interval(*of))
    return found


def _planned(path: Path, trained: set[str]) -> dict[str, Any] | None:
    """Return how many runs were planned and which of them are in no table."""
    plan = _table(path)
    if plan is None:
        return None
    names = set(plan.run)
    return {"runs": len(names), "missing": sorted(names - trained)}
