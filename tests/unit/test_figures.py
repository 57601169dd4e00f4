from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as synthetic
from figure_table import COLOURS, OUTSIDE, PANELS
from matplotlib.figure import Figure

from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES, drawable, lacking, style
from scaling_laws.figures.draw import figure
from scaling_laws.laws.efficient import compute_min, steps_min
from scaling_laws.laws.forecast import read_fit
from scaling_laws.laws.forms import LAWS
from scaling_laws.models.counts import FLOP_PER_PF_DAY

ENDINGS = ("svg", "png", "csv", "json")


def copy(everything: Path, tmp_path: Path) -> Path:
    return shutil.copytree(everything, tmp_path / "results")


def words(drawn: Path, name: str) -> dict:
    return json.loads((drawn / f"{name}.json").read_text())


def points(drawn: Path, name: str, panel: str | None = None) -> pd.DataFrame:
    table = pd.read_csv(drawn / f"{name}.csv")
    return table if panel is None else table[table.panel == panel]


def table(everything: Path, study: str, name: str = "runs") -> pd.DataFrame:
    return pd.read_parquet(everything / "tables" / study / f"{name}.parquet")


def test_every_figure_has_a_drawing_and_every_drawing_a_figure():
    folder = Path(style.__file__).parent
    shared = {"__init__", "canvas", "draw", "inputs", "style"}
    assert set(FIGURES) == {path.stem for path in folder.glob("*.py")} - shared
    assert [name for name in FIGURES if name.startswith("fig")] == [
        f"fig{number:02}" for number in range(1, 25)
    ]


def test_what_figures_need_is_known_without_matplotlib():
    code = "import sys, scaling_laws.figures; print('matplotlib' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize("name", PANELS)
def test_panels_say_what_the_table_of_figures_says(drawn: Path, name: str):
    said = words(drawn, name)
    assert len(said["panels"]) == len(PANELS[name])
    for panel, (x, x_scale, y, y_scale, legend) in zip(said["panels"], PANELS[name], strict=True):
        assert (panel["x"]["label"], panel["x"]["scale"]) == (x, x_scale)
        assert (panel["y"]["label"], panel["y"]["scale"]) == (y, y_scale)
        assert len(panel["legend"]) == len(legend), panel["legend"]
        for found, pattern in zip(panel["legend"], legend, strict=True):
            assert re.fullmatch(pattern, found), found
    assert said["colours"] == COLOURS.get(name, [])
    assert said["legend"] == OUTSIDE.get(name, [])
    assert said["notes"] == []


def test_residuals_have_a_panel_for_each_law(drawn: Path, everything: Path):
    said = words(drawn, "residuals")
    assert len(said["panels"]) == len(list((everything / "fits").glob("*.json")))
    assert {panel["y"]["label"] for panel in said["panels"]} == {"Observed over fitted (%)", ""}
    L_N = points(drawn, "residuals", "L_N")
    fit = read_fit(everything / "fits/L_N.json")
    observed = pd.DataFrame(fit.content["points"]).set_index("run").loss
    fitted = fit.law(fit.constants, N=L_N.N.to_numpy())
    np.testing.assert_allclose(L_N.y, 100 * (observed[L_N.run].to_numpy() / fitted - 1))


@pytest.mark.parametrize("name", FIGURES)
def test_a_blind_reader_is_told_what_is_drawn(drawn: Path, name: str):
    said = words(drawn, name)
    assert said["alt"].startswith(said["title"])
    for panel in said["panels"]:
        for axis in (panel["x"], panel["y"]):
            plain = re.sub(r"[$\\{}]|mathrm", "", axis["label"].split("$")[0]).strip()
            assert plain in said["alt"]
    assert "$" not in said["alt"] and "\\" not in said["alt"]


# The points of each figure beside the tables that they are from.

FROM_RUNS = {
    "fig01": ("size", "test_loss"), "fig06": (None, "test_loss"), "fig17": (None, "test_loss"),
    "fig23": ("size", "test_loss"), "fig22": ("loss", "test_loss"), "fig24": (None, "test_loss"),
}  # fmt: skip


@pytest.mark.parametrize("name", FROM_RUNS)
def test_points_are_the_losses_of_the_runs(drawn: Path, everything: Path, name: str):
    panel, column = FROM_RUNS[name]
    found = points(drawn, name, panel)
    found = found[found.run.notna() & (found.series != "learning curve")]
    if name == "fig24":
        found = found[found.series == "test"]
    runs = pd.read_parquet(everything / "tables/runs.parquet").set_index("run")
    np.testing.assert_allclose(found.y, runs[column][found.run])
    x = {"fig06": "N_total", "fig22": "lr_sum", "fig24": "n_layer"}.get(name, "N")
    if name == "fig06":
        right = found[found.panel == "N"]
        np.testing.assert_allclose(right.x, runs.N[right.run])
        found = found[found.panel == "N_total"]
    if name == "fig17":
        found = found[found.panel == "once"]
    np.testing.assert_allclose(found.x, runs[x][found.run])


@pytest.mark.parametrize(("name", "study"), [("fig02", "model_size"), ("fig16", "data_size")])
def test_curves_are_those_of_the_tables(drawn: Path, everything: Path, name: str, study: str):
    curves = table(everything, study, "curves")
    runs = table(everything, study).set_index("run")
    curves = curves[(curves.tokens > 0) & curves.test_loss.notna()]
    if name == "fig02":
        for panel in ("tokens", "C"):
            found = points(drawn, name, panel)
            for run, of_run in found.groupby("run"):
                curve = curves[curves.run == run]
                x = curve.tokens
                if panel == "C":
                    x = 6 * runs.N[run] * curve.tokens / FLOP_PER_PF_DAY
                np.testing.assert_allclose(of_run.x, x)
                np.testing.assert_allclose(of_run.y, curve.test_loss)
            assert set(found.run) == set(runs.index)
    else:
        found = points(drawn, name, "curves")
        largest = runs[runs.N.max() == runs.N]
        assert set(found.run) == set(largest.index)
        for (run, series), of_run in found.groupby(["run", "series"]):
            curve = curves[(curves.run == run) & curves[f"{series}_loss"].notna()]
            np.testing.assert_allclose(of_run.y, curve[f"{series}_loss"])


def test_fig01_compute_is_that_of_small_batches(drawn: Path, everything: Path):
    critical = read_fit(everything / "fits/B_crit.json")
    found = points(drawn, "fig01", "compute")
    curves = found[found.series == "learning curve"]
    B = table(everything, "model_size").B.iloc[0]
    of_run = table(everything, "model_size", "curves").set_index(["run", "test_loss"])
    for row in curves.sample(20, random_state=0).itertuples():
        tokens = of_run.tokens[row.run, row.y]
        spent = 6 * row.N * tokens / FLOP_PER_PF_DAY
        batch = critical.law(critical.constants, L=np.array(row.y))
        np.testing.assert_allclose(row.x, compute_min(spent, B, batch))


@pytest.mark.parametrize(
    ("name", "panel", "law", "series"),
    [
        ("fig01", "compute", "L_C_min", "fit"), ("fig01", "data", "L_D", "fit"),
        ("fig01", "size", "L_N", "fit"), ("fig10", None, "B_crit", "fit"),
        ("fig13", None, "L_C", "fit of L_C"), ("fig14", "size", "N_C", "fit of N_C"),
        ("fig14", "size", "N_opt", "fit of N_opt"), ("fig14", "steps", "S_opt", "fit of S_opt"),
        ("fig23", None, "L_N", "power law"),
    ],
)  # fmt: skip
def test_fits_are_drawn_with_their_intervals(drawn, everything, name, panel, law, series):
    fit = read_fit(everything / f"fits/{law}.json")
    found = points(drawn, name, panel)
    line = found[found.series == series]
    (variable,) = fit.law.variables
    value, low, high = fit.band(**{variable: line.x.to_numpy()})
    np.testing.assert_allclose(line.y, value)
    np.testing.assert_allclose(line.low, low)
    np.testing.assert_allclose(line.high, high)
    assert (line.low <= line.high).all()
    assert tuple(line.x.iloc[[0, -1]]) == pytest.approx(tuple(fit.content["range"][variable]))


def test_fig03_stacks_the_growth_of_table_6(drawn: Path):
    paper = points(drawn, "fig03", "paper")
    ends = paper[paper.x == paper.x.max()].set_index("series")
    growth = ends.high / ends.low
    assert growth["model size"] == pytest.approx(3.7e6, rel=0.02)
    assert growth["batch size"] == pytest.approx(145, rel=0.01)
    assert growth["serial steps"] == pytest.approx(1.9, rel=0.03)
    assert ends.low["batch size"] == ends.high["serial steps"]


def test_fig04_and_fig09_show_the_points_of_the_joint_fit(drawn: Path, everything: Path):
    fit = read_fit(everything / "fits/L_ND.json")
    fitted = pd.DataFrame(fit.content["points"]).set_index("run")
    left = points(drawn, "fig04", "data")
    left = left[left.series == "runs"]
    assert set(left.run) == set(fitted.index)
    np.testing.assert_allclose(left.y, fitted.loss[left.run])
    np.testing.assert_allclose(left.x, fitted.D[left.run])
    right = points(drawn, "fig09", "collapse")
    runs = right[right.run.notna()]
    power = fit.constants["alpha_N"] / fit.constants["alpha_D"]
    for row in runs.itertuples():
        of_size = fitted[fitted.N == row.N]
        endless = of_size.loss[of_size.D.max() == of_size.D].mean()
        assert row.y == pytest.approx(fitted.loss[row.run] / endless - 1)
        assert row.x == pytest.approx(row.N**power / fitted.D[row.run])
    line = right[right.series == "eq. 4.3"]
    # Equation 4.3 is the ratio of the law to its limit.
    N = 1e5
    law = fit.law(fit.constants, N=np.array(N), D=N**power / line.x.to_numpy())
    endless = (fit.constants["N_c"] / N) ** fit.constants["alpha_N"]
    np.testing.assert_allclose(line.y, law / endless - 1, rtol=1e-9, atol=1e-12)


def test_fig04_steps_are_those_of_large_batches(drawn: Path, everything: Path):
    critical = read_fit(everything / "fits/B_crit.json")
    found = points(drawn, "fig04", "steps")
    found = found[found.series == "runs"]
    curves = table(everything, "model_size", "curves").set_index(["run", "test_loss"])
    for row in found.sample(20, random_state=0).itertuples():
        batch = critical.law(critical.constants, L=np.array(row.y))
        assert row.x == pytest.approx(float(steps_min(curves.step[row.run, row.y], 2048, batch)))


def test_fig05_corrects_sizes_and_starts_at_the_best(drawn: Path, everything: Path):
    power = read_fit(everything / "fits/L_N.json").constants["alpha_N"]
    runs = pd.read_parquet(everything / "tables/runs.parquet").set_index("run")
    for panel, ratio in (
        ("feed_forward", runs.d_ff / runs.d_model), ("aspect", runs.d_model / runs.n_layer),
        ("heads", runs.d_model / runs.n_head),
    ):  # fmt: skip
        found = points(drawn, "fig05", panel)
        assert len(found) >= 4
        assert found.y.min() == 0
        np.testing.assert_allclose(found.x, ratio[found.run])
        assert found.x.is_monotonic_increasing
        losses = runs.test_loss[found.run].to_numpy()
        sizes = runs.N[found.run].to_numpy()
        corrected = losses * (sizes / sizes.mean()) ** power
        np.testing.assert_allclose(found.y, 100 * (corrected / corrected.min() - 1), atol=1e-9)


def test_fig08_sets_training_beside_its_end(drawn: Path, everything: Path):
    found = points(drawn, "fig08", "test split")
    course = found[found.series.str.contains("during training")]
    evaluations = table(everything, "model_size", "evaluations")
    on_test = evaluations[evaluations.corpus == "test"].set_index("run").loss
    assert course.run.nunique() == 1
    steps = evaluations[evaluations.run == course.run.iloc[0]].step.nunique()
    assert len(course) == 4 * steps and steps > 1
    for row in found.itertuples():
        corpus = row.series.removesuffix(" during training")
        pairs = evaluations[(evaluations.run == row.run) & (evaluations.corpus == corpus)]
        assert np.isclose(pairs.loss, row.y).any()
        assert np.isclose(on_test[[row.run]], row.x).any()


def test_fig11_cuts_learning_curves_where_the_law_goes_through(drawn: Path):
    found = points(drawn, "fig11", "steps")
    fits = found[found.series.str.startswith("fit")]
    dots = found[~found.series.str.startswith("fit")]
    assert dots.series.nunique() >= 5
    for series, of_slice in dots.groupby("series"):
        line = fits[fits.series == f"fit at {series}"].sort_values("x")
        foretold = np.interp(np.log(of_slice.x), np.log(line.x), line.y)
        np.testing.assert_allclose(of_slice.y, foretold, rtol=0.02)  # runs follow the planted law


def test_fig12_has_the_papers_costs(drawn: Path):
    cost = points(drawn, "fig12", "compute")
    paper = cost[cost.series == "paper, Table 3"]
    assert np.interp(2.2, paper.x, paper.y) == pytest.approx(1.204, abs=0.003)
    assert np.interp(0.6, paper.x, paper.y) == pytest.approx(1.165, abs=0.003)
    steps = points(drawn, "fig12", "steps")
    paper = steps[steps.series == "paper, Table 3"]
    assert np.interp(2.2, paper.x, paper.y) == pytest.approx(0.547, abs=0.003)


def test_fig14_steps_spend_the_compute(drawn: Path):
    steps = points(drawn, "fig14", "steps")
    fixed = steps[steps.series == "fixed batch"]
    np.testing.assert_allclose(6 * fixed.N * 2048 * fixed.y / FLOP_PER_PF_DAY, fixed.x)


def test_fig16_bound_is_equation_5_7(drawn: Path, everything: Path):
    joint, steps, critical = (
        read_fit(everything / f"fits/{law}.json") for law in ("L_ND", "L_NS", "B_crit")
    )
    found = points(drawn, "fig16", "stopping")
    runs = table(everything, "data_size").set_index("run")
    dots = found[found.series == "runs"]
    assert len(dots) > 5
    for row in dots.itertuples():
        run = runs.loc[row.run]
        endless = (joint.constants["N_c"] / run.N) ** joint.constants["alpha_N"]
        c = steps.constants
        bound = c["S_c"] / (run.best_test_loss - endless) ** (1 / c["alpha_S"])
        batch = critical.law(critical.constants, L=np.array(run.best_test_loss))
        assert row.x == pytest.approx(bound)
        assert row.y == pytest.approx(float(steps_min(run.best_step, run.B, batch)))


def test_fig18_points_lie_on_hyperbolae(drawn: Path, everything: Path):
    found = points(drawn, "fig18")
    assert found.panel.nunique() == 2
    batches = set(table(everything, "batch_size").B)
    dots = found[found.series.str.startswith("loss")]
    ratios = (dots.y / dots.x).round(6)
    assert {round(ratio) for ratio in ratios} <= batches
    for (panel, series), of_loss in dots.groupby(["panel", "series"]):
        line = found[(found.panel == panel) & (found.series == f"hyperbola at {series[5:]}")]
        line = line.sort_values("x")
        foretold = np.exp(np.interp(np.log(of_loss.x), np.log(line.x), np.log(line.y)))
        np.testing.assert_allclose(of_loss.y, foretold, rtol=0.2)


def test_fig19_needs_fewer_steps_and_tokens_for_larger_models(drawn: Path):
    for panel in ("steps", "tokens"):
        for _, of_loss in points(drawn, "fig19", panel).groupby("series"):
            assert (np.diff(of_loss.sort_values("x").y) < 0).all()


def test_fig20_finds_the_planted_course_along_the_context(drawn: Path):
    left = points(drawn, "fig20", "by size")
    for _, of_run in left.groupby("run"):
        runs, fit = (of_run[of_run.series == name] for name in ("runs", "fit"))
        np.testing.assert_allclose(fit.y, runs.y, rtol=0.01)
    right = points(drawn, "fig20", "in training")
    assert right.series.str.startswith("T = ").all() and right.x.nunique() == 4


@pytest.mark.parametrize("name", ["fig07", "fig21"])
def test_losses_by_position_are_those_of_the_tables(drawn: Path, everything: Path, name: str):
    studies = ("model_size", "lstm" if name == "fig07" else "context")
    places = pd.concat([table(everything, study, "positions") for study in studies])
    last = places[places.step == places.groupby("run").step.transform("max")]
    if name == "fig21":
        sizes = pd.read_parquet(everything / "tables/runs.parquet").set_index("run")
        found = points(drawn, name)
        for row in found.itertuples():
            _, T, _, n_ctx = row.series.split()
            of_token = last[(last.position == int(T)) & (last.run.map(sizes.N) == row.N)]
            of_token = of_token[of_token.run.map(sizes.n_ctx) == int(n_ctx)]
            assert row.y == pytest.approx(of_token.loss.mean())
    else:
        found = points(drawn, name, "position")
        single = found[found.x <= 5]  # later positions share a bin
        keyed = last.set_index(["run", "position"]).loss
        for row in single.itertuples():
            assert row.y == pytest.approx(keyed[row.run, round(row.x)])


def test_own_figures_are_drawn_from_their_tables(drawn: Path, everything: Path):
    flow = pd.read_csv(everything / "tables/flow.csv")
    shown = points(drawn, "corpus")
    crawl = flow[flow.stage == "crawl"]
    of_crawl = shown[shown.series.str.startswith("crawl")]
    assert of_crawl.low.sum() == crawl["count"].sum()
    assert of_crawl.x.max() == pytest.approx(100)
    chance = points(drawn, "duplicates")
    table_ = pd.read_csv(everything / "tables/duplicates.csv")
    np.testing.assert_allclose(
        chance.y[chance.series == "chance"], table_.value[table_.series == "chance"]
    )
    exponents = pd.read_csv(everything / "tables/conventions.csv")
    assert set(points(drawn, "conventions").x) == set(exponents.exponent.dropna())
    judged = pd.read_csv(everything / "tables/held_out.csv")
    np.testing.assert_allclose(points(drawn, "held_out").x, judged.predicted)
    plan = pd.read_csv(everything / "plan/runs.tsv", sep="\t")
    cost = points(drawn, "cost")
    spent = (cost.high - cost.low).sum()
    assert spent == pytest.approx(plan.C_full.sum() / FLOP_PER_PF_DAY)


# How figures look.


@pytest.mark.parametrize("name", FIGURES)
def test_no_legend_covers_a_point(drawn: Path, kept: dict[str, Figure], name: str):
    drawing = kept[name]
    for panel in drawing.axes:
        if (legend := panel.get_legend()) is None:
            continue
        box = legend.get_window_extent()
        for line in panel.lines:
            xy = np.asarray(line.get_xydata(), dtype=float)
            if line.get_label() in ("threshold 0.5",) or not len(xy):
                continue
            inside = [box.contains(*point) for point in panel.transData.transform(xy)]
            assert not any(inside), line.get_label()


@pytest.mark.parametrize("name", ["fig01", "fig09", "fig20", "corpus", "residuals"])
def test_files_are_the_same_in_every_run(drawn: Path, everything: Path, tmp_path: Path, name: str):
    figure(name, everything, corpora=synthetic.TITLES, output=tmp_path)
    for ending in ENDINGS:
        path = tmp_path / f"{name}.{ending}"
        assert path.read_bytes() == (drawn / path.name).read_bytes(), ending
    assert len(pd.read_csv(tmp_path / f"{name}.csv")) > 0


def test_loss_axis_of_a_narrow_range_has_readable_ticks():
    panel = Figure().subplots()
    panel.plot([1, 2], [3.50, 3.58])
    style.loss_axis(panel)
    texts = [label.get_text() for label in panel.get_yticklabels()]
    assert texts == ["3.50", "3.52", "3.54", "3.56", "3.58"]


@pytest.mark.parametrize(
    ("value", "text"), [(500, "500"), (15_000, "15k"), (2.5e6, "2.5M"), (1e-7, "1e-07"), (0, "0")]
)
def test_numbers_on_axes_are_plain(value: float, text: str):
    assert style.plain(value) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("E + (N_c / N)^alpha_N", r"$E\,+\,(N_{c}/N)^{\alpha_{N}}$"),
        (
            "[(N_c / N)^(alpha_N / beta) + D]^beta",
            r"$[(N_{c}/N)^{\alpha_{N}/\beta}\,+\,D]^{\beta}$",
        ),
        ("a + b ln N", r"$a\,+\,b\,\ln\,N$"),
    ],
)
def test_laws_in_plain_text_become_mathematics(text: str, said: str):
    assert style.formula(text) == said


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (4.75, 5.72, ["4.75", "5", "5.25", "5.5"]),
        (140, 740, ["200", "500"]),
        (105, 195, ["125", "150", "175"]),
        (5e-11, 6e-10, ["$10^{-10}$", "$2 \\times 10^{-10}$", "$5 \\times 10^{-10}$"]),
        (1e-8, 10, None),
    ],
)
def test_axes_have_few_labels_and_never_none(low: float, high: float, labels: list[str] | None):
    axes = Figure().subplots()
    axes.set_xlim(low, high)
    style.log_axis(axes, "x")
    locator, formatter = axes.xaxis.get_major_locator(), axes.xaxis.get_major_formatter()
    ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
    if labels is None:
        assert 3 <= len(ticks) <= 7
    else:
        assert [formatter(tick, place) for place, tick in enumerate(ticks)] == labels


# What is missing is said, not drawn wrong.


def test_a_fit_that_is_not_identified_is_not_drawn(everything: Path, tmp_path: Path):
    folder = copy(everything, tmp_path)
    path = folder / "fits/B_crit.json"
    fit = json.loads(path.read_text())
    fit |= {"status": "not_identified", "diagnosis": ["too few batches"]}
    path.write_text(json.dumps(fit))
    out = tmp_path / "out"
    for name in ("fig01", "fig04", "fig10", "fig11", "fig12", "fig13", "fig14", "fig16", "fig19"):
        figure(name, folder, output=out)
        notes = " ".join(words(out, name)["notes"])
        assert "B_crit(L) is not determined by these runs (too few batches)" in notes
    assert words(out, "fig01")["panels"][0]["x"]["label"] == "Compute (PF-days, non-embedding)"
    assert not words(out, "fig04")["panels"][1]["drawn"]
    assert "B_crit(L) is not determined by these runs" in words(out, "fig04")["panels"][1]["text"]
    assert "nothing drawn; B_crit(L) is not determined" in words(out, "fig19")["alt"]
    assert len(points(out, "fig19")) == 0
    fits = {series for series in points(out, "fig10").series if series == "fit"}
    assert fits == set()
    assert not points(out, "fig14").series.isin(["small batches", "fit of N_opt"]).any()
    assert set(points(out, "fig12").series) == {"paper, Table 3"}


def test_a_study_that_is_off_is_not_read(everything: Path, tmp_path: Path):
    figure("fig06", everything, studies="model_size", laws="", output=tmp_path)
    assert words(tmp_path, "fig06")["notes"] == ["the study depth is off"]
    runs = set(table(everything, "model_size").run)
    assert set(points(tmp_path, "fig06").run) == runs
    with pytest.raises(InputError, match="fig05 needs one of the studies feed_forward, aspect"):
        figure("fig05", everything, studies="model_size", laws="", output=tmp_path)


def test_runs_that_processed_other_numbers_of_tokens_are_marked(everything: Path, tmp_path: Path):
    folder = copy(everything, tmp_path)
    synthetic.change(folder / "tables/lstm", "runs", lambda runs: runs.assign(tokens=100_000))
    figure("fig07", folder, output=tmp_path)
    (note,) = words(tmp_path, "fig07")["notes"]
    assert "between 100,000 and 3,999,744 tokens" in note


def test_diverged_runs_are_not_drawn(everything: Path, tmp_path: Path):
    folder = copy(everything, tmp_path)
    synthetic.change(
        folder / "tables/model_size",
        "runs",
        lambda runs: runs.assign(outcome=runs.outcome.where(runs.index != 6, "diverged")),
    )
    diverged = table(folder, "model_size").run[6]
    for name in ("fig02", "fig06", "fig08", "fig11", "fig20"):
        figure(name, folder, output=tmp_path)
        assert diverged not in set(points(tmp_path, name).run)


def test_fig08_does_without_snapshots(everything: Path, tmp_path: Path):
    folder = copy(everything, tmp_path)

    def last(of: pd.DataFrame) -> pd.DataFrame:
        return of[of.step == of.groupby("run").step.transform("max")]

    synthetic.change(folder / "tables/model_size", "evaluations", last)
    figure("fig08", folder, output=tmp_path)
    assert not points(tmp_path, "fig08").series.str.contains("during").any()
    assert "no run of the study model_size has snapshots" in words(tmp_path, "fig08")["notes"][0]


def test_figures_of_a_configuration_are_those_whose_studies_and_laws_are_on():
    assert drawable([], []) == [
        "fig03",
        "fig12",
        "fig15",
        "corpus",
        "duplicates",
        "held_out",
        "cost",
    ]
    on = drawable(["model_size"], ["L_N"])
    assert "fig23" in on and "fig01" not in on and "residuals" in on
    assert lacking("fig01", ["model_size"], ["L_C", "L_N"]) == ["study data_size", "law L_D"]


def test_bad_inputs_are_named(everything: Path, tmp_path: Path):
    with pytest.raises(InputError, match="unknown figure 'fig99'; expected one of fig01"):
        figure("fig99", everything, output=tmp_path)
    with pytest.raises(InputError, match=r"L_ND\.json: no such file; `scaling-laws fit"):
        folder = copy(everything, tmp_path)
        (folder / "fits/L_ND.json").unlink()
        figure("fig04", folder, laws="L_ND", output=tmp_path / "out")
    with pytest.raises(InputError, match="--corpora: not JSON"):
        figure("fig08", everything, corpora="{books", output=tmp_path / "out")
    with pytest.raises(InputError, match=r"runs\.tsv: no such file"):
        (folder / "plan/runs.tsv").unlink()
        figure("cost", folder, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_law_with_two_constants_has_a_label():
    for law in LAWS.values():
        constants = law.published
        if constants:
            assert style.law_label(law, constants)


def test_titles_with_dollars_are_no_mathematics(everything: Path, tmp_path: Path):
    figure("fig24", everything, corpora='{"books": "A $_{b} c"}', output=tmp_path)
    assert "A $_{b} c" in words(tmp_path, "fig24")["panels"][0]["legend"][1].replace("\\$", "$")
