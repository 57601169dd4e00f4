"""Studies: the run table is a function of the configuration, and tables hold what runs left."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from scaling_laws.config import validate
from scaling_laws.errors import InputError
from scaling_laws.studies.collect import collect
from scaling_laws.studies.grid import runs
from scaling_laws.studies.plan import plan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def of_study(table, name):
    return {run: spec for run, (spec, studies) in table.items() if name in studies}


def test_the_run_table_is_the_union_of_the_studies(settings):
    table = runs(validate(settings))
    sizes, subsets = of_study(table, "model_size"), of_study(table, "data_size")
    shapes = settings["studies"]["model_size"]["shapes"]
    assert len(sizes) == sum(len(shape.get("seeds", [0])) for shape in shapes)
    assert len(subsets) == len(settings["studies"]["data_size"]["subsets"])
    assert all(spec.name == run for run, (spec, _) in table.items())


def test_a_run_that_is_wanted_twice_is_made_once(settings):
    shapes = settings["studies"]["model_size"]["shapes"]
    before = runs(validate(settings))
    shapes.append(shapes[0])
    assert runs(validate(settings)) == before


def test_a_setting_of_one_study_leaves_the_runs_of_the_other(settings):
    before = runs(validate(settings))
    settings["studies"]["data_size"]["learning_rate"] = {"peak": 0.02}
    after = runs(validate(settings))
    assert of_study(before, "model_size") == of_study(after, "model_size")
    assert not set(of_study(before, "data_size")) & set(of_study(after, "data_size"))


def test_only_the_largest_model_keeps_snapshots(settings):
    sizes = of_study(runs(validate(settings)), "model_size").values()
    kept = [spec.N for spec in sizes if spec.snapshots]
    assert kept == [max(spec.N for spec in sizes)]
    (largest,) = (spec for spec in sizes if spec.snapshots)
    assert set(largest.snapshot_steps()) < set(largest.evaluation_steps())
    assert len(largest.snapshot_steps()) == largest.snapshots


def test_the_learning_rate_follows_the_rule(settings):
    rates = {spec.N: spec.lr for spec in of_study(runs(validate(settings)), "model_size").values()}
    assert rates[6144] == 0.01
    assert rates[24_576] == pytest.approx(0.01 * 4**-0.25, rel=1e-3)


def test_the_plan_lists_every_run_with_its_compute(settings, tmp_path):
    plan(settings=json.dumps(settings, default=str), output=tmp_path / "runs.tsv")
    table = pd.read_csv(tmp_path / "runs.tsv", sep="\t").set_index("run")
    for run, (spec, studies) in runs(validate(settings)).items():
        row = table.loc[run]
        assert row["study"] == ",".join(studies)
        assert row["C"] == 6 * spec.N * spec.batch_tokens * spec.steps
        assert row["C_full"] > row["C"]


def write_run(folder, name, spec):
    folder.mkdir(parents=True)
    facts = {
        "run": name,
        "spec": spec.model_dump(mode="json"),
        "outcome": "diverged",
        "step": 4,
        "steps": 5,
        "tokens": 5 * spec.batch_tokens,
        "test_loss": None,
        "best_test_loss": 6.0,
        "best_step": 4,
        "seconds": 1.0,
    }
    (folder / "run.json").write_text(json.dumps(facts))
    pd.DataFrame({"step": [4, 5], "test_loss": [6.0, None]}).to_parquet(folder / "curve.parquet")
    for part in ("evaluation", "positions"):
        pd.DataFrame({"run": [name], "loss": [6.0]}).to_parquet(folder / f"{part}.parquet")


def test_tables_hold_the_planned_runs_as_they_ended(settings, tmp_path):
    settings["studies"]["model_size"] = None
    settings["fits"] = {"laws": {}}
    plan(settings=json.dumps(settings, default=str), output=tmp_path / "runs.tsv")
    specs = of_study(runs(validate(settings)), "data_size")
    for name, spec in specs.items():
        write_run(tmp_path / "runs" / name, name, spec)
    collect(tmp_path / "runs.tsv", runs=tmp_path / "runs", tables=tmp_path / "t")
    table = pd.read_parquet(tmp_path / "t/runs.parquet").set_index("run")
    assert set(table.index) == set(specs)
    for name, spec in specs.items():
        row = table.loc[name]
        assert list(row["study"]) == ["data_size"]
        assert row["D"] == min(spec.data_tokens, 5 * spec.batch_tokens)
        assert row["C"] == 6 * spec.N * 5 * spec.batch_tokens
        assert row["outcome"] == "diverged" and pd.isna(row["test_loss"])
    curves = pd.read_parquet(tmp_path / "t/curves.parquet")
    assert curves.columns[0] == "run" and len(curves) == 2 * len(specs)


def test_a_planned_run_that_is_not_there_is_named(settings, tmp_path):
    plan(settings=json.dumps(settings, default=str), output=tmp_path / "runs.tsv")
    with pytest.raises(
        InputError, match=r"transformer-\S+: planned in .*runs\.tsv but not trained"
    ):
        collect(tmp_path / "runs.tsv", runs=tmp_path / "runs", tables=tmp_path / "t")


def test_a_plan_without_a_study_is_refused(tmp_path):
    with pytest.raises(InputError, match="all are off"):
        plan(settings="{}", output=tmp_path / "runs.tsv")
    assert not (tmp_path / "runs.tsv").exists()
