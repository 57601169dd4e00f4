"""What fits foretell: losses of runs to come, the best run for compute, and forms judged by it."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as synthetic

from scaling_laws import cli
from scaling_laws.errors import InputError
from scaling_laws.laws.fit import fit
from scaling_laws.laws.forecast import optimum, predict
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.judge import judge
from scaling_laws.laws.planted import constants, grid, planted

DATA = Path(__file__).parents[1] / "data" / "chinchilla_epoch.csv"
COLUMNS = ["N=Model Size", "C=Training FLOP", "L=loss"]


@pytest.fixture(scope="module")
def besiroglu(tmp_path_factory):
    out = tmp_path_factory.mktemp("fits") / "chinchilla.json"
    fit("chinchilla", runs=DATA, column=COLUMNS, drop_highest_loss=5, bootstrap=300, json=out)
    return out


def rows(capsys):
    said = capsys.readouterr().out.replace("D / N", "D/N")
    return [line.split() for line in said.splitlines()]


def test_chinchillas_own_budget_is_spent_as_the_refit_says(besiroglu, capsys):
    optimum([besiroglu], compute="5.76e23FLOP")
    found = {line[0]: line for line in rows(capsys) if line}
    assert float(found["N"][1]) == pytest.approx(72e9, rel=0.03)
    assert float(found["D"][1]) == pytest.approx(5.76e23 / 6 / float(found["N"][1]), rel=1e-3)
    assert float(found["N"][2]) < 72e9 < float(found["N"][4])
    assert float(found["N"][6]) == pytest.approx(np.log10(72.9e9 / 16.2e9), abs=0.05)


def test_closed_form_and_search_give_the_same_optimum(besiroglu, capsys):
    optimum([besiroglu], compute="1e21FLOP")
    found = {line[0]: line for line in rows(capsys) if line}
    c = json.loads(besiroglu.read_text())["optimum"]
    G = (c["alpha"] * c["A"] / (c["beta"] * c["B"])) ** (1 / (c["alpha"] + c["beta"]))
    N = G * (1e21 / 6) ** (c["beta"] / (c["alpha"] + c["beta"]))
    assert float(found["N"][1]) == pytest.approx(N, rel=2e-3)


def test_a_law_foretells_with_interval_and_distance(besiroglu, capsys):
    predict(besiroglu, at=["N=1e9,70e9", "D=2e10,1.4e12"])
    _, first, second, *_ = rows(capsys)
    assert float(first[3]) < float(first[2]) < float(first[5])
    assert first[6] == "–" and second[6:9] == ["N", "0.64", "decades,"]
    predict(besiroglu, at=["N=1e9,1e10", "D=2e10"])
    assert len(rows(capsys)) == 4


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (["N=1e9"], r"needs D \(tokens\) as well"),
        (["N=1e9", "D=x"], "expected numbers above 0, such as D=1e9"),
        (["N=1e9", "D=-1"], "expected numbers above 0"),
        (["N=1e9", "N=1e10", "D=1e9"], "N is given twice"),
        (["N=1e9", "M=20"], r"L\(N, D\) depends on N, D"),
        (["N=1,2,3", "D=1,2"], "as many values of each variable"),
    ],
)
def test_wrong_places_are_named(besiroglu, at, message):
    with pytest.raises(InputError, match=message):
        predict(besiroglu, at=at)


def test_wrong_compute_and_files_are_named(besiroglu, tmp_path):
    for compute in ("5.76e23", "1e21 flops", "0FLOP", "1e400FLOP"):
        with pytest.raises(InputError, match="expected the like of 1e21FLOP"):
            optimum([besiroglu], compute=compute)
    with pytest.raises(InputError, match="no such file; `scaling-laws fit LAW --json`"):
        optimum([tmp_path / "none.json"], compute="1e21FLOP")
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(InputError, match=r"no\.json: law is missing"):
        optimum([tmp_path / "no.json"], compute="1e21FLOP")
    sizes = synthetic.model_size(tmp_path / "model_size")
    fit("L_N", [sizes], json=tmp_path / "L_N.json", bootstrap=20)
    with pytest.raises(InputError, match="L_N cannot tell how to spend compute"):
        optimum([tmp_path / "L_N.json"], compute="1e21FLOP")


def test_compute_in_either_unit_is_the_same(tmp_path, capsys):
    sizes = synthetic.model_size(tmp_path / "model_size")
    fit("L_C", [sizes], json=tmp_path / "L_C.json", bootstrap=20)
    capsys.readouterr()
    predict(tmp_path / "L_C.json", at=["C=8.64e15FLOP"])
    in_flop = rows(capsys)[1]
    predict(tmp_path / "L_C.json", at=["C=1e-4PF-days"])
    assert rows(capsys)[1] == in_flop


def planted_runs(tmp_path, name, noise=0.002):
    points = planted(name, noise)
    pd.DataFrame({**points.x, "L": points.y}).to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def verdicts(tmp_path, law, **options):
    out = tmp_path / "verdicts.json"
    judge(law, json=out, bootstrap=200, **options)
    return {row["form"]: row for row in json.loads(out.read_text())["forms"]}


def test_the_planted_form_foretells_best(tmp_path):
    path = planted_runs(tmp_path, "L_N")
    found = verdicts(tmp_path, "L_N", runs=path, hold_out=3)
    law, logarithm = found[LAWS["L_N"].equation], found["L(N) = a + b ln N"]
    assert law["runs"] == 9
    assert law["error"] < 0.5 and law["held"] >= 7
    assert logarithm["error"] > 2 * law["error"] and logarithm["held"] < law["held"]
    assert law["low"] < law["observed"] < law["high"]


def test_a_floor_is_missed_by_a_form_without_one(tmp_path):
    path = planted_runs(tmp_path, "chinchilla")
    found = verdicts(tmp_path, "chinchilla", runs=path, hold_out=10)
    with_floor = found[LAWS["chinchilla"].equation]
    without = found[LAWS["chinchilla"].with_floor(False).equation]
    assert with_floor["error"] < 0.5 < without["error"]
    assert {LAWS["L_ND"].equation, LAWS["L_ND_rejected"].equation} <= set(found)


def test_studies_are_judged_with_both_counts_of_parameters(tmp_path):
    sizes = synthetic.model_size(tmp_path / "model_size")
    found = verdicts(tmp_path, "L_N", tables=[sizes])
    assert any("with embeddings" in form for form in found)
    law = found[LAWS["L_N"].equation]
    assert law["runs"] == 1 and law["error"] < 1


def test_a_run_is_held_out_with_its_whole_curve(tmp_path):
    points = planted("chinchilla", 0.002)
    table = pd.DataFrame({**points.x, "L": points.y})
    table["run"] = table["N"].rank(method="dense")
    table.to_csv(tmp_path / "curves.csv", index=False)
    found = verdicts(tmp_path, "chinchilla", runs=tmp_path / "curves.csv")
    assert found[LAWS["chinchilla"].equation]["runs"] == 10


def test_a_forecast_below_zero_is_no_error(tmp_path):
    points = planted("L_N", 0.002)
    table = pd.DataFrame({**points.x, "L": 0.03 * points.y**3})
    table.to_csv(tmp_path / "steep.csv", index=False)
    out = tmp_path / "verdicts.json"
    judge("L_N", runs=tmp_path / "steep.csv", hold_out=4, bootstrap=50, json=out)
    assert "NaN" not in out.read_text()


def test_sizes_of_equal_compute_tell_the_best_one(besiroglu, tmp_path, capsys):
    law = LAWS["chinchilla_2"]
    C = np.geomspace(1e19, 1e22, 6)
    N = law({"a": 0.5, "G": 2e9}, C=C / 8.64e19)
    other = json.loads(besiroglu.read_text())
    content = other | {
        "law": "chinchilla_2",
        "parameters": dict.fromkeys(("a", "G"), other["parameters"]["A"] | {"value": None}),
        "points": [{"run": "a", "C": 1.0, "N_opt": 1e9}],
        "optimum": {"a": 0.5, "G": 2e9},
        "draws": {"a": [0.49, 0.51], "G": [2e9, 2e9]},
        "percentiles": [0.025, 0.975],
        "confidence": 0.95,
        "range": {"C": [1e-1, 1e2]},
        "status": "converged",
    }
    (tmp_path / "iso.json").write_text(json.dumps(content))
    optimum([tmp_path / "iso.json"], compute=f"{C[-1]}FLOP".replace("+", ""))
    found = {line[0]: line for line in rows(capsys) if line}
    assert float(found["N"][1]) == pytest.approx(N[-1], rel=1e-3)


def test_two_laws_that_tell_of_compute_are_one_too_many(besiroglu, tmp_path):
    path = planted_runs(tmp_path, "chinchilla")
    fit("gadre", runs=path, json=tmp_path / "gadre.json", bootstrap=10)
    with pytest.raises(InputError, match="chinchilla and gadre each tell"):
        optimum([besiroglu, tmp_path / "gadre.json"], compute="1e21FLOP")
    with pytest.raises(InputError, match="two of the files are fits of one law"):
        optimum([besiroglu, besiroglu], compute="1e21FLOP")


def test_only_losses_of_runs_are_judged(tmp_path):
    for law in ("B_crit", "L_C", "L_NS"):
        with pytest.raises(InputError, match="expected a law of the loss of runs"):
            judge(law, runs=DATA)
    with pytest.raises(InputError, match="at least two values of N"):
        judge("L_N", runs=planted_runs(tmp_path, "L_N"), hold_out=11)


def test_the_commands_say_what_they_need(monkeypatch, capsys):
    for command in ("predict", "optimum", "judge"):
        monkeypatch.setattr(sys, "argv", ["scaling-laws", command, "--help"])
        with pytest.raises(SystemExit):
            cli.main()
        assert "Usage" in capsys.readouterr().out


def test_grids_and_constants_are_of_every_law():
    for name, law in LAWS.items():
        assert set(grid(name)) == set(law.variables)
        assert set(constants(law)) == set(law.parameters)
