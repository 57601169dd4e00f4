from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as synthetic
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES, fig01, fig02, fig04, fig06, fig08, style
from scaling_laws.figures.draw import figure
from scaling_laws.figures.inputs import Inputs
from scaling_laws.laws.forms import predict

TITLES = {"books": "Books", "common_crawl": "Common Crawl"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def inputs(results: Path) -> Inputs:
    style.theme()
    return Inputs(results / "tables", results / "fits", TITLES)


def draw(results: Path, name: str, folder: Path, **options) -> dict[str, Path]:
    files = {kind: folder / f"{name}.{kind}" for kind in ("svg", "png", "csv")}
    options = {"tables": results / "tables", "fits": results / "fits"} | options
    figure(name, **options, **files)
    return files


def runs(results: Path, study: str) -> pd.DataFrame:
    return pd.read_parquet(results / "tables" / study / "runs.parquet").set_index("run")


def labels(panel: Axes) -> tuple[str, str]:
    return panel.get_xlabel(), panel.get_ylabel()


def fitted_line(panel: Axes) -> np.ndarray:
    return next(line for line in panel.lines if line.get_label().startswith("$L")).get_xydata()


def test_every_figure_has_its_needs_and_a_drawing():
    folder = Path(style.__file__).parent
    assert list(FIGURES) == sorted(path.stem for path in folder.glob("fig[0-9][0-9].py"))


def test_what_figures_need_is_known_without_matplotlib():
    code = "import sys, scaling_laws.figures; print('matplotlib' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_fig01_shows_the_three_laws(inputs: Inputs, results: Path):
    drawing, points = fig01.draw(inputs)
    compute, data, size = drawing.axes
    assert compute.get_xlabel() == "Compute (PF-days, non-embedding)"
    assert data.get_xlabel() == "Data set size (tokens)"
    assert labels(size) == ("Parameters (non-embedding)", "")
    assert compute.get_ylabel() == "Test loss (nats per token)"
    assert {panel.get_xscale() for panel in drawing.axes} == {"log"}

    for panel, law in zip(drawing.axes, ("L_C", "L_D", "L_N"), strict=True):
        x, loss = fitted_line(panel).T
        np.testing.assert_allclose(loss, predict(inputs.fit(law), x))

    of_size = points[(points.panel == "N") & (points.series == "fitted")].set_index("run")
    table = runs(results, "model_size")
    assert set(of_size.index) == set(table.index[table.n_layer > 1])
    pd.testing.assert_series_equal(of_size.loss, table.test_loss[of_size.index], check_names=False)
    left_out = points[(points.panel == "N") & (points.series == "left out")]
    assert set(left_out.run) == set(table.index[table.n_layer == 1])

    of_data = points[(points.panel == "D") & (points.series == "fitted")].set_index("run")
    best = runs(results, "data_size").best_test_loss
    pd.testing.assert_series_equal(of_data.loss, best[of_data.index], check_names=False)

    frontier = points[(points.panel == "C") & (points.series == "frontier")]
    assert frontier.loss.tolist() == [p["loss"] for p in inputs.fit("L_C")["points"]]


def test_fig01_legend_gives_the_fit_as_the_paper_does(inputs: Inputs):
    fit = inputs.fit("L_N")
    fit["parameters"]["alpha_N"]["value"] = 0.076
    fit["parameters"]["N_c"]["value"] = 8.8e13
    assert style.fit_label(fit) == r"$L = (N\,/\,8.8 \times 10^{13})^{\,-0.076}$"


def test_fig02_shows_every_learning_curve(inputs: Inputs, results: Path):
    drawing, points = fig02.draw(inputs)
    tokens, compute, bar = drawing.axes
    assert labels(tokens) == ("Tokens processed", "Test loss (nats per token)")
    assert compute.get_xlabel() == "Compute (PF-days, non-embedding)"
    assert bar.get_ylabel() == "Parameters (non-embedding)"
    curves = pd.read_parquet(results / "tables/model_size/curves.parquet")
    merged = points.merge(curves, on=["run", "step"])
    assert len(merged) == len(points) == len(curves)
    np.testing.assert_array_equal(merged.loss, merged.test_loss)
    np.testing.assert_allclose(merged.C, 6 * merged.N * merged.tokens_y / 8.64e19)
    assert len(tokens.lines) == len(compute.lines) == curves.run.nunique()


def test_fig04_shows_best_losses_and_the_joint_law(inputs: Inputs, results: Path):
    drawing, points = fig04.draw(inputs)
    panel = drawing.axes[0]
    assert labels(panel) == ("Tokens in data set", "Test loss (nats per token)")
    table = pd.concat([runs(results, "model_size"), runs(results, "data_size")])
    assert set(points.run) == set(table.index)
    np.testing.assert_array_equal(points.loss, table.best_test_loss[points.run])
    lines = [line for line in panel.lines if line.get_linestyle() == "--"]
    assert len(lines) == points.N.nunique()
    D, loss = lines[0].get_xydata().T
    np.testing.assert_allclose(loss, predict(inputs.fit("L_ND"), points.N.min(), D))


def test_fig06_has_a_series_for_each_depth(inputs: Inputs, results: Path):
    drawing, points = fig06.draw(inputs)
    (panel,) = drawing.axes
    legend = [text.get_text() for text in panel.get_legend().get_texts()]
    assert legend == ["1 layer", *(f"{n} layers" for n in (2, 3, 4, 5, 6))]
    table = runs(results, "model_size")
    np.testing.assert_array_equal(points.loss, table.test_loss[points.run])
    assert len(points) == len(table)


def test_fig08_sets_training_beside_its_end(inputs: Inputs, results: Path):
    drawing, points = fig08.draw(inputs)
    _, right = drawing.axes
    (legend,) = drawing.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["Test split", "Books", "Common Crawl", "internet books", "wikipedia"]
    assert right.get_xlabel() == "Loss on test split (nats per token)"
    assert right.xaxis_inverted() and right.yaxis_inverted()
    course = points[points.series == "during training"]
    assert set(course.N) == {384_000}
    assert course.step.nunique() == 5
    table = pd.read_parquet(results / "tables/model_size/evaluations.parquet")
    merged = points.merge(table, on=["run", "step", "corpus"], suffixes=("", "_table"))
    assert len(merged) == len(points)
    np.testing.assert_array_equal(merged.loss, merged.loss_table)


def test_fig08_does_without_snapshots(results: Path, tmp_path: Path):
    folder = synthetic.results(tmp_path)

    def last(table: pd.DataFrame) -> pd.DataFrame:
        return table[table.step == table.groupby("run").step.transform("max")]

    synthetic.change(folder / "tables/model_size", "evaluations", last)
    points = pd.read_csv(draw(folder, "fig08", tmp_path)["csv"])
    assert set(points.series) == {"end of training"}


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_logarithmic_with_plain_loss_labels(inputs: Inputs, name: str):
    drawing, _ = import_module(f"scaling_laws.figures.{name}").draw(inputs)
    drawing.draw_without_rendering()
    for panel in drawing.axes:
        if panel.get_label() == "<colorbar>":
            continue
        assert panel.get_yscale() == "log"
        texts = [text.get_text() for text in panel.get_yticklabels()]
        if (
            panel.get_shared_y_axes().joined(panel, drawing.axes[0])
            and panel is not drawing.axes[0]
        ):
            continue
        assert len(texts) >= 3
        assert all(re.fullmatch(r"\d+(\.\d+)?", text) for text in texts)


@pytest.mark.parametrize("name", FIGURES)
def test_no_legend_covers_a_point(inputs: Inputs, name: str):
    drawing, _ = import_module(f"scaling_laws.figures.{name}").draw(inputs)
    drawing.draw_without_rendering()
    for panel in drawing.axes:
        if (legend := panel.get_legend()) is None:
            continue
        box = legend.get_window_extent()
        for line in panel.lines:
            inside = [
                box.contains(*point) for point in panel.transData.transform(line.get_xydata())
            ]
            assert not any(inside), line.get_label()


@pytest.mark.parametrize("name", FIGURES)
def test_files_are_the_same_in_every_run(results: Path, tmp_path: Path, name: str):
    first = draw(results, name, tmp_path / "a")
    again = draw(results, name, tmp_path / "b")
    for kind, path in first.items():
        assert path.read_bytes() == again[kind].read_bytes(), kind
    assert len(pd.read_csv(first["csv"])) > 0


def test_loss_axis_of_a_narrow_range_has_readable_ticks():
    panel = Figure().subplots()
    panel.plot([1, 2], [3.50, 3.58])
    style.loss_axis(panel)
    texts = [label.get_text() for label in panel.get_yticklabels()]
    assert texts == ["3.50", "3.52", "3.54", "3.56", "3.58"]


def test_diverged_runs_are_not_drawn(tmp_path: Path):
    folder = synthetic.results(tmp_path)
    table = folder / "tables/model_size"
    synthetic.change(
        table,
        "runs",
        lambda runs: runs.assign(outcome=runs.outcome.where(runs.index != 6, "diverged")),
    )
    diverged = pd.read_parquet(table / "runs.parquet").run[6]
    for name in ("fig02", "fig06", "fig08"):
        assert diverged not in set(pd.read_csv(draw(folder, name, tmp_path)["csv"]).run)


def test_bad_inputs_are_named(results: Path, tmp_path: Path):
    with pytest.raises(InputError, match="unknown figure 'fig99'; expected one of fig01"):
        draw(results, "fig99", tmp_path)
    with pytest.raises(InputError, match=r"L_ND\.json: no such file; run `scaling-laws fit L_ND`"):
        draw(results, "fig04", tmp_path, fits=tmp_path)
    with pytest.raises(InputError, match="--corpora: not JSON"):
        draw(results, "fig08", tmp_path, corpora="{books")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "law"), [("fig01", "L_D"), ("fig04", "L_ND")])
def test_fit_without_a_scale_is_drawn(tmp_path: Path, name: str, law: str):
    folder = synthetic.results(tmp_path)
    path = folder / f"fits/{law}.json"
    fit = json.loads(path.read_text())
    fit["parameters"]["D_c"]["value"] = None
    path.write_text(json.dumps(fit))
    assert draw(folder, name, tmp_path)["svg"].is_file()
