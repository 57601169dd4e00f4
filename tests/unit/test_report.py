from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import synthetic_runs as synthetic

from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES
from scaling_laws.figures.draw import figure
from scaling_laws.report.comparison import interval, number
from scaling_laws.report.page import equation, inline_svg, report, symbol
from scaling_laws.report.summary import summary

TITLES = json.dumps({"books": "Books <and> more"})
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
        if tag in ("td", "th"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


CONFIG = """results: results
# a <tag> & more
corpora: {books: {format: jsonl, path: books.jsonl, title: Books}}
studies:
  model_size: {shapes: [{n_layer: 1, d_model: 8, n_head: 1}]}
  data_size: {shapes: [{n_layer: 1, d_model: 8, n_head: 1}], vary: {data_tokens: [15625]}}
fits: {laws: {L_N: [model_size], L_D: [data_size], L_C: [model_size], L_ND: [data_size]}}
"""


def add_corpus(results: Path) -> None:
    """Write the files of the stages before training."""
    tables = {
        "links/links": {"url_id": range(90)},
        "links/rejected": {"reason": ["score"] * 7 + ["host"] * 3},
        "crawl/0": {"outcome": ["ok"] * 30 + ["timeout"] * 2},
        "crawl/1": {"outcome": ["ok"] * 50 + ["robots"] * 8},
        "documents/0": {"doc_id": range(28)},
        "documents/0.rejected": {"reason": ["language"] * 2},
        "documents/1": {"doc_id": range(49)},
        # Of a former configuration with more shards and another corpus.
        "crawl/2": {"outcome": ["ok"] * 7},
        "documents/2": {"doc_id": range(7)},
        "corpora/poems": {"doc_id": range(7)},
        "corpus/documents": {"doc_id": range(61)},
        "corpus/duplicates": {"kind": ["near"] * 10 + ["exact"] * 6},
        "corpus/train": {"doc_id": range(58)},
        "corpus/test": {"doc_id": range(3)},
        "corpora/books": {"doc_id": range(5)},
        "corpora/books.rejected": {"doc_id": range(2)},
    }
    for name, columns in tables.items():
        path = results / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(columns).to_parquet(path)
    (results / "tokens").mkdir()
    (results / "tokens/tokenizer.json").write_text('{"model": {}}')
    (results / "tokens/train.json").write_text('{"documents": 58, "tokens": 4123456}')
    runs = pd.read_parquet(results / "tables/model_size/runs.parquet")
    (results / "plan").mkdir()
    runs[["run", "N"]].assign(study="model_size").to_csv(
        results / "plan/runs.tsv", sep="\t", index=False
    )
    (results / "config.yaml").write_text(CONFIG)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = synthetic.results(tmp_path_factory.mktemp("results"))
    add_corpus(results)
    for name in FIGURES:
        figure(
            name,
            tables=results / "tables",
            fits=results / "fits",
            corpora=TITLES,
            **{kind: results / "figures" / f"{name}.{kind}" for kind in ("svg", "png", "csv")},
        )
    return results


def write(results: Path, folder: Path) -> tuple[Path, Path]:
    output, comparison = folder / "report.html", folder / "paper_vs_ours.csv"
    report(results, output=output, comparison=comparison)
    return output, comparison


def change_fit(results: Path, name: str, **entries) -> None:
    path = results / "fits" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture(scope="module")
def page(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    output, _ = write(drawn, tmp_path_factory.mktemp("page"))
    return Page(output.read_text())


def test_page_stands_alone(page: Page):
    assert page.external == []
    assert page.links == ["https://arxiv.org/abs/2001.08361"]


def test_every_identifier_is_unique_and_every_reference_has_a_target(page: Page):
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    assert len(page.references) > 100


def test_page_has_every_figure_with_a_description(page: Page):
    assert set(FIGURES) <= set(page.ids)
    assert page.drawings == [f"{needs.title}: {needs.caption}" for needs in FIGURES.values()]


def test_page_says_what_the_laws_claim(page: Page, drawn: Path):
    for law, name in (("L(N)", "L_N"), ("L(D)", "L_D"), ("L(C)", "L_C")):
        fit = json.loads((drawn / "fits" / f"{name}.json").read_text())
        exponent = next(iter(fit["parameters"].values()))
        assert f"{law} decreases over its whole range." in page.text
        assert f"R² of the log loss {fit['r2_log']:.4f}" in page.text
        assert f"= {number(exponent['value'])}" in page.text
        assert interval(exponent["low"], exponent["high"]) in page.text
        assert f"paper {number(exponent['paper'])}" in page.text


def test_page_lists_every_run(page: Page, drawn: Path):
    for study in ("model_size", "data_size"):
        for run in pd.read_parquet(drawn / "tables" / study / "runs.parquet").itertuples():
            assert run.run in page.text
            assert f"{run.test_loss:.4f}" in page.text
    assert "23 runs (12 early stopped, 11 finished)" in page.text
    assert "11 runs were planned, and all of them are here." in page.text


def test_page_tells_where_the_data_come_from(page: Page):
    for row in (
        "Links selected 90",
        "Submissions rejected 10 score: 7, host: 3",
        "Links crawled 90 ok: 80, robots: 8, timeout: 2",
        "Documents extracted 77",
        "Pages rejected 2 language: 2",
        "Documents after deduplication 61",
        "Duplicates dropped 16 near: 10, exact: 6",
        "Documents for training 58",
        "Documents held out for testing 3",
        "Documents of books 5 ",
        "train 58 4,123,456",
    ):
        assert row in page.text
    assert "books.rejected" not in page.text
    assert "a <tag> & more" in page.text


def test_comparison_is_written_as_csv_and_markdown(drawn: Path, tmp_path: Path):
    _, comparison = write(drawn, tmp_path)
    table = pd.read_csv(comparison).set_index(["law", "parameter"])
    fit = json.loads((drawn / "fits/L_C.json").read_text())
    ours = fit["parameters"]["C_c"]
    row = table.loc[("L(C)", "C_c")]
    assert row.paper == 1.6e7
    assert row.paper_other == 2.0e7
    assert row.other_source == "legend of Figure 13"
    assert [row.ours, row.low, row.high] == [ours["value"], ours["low"], ours["high"]]
    assert len(table) == 10
    lines = comparison.with_suffix(".md").read_text().splitlines()
    assert len(lines) == 12
    assert len({line.count("|") for line in lines}) == 1
    assert "1.60e7 (Table 5); 2.00e7 (legend of Figure 13)" in "\n".join(lines)


def test_page_is_the_same_in_every_run(drawn: Path, tmp_path: Path):
    first, again = (write(drawn, tmp_path / name)[0] for name in "ab")
    assert first.read_bytes() == again.read_bytes()


def test_user_with_runs_only_gets_a_report(tmp_path: Path):
    results = synthetic.results(tmp_path)
    page = Page(write(results, tmp_path)[0].read_text())
    assert "Not in these results, and so not counted: links/links.parquet" in page.text
    assert "Not drawn: fig01 (its file is missing); fig02 (its file is missing);" in page.text
    assert "config.yaml is not in these results." in page.text


def test_page_shows_nothing_of_a_study_that_was_turned_off(tmp_path: Path):
    results = synthetic.results(tmp_path)
    add_corpus(results)
    for name in ("fig02", "fig04"):
        figure(
            name,
            tables=results / "tables",
            fits=results / "fits",
            **{kind: results / "figures" / f"{name}.{kind}" for kind in ("svg", "png", "csv")},
        )
    config = re.sub(r"  data_size: .*\n", "", CONFIG)
    config = re.sub(r"laws: .*", "laws: {L_N: [model_size]}}", config)
    (results / "config.yaml").write_text(config)
    output, comparison = write(results, tmp_path)
    page = Page(output.read_text())
    assert "Loss against data set size" not in page.text and "Figure 4" not in page.text
    assert "Figure 2" in page.text and "Documents of poems" not in page.text
    assert "fig04 (study data_size, law L_ND off)" in page.text
    assert set(pd.read_csv(comparison)["law"]) == {"L(N)"}


def test_page_is_honest_about_what_failed(tmp_path: Path):
    results = synthetic.results(tmp_path)
    add_corpus(results)
    change_fit(results, "L_ND", status="not_identified")
    change_fit(results, "L_N", decreasing=False)
    synthetic.change(
        results / "tables",
        "runs",
        lambda runs: runs.iloc[1:].assign(
            outcome=runs.outcome.where(runs.index != 3, "diverged"),
            test_loss=runs.test_loss.where(runs.index != 3),
        ),
    )
    page = Page(write(results, tmp_path)[0].read_text())
    assert "Fit: not identified by these runs." in page.text
    assert "L(N) does not decrease over its whole range." in page.text
    assert "1 of 22 runs diverged and enter no fit" in page.text
    assert "in no table: transformer-1x8-m040000000" in page.text
    assert "nan" not in page.text.lower().split()


def test_fit_without_interval_is_shown(tmp_path: Path):
    results = synthetic.results(tmp_path)
    path = results / "fits/L_D.json"
    fit = json.loads(path.read_text())
    for parameter in fit["parameters"].values():
        parameter |= {"low": None, "high": None}
    path.write_text(json.dumps(fit | {"status": "exact", "r2_log": None}))
    page = Page(write(results, tmp_path)[0].read_text())
    assert "as many points as parameters: no interval" in page.text


def test_bad_inputs_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"fits: no fit; expected at least one of L_N"):
        write(tmp_path, tmp_path)
    results = synthetic.results(tmp_path)
    (results / "figures").mkdir()
    (results / "figures/fig01.svg").write_text("nothing")
    with pytest.raises(InputError, match=r"fig01\.svg: not an SVG file"):
        write(results, tmp_path)
    change_fit(results, "L_N", law="L_D")
    with pytest.raises(InputError, match=r"L_N\.json: law is 'L_D'; expected 'L_N'"):
        write(results, tmp_path)


def test_summary_gives_exponents_and_where_to_look(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    summary(drawn)
    printed = capsys.readouterr().out
    fit = json.loads((drawn / "fits/L_N.json").read_text())
    exponent = fit["parameters"]["alpha_N"]
    line = next(line for line in printed.splitlines() if line.startswith("L(N) "))
    assert number(exponent["value"]) in line
    assert interval(exponent["low"], exponent["high"]) in line
    assert "0.0760" in line
    assert f"{fit['r2_log']:.4f}" in line
    assert f"5 figures: {drawn / 'figures'}" in printed
    assert "report:" not in printed
    (drawn / "report.html").write_text("")
    summary(drawn)
    assert f"report: {drawn / 'report.html'}" in capsys.readouterr().out


def test_inlined_svg_keeps_its_references_apart(tmp_path: Path):
    path = tmp_path / "fig07.svg"
    path.write_text(
        '<?xml version="1.0"?><svg width="1pt" viewBox="0 0 1 1"><metadata>x</metadata>'
        '<style>*{color:red}</style><g id="a"/><use href="#a" clip-path="url(#b)"/></svg>'
    )
    assert inline_svg(path) == (
        '<svg viewBox="0 0 1 1" aria-hidden="true" class="drawing"><g id="fig07-a"/>'
        '<use href="#fig07-a" clip-path="url(#fig07-b)"/></svg>'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.076, "0.0760"), (8.8e13, "8.80e13"), (7.03, "7.03"), (123.4, "123"), (12345, "12,345"),
     (None, "–"), (float("nan"), "–"), (4e-11, "4.00e-11")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, text: str):
    assert number(value) == text


def test_interval_without_an_upper_end_says_so():
    assert interval(3e9, None) == "3.00e9 or more"
    assert interval(None, None) == "–"


def test_symbols_and_equations_are_html():
    assert symbol("alpha_N") == "<var>α<sub>N</sub></var>"
    assert equation("L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D") == (
        "<var>L(N, D) = [(N<sub>c</sub> / N)<sup>α<sub>N</sub> / α<sub>D</sub></sup> + "
        "D<sub>c</sub> / D]<sup>α<sub>D</sub></sup></var>"
    )
