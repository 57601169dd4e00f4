from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as synthetic

from scaling_laws.errors import InputError
from scaling_laws.laws.curves import compute_curves, tracks
from scaling_laws.laws.fit import fit
from scaling_laws.laws.forms import LAWS, predict
from scaling_laws.laws.paper import TABLE_2, TABLE_5
from scaling_laws.laws.points import Rules, select_runs


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    return synthetic.model_size(tmp_path / "tables" / "model_size")


@pytest.fixture
def subsets(tmp_path: Path) -> Path:
    return synthetic.data_size(tmp_path / "tables" / "data_size")


def fitted(law: str, tables: list[Path], **options) -> dict:
    output = tables[0].parent.parent / "fits" / f"{law}.json"
    fit(law, tables, json=output, **options)
    return json.loads(output.read_text())


def holds(parameter: dict, planted: float) -> bool:
    return parameter["low"] <= planted <= parameter["high"]


def width(parameter: dict) -> float:
    return parameter["high"] - parameter["low"]


def test_paper_constants_give_the_papers_losses():
    constants = {name: TABLE_5[name].value for name in ("alpha_N", "N_c")}
    assert LAWS["L_N"](constants, N=708e6) == pytest.approx(2.44, abs=0.005)
    constants = {name: constant.value for name, constant in TABLE_2.items()}
    assert LAWS["L_ND"](constants, N=708e6, D=22e9) == pytest.approx(2.43, abs=0.01)


def test_joint_law_becomes_each_law_of_one_variable():
    constants = {name: constant.value for name, constant in TABLE_2.items()}
    size = LAWS["L_ND"](constants, N=1e6, D=1e40)
    assert size == pytest.approx((6.4e13 / 1e6) ** 0.076)
    data = LAWS["L_ND"](constants, N=1e40, D=1e7)
    assert data == pytest.approx((1.8e13 / 1e7) ** 0.103)


def test_model_size_law_is_recovered(sizes: Path):
    result = fitted("L_N", [sizes])
    assert result["status"] == "converged"
    assert result["parameters"]["alpha_N"]["value"] == pytest.approx(synthetic.ALPHA_N, rel=0.02)
    assert holds(result["parameters"]["alpha_N"], synthetic.ALPHA_N)
    assert holds(result["parameters"]["N_c"], synthetic.N_C)
    assert result["r2_log"] > 0.999
    assert result["decreasing"] is True


def test_data_size_law_is_recovered_from_best_losses(tmp_path: Path):
    folder = synthetic.data_size(tmp_path / "data_size", loss=lambda N, D: (5e9 / D) ** 0.15)
    result = fitted("L_D", [folder])
    assert holds(result["parameters"]["alpha_D"], 0.15)
    assert holds(result["parameters"]["D_c"], 5e9)
    runs = pd.read_parquet(folder / "runs.parquet").set_index("run")
    assert (runs.test_loss > runs.best_test_loss).all()
    for point in result["points"]:
        assert point["loss"] == runs.best_test_loss[point["run"]]


def test_data_size_law_is_about_the_largest_model(subsets: Path):
    result = fitted("L_D", [subsets])
    assert result["n_points"] == len(synthetic.SUBSETS)
    assert {row["reason"] for row in result["excluded"]} == {"not the largest model, N = 165888"}


def test_compute_law_is_recovered_from_the_frontier(sizes: Path):
    result = fitted("L_C", [sizes])
    assert result["parameters"]["alpha_C"]["value"] == pytest.approx(synthetic.ALPHA_N, rel=0.03)
    assert holds(result["parameters"]["alpha_C"], synthetic.ALPHA_N)
    assert holds(result["parameters"]["C_c"], synthetic.C_C_PF_DAYS)
    assert result["r2_log"] > 0.99
    low, high = result["range"]["C"]
    assert 10 <= result["n_points"] == round(np.log10(high / low) * 20) + 1


def test_frontier_leaves_out_warmup_and_what_only_one_size_reached(sizes: Path):
    law = LAWS["L_C"]
    runs, _ = select_runs(law, [sizes], Rules())
    curves = compute_curves(tracks(runs, [sizes], Rules()), None)
    C = 6 * runs.N * synthetic.B / 8.64e19
    covered = np.exp(curves.log_C[np.isfinite(curves.log_loss[0])])
    # Learning curves are evaluated at log-spaced steps, so the peak is met within a factor 1.4.
    assert covered.min() >= C[0] * synthetic.WARMUP_STEPS / 1.4
    frontier = curves.frontier(np.ones((1, len(runs)), dtype=bool))[0][0]
    on = np.exp(curves.log_C[np.isfinite(frontier)])
    second_largest = sorted(set(runs.N))[-2]
    last = 6 * second_largest * runs.tokens.iloc[0] / 8.64e19
    assert on.max() <= last * (1 + 1e-9) < np.exp(curves.log_C.max())
    assert (np.diff(frontier[np.isfinite(frontier)]) < 0).all()


def test_frontier_drops_what_less_compute_has_reached(sizes: Path):
    def spoil(curves: pd.DataFrame) -> pd.DataFrame:
        # A small model with a far better end than what follows.
        end = curves.step == curves.step.max()
        small = curves.run.str.contains("-2x16-")
        return curves.assign(test_loss=curves.test_loss.where(~(end & small), 4.0))

    before = fitted("L_C", [sizes])
    synthetic.change(sizes, "curves", spoil)
    after = fitted("L_C", [sizes])
    assert before["frontier"]["points_dominated"] == 0
    assert after["frontier"]["points_dominated"] > 5
    losses = [point["loss"] for point in after["points"]]
    assert losses == sorted(losses, reverse=True)


def test_joint_law_is_recovered(tmp_path: Path):
    sizes = synthetic.model_size(tmp_path / "model_size", lambda N: synthetic.joint(N, 4e6))
    subsets = synthetic.data_size(tmp_path / "data_size")
    result = fitted("L_ND", [sizes, subsets], bootstrap=200)
    assert result["status"] == "converged"
    assert result["starts"]["agreeing"] > result["starts"]["tried"] / 2
    for name, planted in synthetic.JOINT.items():
        parameter = result["parameters"][name]
        assert holds(parameter, planted), name
        assert np.log(parameter["value"]) == pytest.approx(np.log(planted), rel=0.02, abs=0.02)
    assert result["r2_log"] > 0.999
    point = result["points"][0]
    assert predict(result, point["N"], point["D"]) == pytest.approx(point["loss"], rel=0.01)


def test_law_of_data_that_do_not_limit_is_not_identified(tmp_path: Path):
    subsets = synthetic.data_size(tmp_path / "data_size", loss=lambda N, D: synthetic.size_law(N))
    result = fitted("L_ND", [subsets], bootstrap=100)
    assert result["status"] in ("at_bound", "not_identified")
    flat = fitted("L_D", [subsets])
    assert flat["status"] in ("at_bound", "not_identified")
    assert flat["decreasing"] is False


def test_joint_law_is_not_identified_where_size_and_data_grow_together(sizes: Path):
    def along_a_ray(runs: pd.DataFrame) -> pd.DataFrame:
        N = runs.N.to_numpy(dtype=float)
        equal = {"alpha_N": 0.1, "alpha_D": 0.1, "N_c": 1e10, "D_c": 1e10}
        loss = LAWS["L_ND"](equal, N=N, D=100 * N)
        return runs.assign(D=100 * runs.N, best_test_loss=loss)

    synthetic.change(sizes, "runs", along_a_ray)
    result = fitted("L_ND", [sizes], bootstrap=100)
    assert result["bootstrap"]["converged"] >= 95
    assert result["r2_log"] > 0.999
    assert result["status"] == "not_identified"


def test_bootstrap_draws_runs_and_not_points(sizes: Path):
    before = fitted("L_C", [sizes])

    def twice(curves: pd.DataFrame) -> pd.DataFrame:
        between = curves.iloc[:-1].copy()
        after = curves.iloc[1:]
        same = between.run.to_numpy() == after.run.to_numpy()
        for column in ("step", "tokens", "test_loss"):
            pair = between[column].to_numpy(), after[column].to_numpy()
            between[column] = np.sqrt(np.multiply(*pair))
        return pd.concat([curves, between[same]]).sort_values(["run", "step"])

    synthetic.change(sizes, "curves", twice)
    after = fitted("L_C", [sizes])
    ratio = width(after["parameters"]["alpha_C"]) / width(before["parameters"]["alpha_C"])
    assert 0.85 < ratio < 1.15


def test_interval_narrows_with_more_runs(tmp_path: Path):
    few = synthetic.model_size(tmp_path / "few" / "a", again=(), noise=0.01)
    many = synthetic.model_size(tmp_path / "many" / "a", again=tuple(range(1, 9)), noise=0.01)
    widths = [width(fitted("L_N", [folder])["parameters"]["alpha_N"]) for folder in (few, many)]
    assert widths[1] < widths[0]


def test_interval_widens_with_confidence(sizes: Path):
    narrow, wide = (fitted("L_N", [sizes], confidence=level) for level in (0.5, 0.99))
    assert width(narrow["parameters"]["alpha_N"]) < width(wide["parameters"]["alpha_N"])


def test_diverged_run_is_left_out(sizes: Path):
    def diverge(runs: pd.DataFrame) -> pd.DataFrame:
        hit = runs.index == 4
        outcome = runs.outcome.where(~hit, "diverged")
        return runs.assign(outcome=outcome, test_loss=runs.test_loss.where(~hit, 30.0))

    synthetic.change(sizes, "runs", diverge)
    result = fitted("L_N", [sizes])
    diverged = pd.read_parquet(sizes / "runs.parquet").run[4]
    assert {"run": diverged, "reason": "diverged"} in result["excluded"]
    assert diverged not in [point["run"] for point in result["points"]]
    assert holds(result["parameters"]["alpha_N"], synthetic.ALPHA_N)
    compute = fitted("L_C", [sizes])
    assert diverged not in [point["run"] for point in compute["points"]]


def test_one_layer_models_are_left_out_unless_asked_for(sizes: Path):
    assert fitted("L_N", [sizes])["range"]["N"][0] == 1536
    assert fitted("L_N", [sizes], minimum_layers=1)["range"]["N"][0] == 768


def test_run_of_two_studies_counts_once(tmp_path: Path, sizes: Path):
    again = synthetic.model_size(tmp_path / "tables" / "again")
    assert fitted("L_N", [sizes, again])["n_points"] == fitted("L_N", [sizes])["n_points"]


def test_fit_file_has_the_keys_of_the_contract(sizes: Path):
    result = fitted("L_C", [sizes], bootstrap=50)
    assert list(result)[:9] == [
        "law",
        "equation",
        "parameters",
        "confidence",
        "objective",
        "status",
        "n_points",
        "r2_log",
        "bootstrap",
    ]
    assert set(result["parameters"]["C_c"]) >= {"value", "low", "high", "unit", "paper"}
    assert result["parameters"]["C_c"]["paper"] == 1.6e7
    assert result["parameters"]["C_c"]["paper_other"] == 2.0e7
    assert result["bootstrap"] == {"replicates": 50, "converged": 50}
    assert result["inputs"] == [str(sizes / f"{name}.parquet") for name in ("runs", "curves")]


def test_same_inputs_give_the_same_bytes(sizes: Path, tmp_path: Path):
    for name in ("a", "b"):
        fit("L_C", [sizes], json=tmp_path / f"{name}.json", bootstrap=50, seed=7)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_replicates_without_two_sizes_are_counted(tmp_path: Path):
    folder = synthetic.model_size(tmp_path / "a", again=())
    synthetic.change(folder, "runs", lambda runs: runs.iloc[-3:])
    result = fitted("L_N", [folder])
    # All three draws name one run with probability 1/9.
    assert 0.84 < result["bootstrap"]["converged"] / 1000 < 0.94
    assert result["status"] == "not_identified"


def test_two_points_have_no_interval(sizes: Path):
    synthetic.change(sizes, "runs", lambda runs: runs[runs.n_layer.isin([3, 5])])
    result = fitted("L_N", [sizes])
    assert result["status"] == "exact"
    assert result["parameters"]["alpha_N"]["low"] is None


@pytest.mark.parametrize(
    ("law", "keep", "message"),
    [
        ("L_X", None, "unknown law 'L_X'; expected one of L_N, L_D, L_C, L_C_min, L_ND"),
        ("L_N", "n_layer == 3", "needs runs of at least two values of N, but all have N = 14400"),
        ("L_N", "n_layer == 1", "found 0 runs; 1 left out: fewer than 2 layers"),
        ("L_ND", "n_layer > 1", "needs runs of at least two values of D"),
        ("L_C", "n_layer == 3", "no compute at which a size between the smallest and the largest"),
    ],
)
def test_too_few_points_are_refused(sizes: Path, law: str, keep: str | None, message: str):
    if keep:
        synthetic.change(sizes, "runs", lambda runs: runs.query(keep))
    with pytest.raises(InputError, match=message):
        fitted(law, [sizes])


def test_missing_file_and_column_are_named(sizes: Path):
    with pytest.raises(InputError, match=r"nowhere/runs\.parquet: no such file"):
        fitted("L_N", [sizes.parent / "nowhere"])
    synthetic.change(sizes, "runs", lambda runs: runs.drop(columns="N"))
    with pytest.raises(InputError, match=r"runs\.parquet: no column N; found run, study"):
        fitted("L_N", [sizes])
    (sizes / "runs.parquet").write_text("run,N\n")
    with pytest.raises(InputError, match=r"runs\.parquet: not a Parquet file"):
        fitted("L_N", [sizes])


def test_a_run_of_no_size_is_left_out_with_the_reason(sizes: Path):
    def spoil(runs: pd.DataFrame) -> pd.DataFrame:
        return runs.assign(N=runs.N.where(runs.index != 3, 0))

    synthetic.change(sizes, "runs", spoil)
    for law in ("L_N", "L_C"):
        reasons = [row["reason"] for row in fitted(law, [sizes])["excluded"]]
        assert "N is not above 0" in reasons


def test_two_losses_of_one_run_are_refused(tmp_path: Path, sizes: Path):
    again = synthetic.model_size(tmp_path / "tables" / "again", seed=9)
    with pytest.raises(InputError, match="has two different losses"):
        fitted("L_N", [sizes, again])
