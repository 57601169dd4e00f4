"""The paper's order of work: critical batch, S_min and C_min, L(N, S_min), frontier, optimum."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as synthetic

from scaling_laws import cli
from scaling_laws.errors import InputError
from scaling_laws.laws.fit import fit
from scaling_laws.laws.forms import LAWS

TRUE = synthetic.EFFICIENT
SIZES = ((1, 16), (2, 16), (2, 24), (3, 32), (4, 40), (4, 64), (6, 80), (8, 96), (8, 144))


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    scan = synthetic.scanned(
        folder / "batch_size", "batch_size", ((2, 24), (4, 64)),
        (256, 512, 1024, 2048, 4096, 8192, 16384, 65536), lambda batch: 6_000_000 // batch + 300,
    )  # fmt: skip
    sizes = synthetic.scanned(folder / "model_size", "model_size", SIZES, (2048,), lambda _: 8000)
    return scan, sizes


def fitted(law, folders, tmp_path, **options):
    out = tmp_path / f"{law}.json"
    fit(law, list(folders), json=out, minimum_layers=1, **{"bootstrap": 300, **options})
    return json.loads(out.read_text())


def holds(fit, name, value):
    numbers = fit["parameters"][name]
    return numbers["low"] <= value <= numbers["high"]


def test_the_critical_batch_is_found_from_scans(studies, tmp_path):
    found = fitted("B_crit", studies[:1], tmp_path)
    assert found["status"] == "converged"
    assert found["optimum"]["alpha_B"] == pytest.approx(TRUE.alpha_B, rel=0.1)
    for name in ("alpha_B", "B_star"):
        assert holds(found, name, getattr(TRUE, name)), found["parameters"][name]
    points = pd.DataFrame(found["points"])
    assert set(points["N"]) == {12 * 2 * 24**2, 12 * 4 * 64**2}
    critical = TRUE.B_star / points["loss" if "loss" in points else "L"] ** (1 / TRUE.alpha_B)
    assert np.median(np.abs(np.log(points["B_crit"] / critical))) < 0.1


def test_size_and_steps_are_found_from_curves(studies, tmp_path):
    found = fitted("L_NS", studies, tmp_path)
    assert found["status"] == "converged", found["diagnosis"]
    for name in ("alpha_N", "alpha_S", "N_c", "S_c"):
        assert holds(found, name, getattr(TRUE, name)), found["parameters"][name]
    assert found["optimum"]["alpha_S"] == pytest.approx(TRUE.alpha_S, rel=0.05)


def test_the_frontier_at_small_batches_is_that_of_appendix_b(studies, tmp_path):
    slow = fitted("L_C", studies[1:], tmp_path)["optimum"]["alpha_C"]
    found = fitted("L_C_min", studies, tmp_path)
    # The sizes are a handful, so the frontier is scalloped, and its ends lean to one side.
    assert found["optimum"]["alpha_C_min"] == pytest.approx(TRUE.alpha_C, rel=0.08)
    assert found["optimum"]["alpha_C_min"] < slow
    assert found["B_crit"]["parameters"]["alpha_B"] == pytest.approx(TRUE.alpha_B, rel=0.1)
    size = fitted("N_opt", studies, tmp_path)["optimum"]["p_N"]
    assert size == pytest.approx(TRUE.alpha_C / TRUE.alpha_N, rel=0.15)
    batch = fitted("B_opt", studies, tmp_path)["optimum"]["p_B"]
    assert batch == pytest.approx(TRUE.alpha_C / TRUE.alpha_B, rel=0.15)
    steps = fitted("S_opt", studies, tmp_path)["optimum"]["p_S"]
    tokens = fitted("D_opt", studies, tmp_path)["optimum"]["p_D"]
    assert size + batch + steps == pytest.approx(1, abs=1e-3)
    assert tokens == pytest.approx(1 - size, abs=1e-3)


def test_intervals_know_that_the_critical_batch_was_fitted(studies, tmp_path):
    wide = fitted("L_NS", studies, tmp_path)
    draws = np.array(wide["draws"]["S_c"], dtype=float)
    # Replicates come in parts, each with a B_crit of its own.
    parts = np.array_split(draws, 20)
    assert (
        np.var([part.mean() for part in parts]) > 2 * np.mean([part.var() for part in parts]) / 15
    )


def test_laws_of_small_batches_need_a_scan(studies, tmp_path):
    for law in ("L_NS", "L_C_min", "N_opt"):
        with pytest.raises(InputError, match="no study of batches among them"):
            fitted(law, studies[1:], tmp_path)
        with pytest.raises(InputError, match="needs a study of model sizes as well"):
            fitted(law, studies[:1], tmp_path)
    with pytest.raises(InputError, match="3 or more batches"):
        fitted("B_crit", studies[1:], tmp_path)


def test_the_optimum_for_compute_is_that_of_appendix_b(studies, tmp_path, monkeypatch, capsys):
    for law, folders in (("L_NS", studies), ("B_crit", studies[:1])):
        fitted(law, folders, tmp_path)
    capsys.readouterr()
    files = [str(tmp_path / f"{law}.json") for law in ("L_NS", "B_crit")]
    arguments = ["optimum", *files, "--compute", "1e16FLOP"]
    monkeypatch.setattr(sys, "argv", ["scaling-laws", *arguments])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    said = capsys.readouterr().out
    values = {line.split()[0]: line.split()[1] for line in said.splitlines()[2:7]}
    assert float(values["N"]) == pytest.approx(float(TRUE.size(5e15)), rel=0.2)
    assert float(values["L"]) == pytest.approx(float(TRUE.loss(5e15)), rel=0.03)
    assert float(values["B"]) == pytest.approx(float(TRUE.batch(5e15)), rel=0.2)
    product = 6 * float(values["N"]) * float(values["B"]) * float(values["S"])
    assert product == pytest.approx(1e16, rel=0.02)


def test_the_best_size_of_equal_compute_is_that_of_the_planted_law(tmp_path):
    law = LAWS["chinchilla"]
    constants = {name: constant.value for name, constant in law.parameters.items()}
    generator = np.random.default_rng(0)
    rows = []
    for C in np.geomspace(6e18, 3e21, 9):
        G = (constants["alpha"] * constants["A"] / (constants["beta"] * constants["B"])) ** (
            1 / (constants["alpha"] + constants["beta"])
        )
        best = G * (C / 6) ** (constants["beta"] / (constants["alpha"] + constants["beta"]))
        for N in best * np.geomspace(0.3, 3, 7):
            loss = law(constants, N=N, D=C / (6 * N)) * np.exp(generator.normal(0, 5e-4))
            rows.append({"N": N, "C": C, "L": loss})
    rows += [{"N": 1e9, "C": 1e24, "L": 2.0}]
    path = tmp_path / "runs.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    fit("chinchilla_2", runs=path, json=tmp_path / "fit.json", bootstrap=300)
    found = json.loads((tmp_path / "fit.json").read_text())
    assert found["n_points"] == 9
    assert found["excluded"] == [{"run": "row 64", "reason": "fewer than 4 sizes of its compute"}]
    planted = constants["beta"] / (constants["alpha"] + constants["beta"])
    assert found["optimum"]["a"] == pytest.approx(planted, abs=0.02)
    with pytest.raises(InputError, match="4 sizes or more of about the same compute"):
        pd.DataFrame(rows[::7]).to_csv(path, index=False)
        fit("chinchilla_2", runs=path)


def test_minima_over_learning_curves_give_the_best_size(studies, tmp_path):
    found = fitted("chinchilla_1", studies[1:], tmp_path)
    assert 0.3 < found["optimum"]["a"] < 1
    assert found["n_points"] > 20
