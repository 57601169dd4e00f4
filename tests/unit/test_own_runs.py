"""Laws of anyone's runs: tables of any format and column names, and what is wrong with them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws import cli
from scaling_laws.laws import planted
from scaling_laws.laws.forms import LAWS, predict
from scaling_laws.laws.special import Repeated

DATA = Path(__file__).parents[1] / "data" / "chinchilla_epoch.csv"
NAMES = ["--column", "N=Model Size", "--column", "C=Training FLOP", "--column", "L=loss"]


def run(monkeypatch, capsys, *arguments):
    """Return exit code, standard output and standard error of a command."""
    monkeypatch.setattr(sys, "argv", ["scaling-laws", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def fitting(monkeypatch, capsys):
    return lambda *arguments: run(monkeypatch, capsys, "fit", *arguments)


@pytest.fixture
def runs():
    """Return runs of Chinchilla's law with its usual column names."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e10, 6), np.geomspace(1e9, 1e12, 6)))
    constants = {name: constant.value for name, constant in LAWS["chinchilla"].parameters.items()}
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(36))
    return pd.DataFrame({"N": N, "D": D, "L": LAWS["chinchilla"](constants, N=N, D=D) * noise})


def test_a_file_of_ones_own_is_fitted_as_its_readme_says(fitting, tmp_path):
    out = tmp_path / "fit.json"
    options = ("--drop-highest-loss", 5, "--bootstrap", 50, "--json", out)
    code, said, _ = fitting("chinchilla", "--runs", DATA, *NAMES, *options)
    assert code == 0
    fit = json.loads(out.read_text())
    assert fit["status"] == "converged" and fit["n_points"] == 240
    assert fit["objective"]["value"] == pytest.approx(1.018274018e-3, rel=1e-6)
    assert len(fit["excluded"]) == 5
    assert {row["reason"] for row in fit["excluded"]} == {"among the 5 highest losses"}
    for name, numbers in fit["parameters"].items():
        assert any(line.startswith(name) for line in said.splitlines())
        assert numbers["profile"]["low"] < numbers["value"] < numbers["profile"]["high"]
        assert len(fit["draws"][name]) == 50
    assert "converged" in said


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_every_format_gives_the_same_fit(fitting, runs, tmp_path, suffix):
    path = tmp_path / f"runs{suffix}"
    {
        ".csv": lambda: runs.to_csv(path, index=False),
        ".tsv": lambda: runs.to_csv(path, index=False, sep="\t"),
        ".parquet": lambda: runs.to_parquet(path),
        ".jsonl": lambda: runs.to_json(path, orient="records", lines=True),
    }[suffix]()
    out = tmp_path / "fit.json"
    assert fitting("chinchilla", "--runs", path, "--bootstrap", 10, "--json", out)[0] == 0
    value = json.loads(out.read_text())["parameters"]["E"]["value"]
    assert value == pytest.approx(1.69, abs=0.02)


def test_quantities_follow_from_each_other(fitting, runs, tmp_path):
    values = []
    for name, table in {
        "d": runs,
        "c": runs.assign(C=6 * runs.N * runs.D).drop(columns="D"),
        "n": runs.assign(C=6 * runs.N * runs.D).drop(columns="N"),
    }.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        out = tmp_path / f"{name}.json"
        fitting("gadre", "--runs", tmp_path / f"{name}.csv", "--bootstrap", 5, "--json", out)
        values.append(json.loads(out.read_text())["optimum"]["eta"])
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_compute_is_in_flop_in_a_file_and_in_pf_days_in_the_paper(fitting, tmp_path):
    C = np.geomspace(1e15, 1e20, 9)
    loss = LAWS["L_C"]({"alpha_C": 0.057, "C_c": 1.6e7}, C=C / 8.64e19)
    pd.DataFrame({"C": C, "loss": loss}).to_csv(tmp_path / "c.csv", index=False)
    out = tmp_path / "fit.json"
    fitting("L_C", "--runs", tmp_path / "c.csv", "--bootstrap", 5, "--json", out)
    assert json.loads(out.read_text())["optimum"]["C_c"] == pytest.approx(1.6e7, rel=1e-3)


def test_repeated_data_rest_on_a_fit_of_data_seen_once(fitting, tmp_path):
    once = {"A": 300.0, "B": 900.0, "E": 1.2, "alpha": 0.33, "beta": 0.31}
    grid = planted.grid("muennighoff")
    law = replace(LAWS["muennighoff"], structure=Repeated(once))
    loss = law({"R_D": 15.4, "R_N": 5.3}, **grid)
    loss = loss * np.exp(0.002 * np.random.default_rng(0).standard_normal(len(loss)))
    pd.DataFrame({**grid, "L": loss}).to_csv(tmp_path / "r.csv", index=False)
    chinchilla = LAWS["chinchilla"]
    single = planted.grid("chinchilla")
    seen_once = pd.DataFrame({**single, "L": chinchilla(once, **single)})
    seen_once.to_csv(tmp_path / "once.csv", index=False)
    file = ("--runs", tmp_path / "once.csv", "--bootstrap", 5)
    fitting("chinchilla", *file, "--json", tmp_path / "once.json")
    fitting("L_N", *file, "--json", tmp_path / "size.json")
    out = tmp_path / "fit.json"
    options = ("--runs", tmp_path / "r.csv", "--bootstrap", 100, "--json", out)
    code, said, _ = fitting("muennighoff", "--once", tmp_path / "once.json", *options)
    fit = json.loads(out.read_text())
    assert code == 0 and "data seen once" in said
    assert fit["once"] == pytest.approx(once, rel=1e-3)
    code, _, said = fitting("muennighoff", "--once", tmp_path / "size.json", *options)
    assert code == 2 and "expected chinchilla's" in said
    for name, value in (("R_D", 15.4), ("R_N", 5.3)):
        assert fit["parameters"][name]["low"] < value < fit["parameters"][name]["high"]
    assert predict(fit, *(grid[name][:3] for name in law.variables)) == pytest.approx(
        loss[:3], rel=0.02
    )
    _, _, said = fitting("L_N", "--once", tmp_path / "once.json", *options)
    assert "L_N does not rest on another fit" in said
    pd.DataFrame({**grid, "L": loss}).drop(columns="U").to_csv(tmp_path / "r.csv", index=False)
    code, _, said = fitting("muennighoff", *options)
    assert code == 2 and "needs U (distinct tokens)" in said


def test_quantities_that_contradict_each_other_are_noticed(fitting, runs, tmp_path):
    runs.assign(C=3 * 6 * runs.N * runs.D).to_csv(tmp_path / "r.csv", index=False)
    _, said, _ = fitting("chinchilla", "--runs", tmp_path / "r.csv", "--bootstrap", 20)
    assert "C is 3 times 6 N D" in said
    assert "columns: N = N, D = D" in said


def test_floors_can_be_added_and_taken_away(fitting, runs, tmp_path):
    runs.to_csv(tmp_path / "r.csv", index=False)
    out = tmp_path / "fit.json"
    options = ("--runs", tmp_path / "r.csv", "--bootstrap", 5, "--json", out)
    fitting("chinchilla", "--no-floor", *options)
    assert "E" not in json.loads(out.read_text())["parameters"]
    fitting("L_N", "--floor", *options)
    fit = json.loads(out.read_text())
    assert fit["equation"] == "L(N) = E + (N_c / N)^alpha_N"
    assert fit["parameters"]["E"]["paper"] is None
    code, _, said = fitting("B_crit", "--floor", *options)
    assert code == 2 and "no form with an irreducible term" in said


def test_a_curves_points_taken_for_runs_are_noticed(fitting, runs, tmp_path):
    generator = np.random.default_rng(1)
    luck = dict(zip(sorted(set(runs.N)), 0.02 * generator.standard_normal(6), strict=True))
    curves = runs.assign(L=runs.L * np.exp(runs.N.map(luck)), run=runs.N.rank(method="dense"))
    curves.drop(columns="run").to_csv(tmp_path / "points.csv", index=False)
    curves.to_csv(tmp_path / "runs.csv", index=False)
    _, said, _ = fitting("chinchilla", "--runs", tmp_path / "points.csv", "--bootstrap", 100)
    assert "points of learning curves" in " ".join(said.split())
    _, said, _ = fitting("chinchilla", "--runs", tmp_path / "runs.csv", "--bootstrap", 100)
    assert "points of learning curves" not in " ".join(said.split())


def test_standard_errors_weigh_the_points(fitting, runs, tmp_path):
    spoilt = runs.assign(se=0.003)
    spoilt.loc[:5, "L"] += 0.5
    spoilt.loc[:5, "se"] = 5.0
    spoilt.to_csv(tmp_path / "r.csv", index=False)
    out = tmp_path / "fit.json"
    options = ("--runs", tmp_path / "r.csv", "--objective", "ols", "--bootstrap", 5, "--json", out)
    fitting("chinchilla", *options)
    assert json.loads(out.read_text())["optimum"]["E"] == pytest.approx(1.69, abs=0.03)


def spoil(row, column, value):
    def edit(table):
        table = table.astype(object)
        table.loc[row, column] = value
        return table

    return edit


@pytest.mark.parametrize(
    ("edit", "options", "message"),
    [
        (lambda t: t.drop(columns="N"), (), "chinchilla needs N (parameters), or C and D; found"),
        (lambda t: t, ("--column", "N=Modell"), "no column 'Modell'; found N, D, L"),
        (lambda t: t, ("--column", "X=N"), "no quantity 'X' of chinchilla; expected one of N, D"),
        (lambda t: t, ("--column", "N"), "expected NAME=COLUMN"),
        (spoil(3, "L", 23.0), (), "row 4: L = 23, above ln(1,000,000) = 13.8"),
        (spoil(3, "L", 9.0), ("--vocabulary", "1000"), "above ln(1,000) = 6.9"),
        (spoil(3, "L", -1.0), (), "row 4: L = -1; expected more than 0"),
        (spoil(0, "N", 0.4), (), "row 1: N = 0.4; expected 1 or more; is it in millions"),
        (spoil(5, "D", "lots"), (), "row 6: D (D) is 'lots'; expected a number"),
        (spoil(5, "D", None), (), "row 6: D (D) is empty; expected a number"),
        (
            lambda t: t.iloc[[0, 7, 14, 21]],
            (),
            "too few points for chinchilla: expected at least 5",
        ),
        (lambda t: t.assign(N=1e8), (), "at least two values of N, but all have N = 100000000"),
        (lambda t: t.iloc[:0], (), "no rows; expected one for each run"),
        (lambda t: t, ("--objective", "best"), "Invalid value for '--objective'"),
        (lambda t: t, ("--bootstrap", "0"), "--bootstrap 0: "),
        (lambda t: t, ("--drop-highest-loss", "36"), "found 0 runs; 36 left out"),
        (lambda t: t, ("--drop-highest-loss", "-1"), "--drop-highest-loss -1: expected 0 or more"),
        (lambda t: t, ("--starts", "0"), "--starts 0: "),
        (lambda t: t, ("--column", "N=N", "--column", "N=D"), "N is given twice"),
        (lambda t: t, ("--flop", "C_full"), "--count and --flop go with studies"),
        (lambda t: t, ("--json", "."), "--json .: a folder"),
        (lambda t: t.assign(run=["a"] * 35 + [None]), (), "row 36: run (run) is empty"),
        (lambda t: t.set_axis(["N", "D", " N"], axis=1), (), "two columns are called N"),
        (lambda t: t.assign(se=[1e-300] + [1.0] * 35), (), "differ by more than 100000 times"),
        (lambda t: t, ("--delta", "0"), "--delta 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(fitting, runs, tmp_path, edit, options, message):
    path = tmp_path / "runs.csv"
    edit(runs).to_csv(path, index=False)
    code, out, said = fitting("chinchilla", "--runs", path, *options)
    assert code == 2
    assert message in " ".join(said.replace("│", " ").split())
    assert "Traceback" not in said and not out


def test_rows_are_dropped_by_their_place_whatever_their_index(fitting, runs, tmp_path):
    pd.concat([runs, runs.assign(L=runs.L + 0.01)]).to_parquet(tmp_path / "r.parquet")
    out = tmp_path / "fit.json"
    options = ("--runs", tmp_path / "r.parquet", "--bootstrap", 5, "--json", out)
    fitting("chinchilla", "--drop-highest-loss", 5, *options)
    assert json.loads(out.read_text())["n_points"] == 67


def test_as_few_runs_as_constants_have_no_intervals(fitting, runs, tmp_path):
    runs.assign(run=np.arange(36) % 4).to_csv(tmp_path / "r.csv", index=False)
    out = tmp_path / "fit.json"
    fitting("chinchilla", "--runs", tmp_path / "r.csv", "--bootstrap", 50, "--json", out)
    fit = json.loads(out.read_text())
    assert fit["status"] == "not_identified" and fit["parameters"]["A"]["low"] is None
    assert "4 runs behind the points" in fit["diagnosis"][0]


def test_runs_that_follow_a_law_exactly_are_fitted_exactly(fitting, runs, tmp_path):
    law = LAWS["chinchilla"]
    exact = law({name: c.value for name, c in law.parameters.items()}, N=runs.N, D=runs.D)
    runs.assign(L=exact).to_csv(tmp_path / "r.csv", index=False)
    out = tmp_path / "fit.json"
    for objective in ("huber", "ols", "lad"):
        options = ("--objective", objective, "--bootstrap", 20, "--json", out)
        fitting("chinchilla", "--runs", tmp_path / "r.csv", *options)
        fit = json.loads(out.read_text())
        assert fit["status"] == "converged", (objective, fit["diagnosis"])
        assert fit["parameters"]["E"]["value"] == pytest.approx(1.69, rel=1e-4)


def test_whole_numbers_beyond_64_bits_are_read(fitting, runs, tmp_path):
    lines = [
        json.dumps({"N": row.N, "C": int(6 * row.N * row.D), "L": row.L})
        for row in runs.itertuples()
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    assert fitting("chinchilla", "--runs", tmp_path / "r.jsonl", "--bootstrap", 5)[0] == 0


def test_options_of_a_file_are_refused_beside_studies(fitting, tmp_path):
    for options in (("--drop-highest-loss", 5), ("--column", "L=nope"), ("--vocabulary", 100)):
        code, _, said = fitting("L_N", tmp_path, *options)
        assert code == 2 and "go with --runs" in said


def test_files_that_are_none_are_named(fitting, tmp_path):
    (tmp_path / "a.txt").write_text("N,D\n")
    (tmp_path / "a.parquet").write_text("N,D\n")
    (tmp_path / "a.jsonl").write_text("{no\n")
    for name, message in {
        "a.txt": "expected a file that ends in .csv",
        "none.csv": "no such file",
        "a.parquet": "cannot be read as parquet",
        "a.jsonl": "cannot be read as jsonl",
    }.items():
        code, _, said = fitting("L_N", "--runs", tmp_path / name)
        assert code == 2 and message in said, said
    for arguments in (("L_N",), ("L_N", tmp_path, "--runs", tmp_path / "a.csv")):
        code, _, said = fitting(*arguments)
        assert code == 2 and "or --runs" in said
