from __future__ import annotations

import json
import math
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as synthetic

from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES
from scaling_laws.figures.draw import figure
from scaling_laws.laws.fit import fit
from scaling_laws.laws.forms import LAWS
from scaling_laws.report.claims import CLAIMS
from scaling_laws.report.comparison import interval, number
from scaling_laws.report.page import equation, inline_svg, power, report, symbol, terms
from scaling_laws.report.sections import SECTIONS
from scaling_laws.report.summary import summary
from scaling_laws.report.verdict import verdicts

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects what an HTML page holds, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.external: list[str] = []
        self.links: list[str] = []
        self.drawings: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += filter(None, [values.get("id")])
        if tag not in VOID:
            self.open.append(tag)
        for name in ("href", "xlink:href", "src"):
            if value := values.get(name):
                if value.startswith("#"):
                    self.references.append(value[1:])
                elif tag == "a":
                    self.links.append(value)
                elif not value.startswith("data:"):
                    self.external.append(value)
        for value in filter(None, values.values()):
            self.references += re.findall(r"url\(#([^)]+)\)", value)
        if values.get("role") == "img":
            self.drawings.append(values["aria-label"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th", "dt"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


@pytest.fixture
def copied(complete: Path, tmp_path: Path) -> Path:
    """Return a copy of it that may be changed."""
    return shutil.copytree(complete, tmp_path / "results")


def write(results: Path, folder: Path) -> tuple[Path, Path]:
    output, comparison = folder / "report.html", folder / "paper_vs_ours.csv"
    report(results, output=output, comparison=comparison)
    return output, comparison


def change_fit(results: Path, name: str, **entries) -> None:
    path = results / "fits" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture(scope="session")
def page(complete: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    output, _ = write(complete, tmp_path_factory.mktemp("page"))
    return Page(output.read_text())


def test_page_stands_alone(page: Page):
    assert page.external == []
    assert page.links == ["https://arxiv.org/abs/2001.08361", "https://arxiv.org/abs/2502.18969"]


def test_every_identifier_is_unique_and_every_reference_has_a_target(page: Page):
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    assert len(page.references) > 100


def test_page_has_every_figure_with_words_for_the_blind(page: Page, complete: Path):
    assert set(FIGURES) <= set(page.ids)
    said = {json.loads(path.read_text())["alt"] for path in (complete / "figures").glob("*.json")}
    assert set(page.drawings) == said


def test_page_goes_through_the_claims_in_the_order_of_the_paper(page: Page):
    titles = [section.title for section in SECTIONS]
    places = [page.text.rindex(terms(section.claim).striptags()) for section in SECTIONS]
    assert places == sorted(places) and len(set(titles)) == len(titles)
    shown = [name for section in SECTIONS for name in section.figures]
    assert sorted([*shown, "corpus", "duplicates", "cost"]) == sorted(FIGURES)
    of_laws = [law for section in SECTIONS for law in section.laws]
    assert sorted(of_laws) == sorted(LAWS)
    trends = [trend for section in SECTIONS for trend in section.trends]
    assert sorted(trends) == sorted(claim.__name__ for claim in CLAIMS)


def test_page_says_what_the_laws_claim(page: Page, complete: Path):
    for law, name in (("L(N)", "L_N"), ("L(D)", "L_D"), ("L(C)", "L_C")):
        fit = json.loads((complete / "fits" / f"{name}.json").read_text())
        exponent = next(iter(fit["parameters"].values()))
        assert f"{law} decreases over its whole range." in page.text
        assert f"R² of the log loss {fit['r2_log']:.4f}" in page.text
        ours = f"{number(exponent['value'])} ({interval(exponent['low'], exponent['high'])})"
        assert f"{ours} {number(exponent['paper'])} " in page.text


def fit_of(value: float, low: float | None, high: float | None, **more) -> dict:
    """Return the part of a fit of L(N) that a verdict is given on."""
    numbers = {"value": value, "low": low, "high": high, "paper": 0.076, "paper_other": None}
    fit = {"law": "L_N", "status": "converged", "diagnosis": [], "range": {"N": [768, 442368]}}
    return fit | {"parameters": {"alpha_N": numbers, "N_c": numbers}} | more


@pytest.mark.parametrize(
    ("fit", "word", "why"),
    [
        (fit_of(0.07, 0.06, 0.08), "agrees", "The interval holds it; N spans 768 to 442,368 here"),
        (fit_of(0.04, 0.03, 0.05), "differs", "The interval lies below it"),
        (fit_of(0.09, 0.08, 0.1), "differs", "The interval lies above it"),
        (
            fit_of(0.07, 0.06, 0.08, status="not_identified", diagnosis=["too few runs"]),
            "not enough range", "Too few runs.",
        ),
        (fit_of(0.07, None, None, status="exact"), "not enough range", "As many points"),
        (fit_of(0.07, 0.01, 0.1), "not enough range", "The interval holds it, but is wider than"),
        (fit_of(0.2, 0.1, 0.3), "differs", "The interval lies above it"),
        (fit_of(math.nan, 0.06, 0.08), "not enough range", "It has no interval."),
        (fit_of(0.07, -math.inf, math.inf), "not enough range", "It has no interval."),
        (
            fit_of(0.07, 0.06, 0.08, status="at_bound", diagnosis=[f"alpha_N{' x' * 20}: so"]),
            "not enough range", f"alpha_N{' x' * 20}.",
        ),
    ],
)  # fmt: skip
def test_verdicts_follow_one_rule(fit: dict, word: str, why: str):
    (verdict,) = verdicts(fit)
    assert (verdict.parameter, verdict.word) == ("alpha_N", word)
    assert verdict.why.startswith(why)


@pytest.mark.parametrize("where", ["its own", "beside it"])
def test_laws_of_small_batches_rest_on_the_critical_batch(where: str):
    numbers = {"value": 0.05, "low": 0.04, "high": 0.06, "paper": 0.05, "paper_other": None}
    fit = fit_of(0, 0, 0) | {"law": "L_C_min", "range": {"C_min": [1e-9, 1e-6]}}
    fit["parameters"] = {"alpha_C_min": numbers, "C_c_min": numbers}
    for status, word in (("converged", "agrees"), ("at_bound", "not enough range")):
        critical = {"status": status}
        noted = fit | {"B_crit": critical} if where == "its own" else fit
        (verdict,) = verdicts(noted, None if where == "its own" else critical)
        assert verdict.word == word
    assert verdict.why == "It rests on B_crit(L), which these runs do not determine."
    (of_size,) = verdicts(fit_of(0.07, 0.06, 0.08), {"status": "at_bound"})
    assert of_size.word == "agrees"


def test_what_the_papers_runs_span_is_said_of_the_papers_laws_alone():
    numbers = {"value": 0.34, "low": 0.3, "high": 0.4, "paper": 0.34, "paper_other": None}
    names = ("alpha", "beta", "A", "B", "E")
    fit = fit_of(0, 0, 0) | {"law": "chinchilla", "parameters": dict.fromkeys(names, numbers)}
    assert all("there" not in verdict.why for verdict in verdicts(fit))
    (verdict,) = verdicts(fit_of(0.07, 0.06, 0.08))
    assert "768 to 1.50e9 there" in verdict.why


def test_page_counts_its_verdicts(page: Page, complete: Path):
    fits = [json.loads(path.read_text()) for path in (complete / "fits").glob("*.json")]
    words = Counter(verdict.word for fit in fits for verdict in verdicts(fit))
    assert f"{words['agrees']} exponents: agree with the published" in page.text
    assert f"{words['differs']} exponents: differ" in page.text


def test_page_lists_every_run(page: Page, complete: Path):
    runs = pd.read_parquet(complete / "tables/runs.parquet")
    for run in runs.itertuples():
        assert run.run in page.text
        assert f"{run.test_loss:.4f}" in page.text
    assert f"{len(runs)} runs were planned, and all of them are here." in page.text


def test_page_tells_where_the_data_come_from(page: Page):
    for row in (
        "links pages kept: 5,000",
        "links submissions score: 900, media: 300",
        "crawl pages kept: 4,700, http error: 200, robots: 100",
        "split documents kept: 4,085, held out: 215",
        "tokens tokens train: 9,600,000",
    ):
        assert row in page.text
    assert "a <tag> & more" in page.text


def test_checklist_is_filled_in_from_fits_runs_and_settings(page: Page, complete: Path):
    fit = json.loads((complete / "fits/L_N.json").read_text())
    runs = pd.read_parquet(complete / "tables/runs.parquet")
    for text in (
        "L(N) = (Nc / N)αN",
        f"{len(runs)} runs, {runs.N.nunique()} sizes",
        f"L_N: {fit['n_points']}",
        "What is the same in all runs",
        f"L_N: R² of logarithms {fit['r2_log']:.4f}",
        f"L_N: {fit['bootstrap']['converged']} of {fit['bootstrap']['replicates']}",
        "byte-pair encoding, 1,024 entries",
        "Error for the largest run, held out",
    ):
        assert text in page.text


def test_comparison_is_written_as_csv_and_markdown(complete: Path, tmp_path: Path):
    _, comparison = write(complete, tmp_path)
    table = pd.read_csv(comparison).set_index(["law", "parameter"])
    fit = json.loads((complete / "fits/L_C.json").read_text())
    ours = fit["parameters"]["C_c"]
    row = table.loc[("L(C)", "C_c")]
    assert row.paper == 1.6e7
    assert row.paper_other == 2.0e7
    assert row.other_source == "legend of Figure 13"
    assert [row.ours, row.low, row.high] == [ours["value"], ours["low"], ours["high"]]
    lines = comparison.with_suffix(".md").read_text().splitlines()
    assert len(lines) == len(table) + 2
    assert len({line.count("|") for line in lines}) == 1
    assert "1.60e7 (Table 5); 2.00e7 (legend of Figure 13)" in "\n".join(lines)


def test_page_is_the_same_in_every_run(complete: Path, tmp_path: Path):
    first, again = (write(complete, tmp_path / name)[0] for name in "ab")
    assert first.read_bytes() == again.read_bytes()


def test_user_with_a_table_of_runs_only_gets_a_report(tmp_path: Path):
    runs = pd.DataFrame({"N": np.geomspace(1e6, 1e9, 12)})
    runs["loss"] = (8.8e13 / runs.N) ** 0.076 * np.exp(
        np.random.default_rng(0).normal(0, 0.003, 12)
    )
    runs.to_csv(tmp_path / "runs.csv", index=False)
    fit("L_N", runs=tmp_path / "runs.csv", json=tmp_path / "own/fits/L_N.json", bootstrap=50)
    results = tmp_path / "own"
    figure("residuals", results)
    page = Page(write(results, tmp_path)[0].read_text())
    assert "1 exponent: agrees with the published" in page.text
    assert "L_N: N = N, L = loss" in page.text and "Which losses L_N: column loss" in page.text
    assert "What N counts there not known: the table of your runs does not say" in page.text
    assert "parameters without embeddings" not in page.text
    assert f"No table of runs is in these results: the laws were fitted to {tmp_path}" in page.text
    assert "Not in these results, and so not counted: tables/flow.csv" in page.text
    assert "fig01" not in page.ids
    absent = [name for name in FIGURES if name != "residuals"]
    for name in absent:
        line = f"{FIGURES[name].title}: {name}.svg is not in these results"
        assert page.text.count(line) == 1
    assert "config.yaml is not in these results." in page.text
    assert "Claims that nothing here bears on: " in page.text and "schedule" not in page.ids
    assert "Laws that are not fitted: L(D), " in page.text
    assert len(page.drawings) == 1


def test_page_shows_nothing_of_studies_that_were_turned_off(copied: Path, tmp_path: Path):
    synthetic.configure(copied, ["model_size", "depth"], ["L_N", "L_C"])
    output, comparison = write(copied, tmp_path)
    page = Page(output.read_text())
    assert f"{FIGURES['fig01'].title}: study data_size, law L_D off" in page.text
    assert f"{FIGURES['fig07'].title}: study lstm off" in page.text
    assert {json.loads((copied / f"figures/{name}.json").read_text())["alt"] for name in
            ("fig02", "fig06", "fig23")} <= set(page.drawings)  # fmt: skip
    assert set(pd.read_csv(comparison)["law"]) == {"L(N)", "L(C)"}


def test_page_is_honest_about_what_failed(copied: Path, tmp_path: Path):
    change_fit(copied, "L_ND", status="not_identified", diagnosis=["the subsets are too large"])
    change_fit(copied, "L_N", decreasing=False)
    diverged = []

    def diverge(runs: pd.DataFrame) -> pd.DataFrame:
        diverged.extend([runs.run[0], runs.run[3]])
        return runs.iloc[1:].assign(
            outcome=runs.outcome.where(runs.index != 3, "diverged"),
            test_loss=runs.test_loss.where(runs.index != 3),
        )

    synthetic.change(copied / "tables", "runs", diverge)
    page = Page(write(copied, tmp_path)[0].read_text())
    assert "not identified by these runs." in page.text
    assert "not enough range The subsets are too large." in page.text
    assert "L(N) does not decrease over its whole range" in page.text
    runs = len(pd.read_parquet(copied / "tables/runs.parquet"))
    assert f"1 of {runs} runs diverged and" in page.text
    used = {
        LAWS[path.stem].symbol
        for path in (copied / "fits").glob("*.json")
        if diverged[1] in {point.get("run") for point in json.loads(path.read_text())["points"]}
    }
    assert ("so fit again" in page.text) == bool(used)
    assert f"in no table: {diverged[0]}" in page.text
    assert "nan" not in page.text.lower().split()


def test_notes_of_figures_are_shown(copied: Path, tmp_path: Path):
    path = copied / "figures/fig01.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notes": ["this", "that"]}))
    page = Page(write(copied, tmp_path)[0].read_text())
    assert "Left out or to be borne in mind: this; that." in page.text


def test_fit_without_interval_is_shown(copied: Path, tmp_path: Path):
    path = copied / "fits/L_D.json"
    content = json.loads(path.read_text())
    for parameter in content["parameters"].values():
        parameter |= {"low": None, "high": None}
    path.write_text(json.dumps(content | {"status": "exact", "r2_log": None}))
    page = Page(write(copied, tmp_path)[0].read_text())
    assert "as many points as parameters: no interval" in page.text


def test_bad_inputs_are_named(copied: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"fits: no fit; expected at least one of L_N"):
        write(tmp_path / "empty", tmp_path)
    (copied / "figures/fig01.json").write_text("{")
    with pytest.raises(InputError, match=r"fig01\.json: not JSON"):
        write(copied, tmp_path)
    (copied / "figures/fig01.json").unlink()
    with pytest.raises(InputError, match=r"fig01\.json: no such file"):
        write(copied, tmp_path)
    shutil.copy(copied / "figures/fig02.json", copied / "figures/fig01.json")
    (copied / "figures/fig01.svg").write_text("nothing")
    with pytest.raises(InputError, match=r"fig01\.svg: not a whole SVG file"):
        write(copied, tmp_path)
    shutil.copy(copied / "fits/L_D.json", copied / "fits/L_N.json")
    with pytest.raises(InputError, match=r"L_N\.json: law is 'L_D'; expected 'L_N'"):
        write(copied, tmp_path)


def test_summary_gives_exponents_and_where_to_look(
    copied: Path, capsys: pytest.CaptureFixture[str]
):
    summary(copied)
    printed = capsys.readouterr().out
    content = json.loads((copied / "fits/L_N.json").read_text())
    exponent = content["parameters"]["alpha_N"]
    line = next(line for line in printed.splitlines() if line.startswith("L(N) "))
    assert number(exponent["value"]) in line
    assert interval(exponent["low"], exponent["high"]) in line
    assert "0.0760" in line
    assert f"{content['r2_log']:.4f}" in line
    assert f"{len(FIGURES)} figures: {copied / 'figures'}" in printed
    assert "report:" not in printed
    (copied / "report.html").write_text("")
    summary(copied)
    assert f"report: {copied / 'report.html'}" in capsys.readouterr().out


def test_inlined_svg_keeps_its_references_apart(tmp_path: Path):
    path = tmp_path / "fig07.svg"
    path.write_text(
        '<?xml version="1.0"?><svg width="36pt" viewBox="0 0 1 1"><metadata>x</metadata>'
        '<style>*{color:red}</style><g id="a"/><use href="#a" clip-path="url(#b)"/></svg>'
    )
    assert inline_svg(path) == (
        '<svg viewBox="0 0 1 1" style="--inches: 0.50" aria-hidden="true" class="drawing">'
        '<g id="fig07-a"/>'
        '<use href="#fig07-a" clip-path="url(#fig07-b)"/></svg>'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.076, "0.0760"), (8.8e13, "8.80e13"), (7.03, "7.03"), (123.4, "123"), (12345, "12,345"),
     (None, "–"), (float("nan"), "–"), (float("inf"), "–"), (4e-11, "4.00e-11")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, text: str):
    assert number(value) == text


def test_interval_without_an_upper_end_says_so():
    assert interval(3e9, None) == "3.00e9 or more"
    assert interval(None, None) == "–"


def test_interval_at_the_end_of_a_range_is_none():
    assert interval(0.05, 0.05, "at_bound") == "–"
    (verdict,) = verdicts(fit_of(0.05, 0.05, 0.05, status="at_bound", diagnosis=["so"]))
    assert verdict.ours == "0.0500"


def test_sentences_have_their_mathematics_set():
    assert terms("alpha_N < B_crit. Not fits/B_crit.json or test_loss") == (
        "<var>α<sub>N</sub></var> &lt; <var>B<sub>crit</sub></var>. Not fits/B_crit.json or "
        "test_loss"
    )
    assert terms(power("N_c = 8.80e13")) == (
        "<var>N<sub>c</sub></var> = 8.80\u00a0×\u00a010<sup>13</sup>"
    )


def test_symbols_and_equations_are_html():
    assert symbol("p") == "<var>p</var>"
    assert symbol("alpha_N") == "<var>α<sub>N</sub></var>"
    assert equation("L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D") == (
        "<var>L(N, D) = [(N<sub>c</sub> / N)<sup>α<sub>N</sub> / α<sub>D</sub></sup> + "
        "D<sub>c</sub> / D]<sup>α<sub>D</sub></sup></var>"
    )
