"""Studies: the run table is a function of the configuration, and tables hold what runs left."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from snakemake.utils import update_config

from scaling_laws.config import validate
from scaling_laws.errors import InputError
from scaling_laws.studies.collect import TABLES, collect, gather
from scaling_laws.studies.grid import runs, runs_of
from scaling_laws.studies.plan import plan
from scaling_laws.training.memory import training_memory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings():
    """Return the settings of the demo, with the two studies that its laws are fitted to."""
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings["studies"]["batch_size"] = None
    settings["training"]["tokens"] = 3_600_000
    return settings


def of_study(table, name):
    return {run: spec for run, (spec, studies, *_) in table.items() if name in studies}


def test_the_run_table_is_the_union_of_the_studies(settings):
    table = runs(validate(settings))
    sizes, subsets = of_study(table, "model_size"), of_study(table, "data_size")
    shapes = settings["studies"]["model_size"]["shapes"]
    assert len(sizes) == sum(len(shape.get("seeds", [0])) for shape in shapes)
    assert len(subsets) == len(settings["studies"]["data_size"]["vary"]["data_tokens"])
    assert all(spec.name == run for run, (spec, *_) in table.items())


def test_a_run_that_is_wanted_twice_is_made_once(settings):
    shapes = settings["studies"]["model_size"]["shapes"]
    before = runs(validate(settings))
    shapes.append(shapes[0])
    assert runs(validate(settings)) == before


def test_a_setting_of_one_study_leaves_the_runs_of_the_other(settings):
    before = runs(validate(settings))
    settings["studies"]["data_size"]["training"]["learning_rate"] = {"peak": 0.03}
    after = runs(validate(settings))
    assert of_study(before, "model_size") == of_study(after, "model_size")
    assert not set(of_study(before, "data_size")) & set(of_study(after, "data_size"))


def test_a_shapes_own_training_goes_before_the_studys_and_that_before_what_all_share(settings):
    settings["training"] |= {"dropout": 0.1, "evaluations": 5, "patience": 7}
    own = SHAPE | {"training": {"dropout": 0.3}, "seeds": [3, 4]}
    settings["studies"] = {
        "mine": {
            "shapes": [SHAPE, own],
            "training": {"dropout": 0.2, "evaluations": 9},
            "vary": {"schedule": ["cosine", "linear"], "batch_sequences": [4, 8]},
        }
    }
    settings["fits"] = {"laws": {}}
    found = [spec for spec, *_ in runs(validate(settings)).values()]
    assert len(found) == 4 + 2 * 4
    assert {(spec.dropout, spec.seed) for spec in found} == {(0.2, 0), (0.3, 3), (0.3, 4)}
    assert {(spec.evaluations, spec.patience) for spec in found} == {(9, 7)}
    varied = {(spec.schedule, spec.batch_sequences) for spec in found}
    assert varied == {(schedule, size) for schedule in ("cosine", "linear") for size in (4, 8)}


def test_a_budget_in_flop_or_in_sizes_gives_each_model_its_tokens(settings):
    batch = 2048
    for N, n_layer in ((24_576, 2), (98_304, 8)):
        spec = only(settings, SHAPE | {"n_layer": n_layer}, tokens="1e12 FLOP")
        assert spec.N == N and 0 <= 1e12 - 6 * N * spec.steps * batch < 6 * N * batch
        spec = only(settings, SHAPE | {"n_layer": n_layer}, tokens="20 N")
        assert spec.steps == 20 * N // batch and spec.warmup_steps == round(0.1 * spec.steps)
        assert spec.data_tokens == spec.steps * batch + 1  # each has a next one, none comes twice


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"tokens": 2047}, "training.tokens = 2047: less than a batch of 2048"),
        ({"tokens": "1e3 FLOP"}, "training.tokens = 1e3 FLOP: less than a batch of 2048"),
        ({"data_tokens": 128}, "data_tokens = 128: no sequence of n_ctx = 128 and a next token; e"),
        ({"test_tokens": 100}, "test_tokens = 100: no sequence of n_ctx = 128"),
        (
            {"n_ctx": 65536, "tokens": 2_000_000, "test_tokens": 65537},
            "evaluation.tokens = 65536: no sequence of n_ctx",
        ),
        ({"micro_batches": 3}, "micro_batches = 3 does not divide batch_sequences = 16"),
    ],
)
def test_what_no_run_can_be_made_of_is_refused_before_any_starts(settings, training, reason):
    settings["studies"]["model_size"]["training"] = training
    with pytest.raises(InputError) as error:
        runs(validate(settings))
    (line,) = str(error.value).splitlines()
    assert line.startswith("config: studies.model_size.shapes.0 = {") and reason in line


def test_a_batch_has_no_more_parts_than_sequences(settings):
    settings["studies"]["model_size"]["training"] = {"micro_batches": 32}
    table = of_study(runs(validate(settings)), "model_size")
    assert {spec.micro_batches for spec in table.values()} == {16}


def test_a_run_on_gpus_has_its_weights_twice_and_the_moments_in_main_memory(settings):
    settings["training"]["gpus"] = 1
    for run in runs(validate(settings)).values():
        assert run.spec.optimizer == "adamw" and run.main_memory == 16 * run.spec.N_total


def test_only_the_largest_model_keeps_snapshots(settings):
    sizes = of_study(runs(validate(settings)), "model_size").values()
    kept = [spec.N for spec in sizes if spec.snapshots]
    assert kept == [max(spec.N for spec in sizes)]
    (largest,) = (spec for spec in sizes if spec.snapshots)
    assert set(largest.snapshot_steps()) < set(largest.evaluation_steps())
    assert len(largest.snapshot_steps()) == largest.snapshots


def test_the_learning_rate_follows_the_rule(settings):
    rates = {spec.N: spec.lr for spec in of_study(runs(validate(settings)), "model_size").values()}
    assert rates[6144] == 0.02
    assert rates[24_576] == pytest.approx(0.02 * 4**-0.25, rel=1e-3)


# The sizes of the paper's legends and their column "LR D.1".
PAPER_SIZES = [
    (1, 8, 2.31e-3),
    (2, 128, 1.44e-3),
    (4, 256, 1.15e-3),
    (8, 512, 8.6e-4),
    (12, 768, 6.9e-4),
    (24, 1024, 5.2e-4),
    (36, 1280, 4.0e-4),
    (48, 1600, 2.9e-4),
    (6, 4288, 3.1e-4),
    (207, 768, 2.9e-4),
]


@pytest.fixture
def paper(settings):
    """Return the settings of config/paper.yaml with the paper's sizes."""
    update_config(settings, yaml.safe_load((ROOT / "config/paper.yaml").read_text()))
    settings["studies"]["model_size"]["shapes"] = [
        {"n_layer": n_layer, "d_model": d_model, "n_head": max(1, d_model // 64)}
        for n_layer, d_model, _ in PAPER_SIZES
    ]
    return settings


def test_the_papers_training_is_the_papers(paper):
    specs = list(of_study(runs(validate(paper)), "model_size").values())
    for spec, (n_layer, d_model, lr) in zip(specs, PAPER_SIZES, strict=True):
        assert (spec.n_layer, spec.d_model) == (n_layer, d_model)
        assert spec.lr == pytest.approx(lr, abs=0.5e-5)
        assert (spec.steps, spec.batch_tokens, spec.warmup_steps) == (250_000, 2**19, 3000)
        assert (spec.schedule, spec.final_lr) == ("cosine", 0)
        assert spec.data_tokens == pytest.approx(2.2e10)


def test_models_above_a_billion_parameters_are_trained_with_adafactor(paper):
    # N = 9.4e8, and 1.07e9 with embeddings.
    paper["studies"]["model_size"]["shapes"].append({"n_layer": 12, "d_model": 2560, "n_head": 40})
    specs = of_study(runs(validate(paper)), "model_size").values()
    large = {(spec.n_layer, spec.d_model) for spec in specs if spec.optimizer == "adafactor"}
    assert large == {(48, 1600), (6, 4288), (207, 768), (12, 2560)}
    assert {spec.optimizer for spec in specs} == {"adamw", "adafactor"}
    paper["training"]["optimizer"] = "adam"
    table = of_study(runs(validate(paper)), "model_size")
    assert {spec.optimizer for spec in table.values()} == {"adam"}


def test_the_papers_rule_is_refused_for_a_model_that_it_gives_no_rate(paper):
    paper["studies"]["model_size"]["shapes"][3] = {"n_layer": 96, "d_model": 12288, "n_head": 96}
    with pytest.raises(InputError) as error:
        runs(validate(paper))
    (line,) = str(error.value).splitlines()
    shape = '{"n_layer":96,"d_model":12288,"n_head":96}'
    assert line.startswith(
        f"config: studies.model_size.shapes.3 = {shape}: learning_rate = paper: "
    )
    assert "-0.00037 for N = 173946175488" in line


def only(settings, shape, **training):
    """Return the spec of the one run of one shape."""
    settings["studies"] = {"model_size": {"shapes": [shape]}}
    settings["fits"] = {"laws": {}}
    settings["training"] |= training
    (spec,) = (spec for spec, *_ in runs(validate(settings)).values())
    return spec


SHAPE = {"n_layer": 2, "d_model": 32, "n_head": 2}  # N = 24,576


def test_porians_rule_counts_the_head(settings):
    spec = only(settings, SHAPE, learning_rate="porian")
    assert spec.lr == pytest.approx(0.0047 * ((24_576 + 1024 * 32) / 108e6) ** (-1 / 3), rel=1e-3)


def test_a_learning_rate_that_is_a_number_is_that_of_all(settings):
    settings["training"]["learning_rate"] = "1.23456e-3"
    for study in settings["studies"].values():
        ((study or {}).get("training") or {}).pop("learning_rate", None)
    rates = {spec.lr for spec, *_ in runs(validate(settings)).values()}
    assert rates == {1.23456e-3}


# A run has 3.6e6 tokens in 1,757 steps of 2,048.
@pytest.mark.parametrize(
    ("warmup", "steps"),
    [
        ("10%", 176),
        ("0%", 0),
        ("100%", 1757),
        ("2.5%", 44),
        ("300 steps", 300),
        ("2e5 tokens", 98),
        ("N tokens", 12),
    ],
)
def test_warmup_is_a_share_steps_or_tokens(settings, warmup, steps):
    assert only(settings, SHAPE, warmup=warmup).warmup_steps == steps


@pytest.mark.parametrize("warmup", ["1758 steps", "101%", "4e6 tokens", "1e99 steps"])
def test_a_warmup_longer_than_the_run_is_refused(settings, warmup):
    reason = rf'shapes\.0 = {{"n_layer":2.*}}: training\.warmup = {warmup}: .* the run has 1757$'
    with pytest.raises(InputError, match=reason):
        only(settings, SHAPE, warmup=warmup)


def test_only_wsd_has_steps_of_decay_and_they_are_not_those_of_warmup(settings):
    assert only(settings, SHAPE, decay=0.5).decay_steps == 0
    spec = only(settings, SHAPE, schedule="wsd", decay=0.5)
    assert (spec.schedule, spec.decay_steps) == ("wsd", 878)
    with pytest.raises(
        InputError, match=r"shapes\.0 = .*: warmup_steps = 1230 and decay_steps = 878"
    ):
        only(settings, SHAPE, schedule="wsd", decay=0.5, warmup="70%")


def test_the_final_rate_is_a_share_of_the_peak(settings):
    spec = only(settings, SHAPE, learning_rate=0.002, final_lr=0.1)
    assert (spec.lr, spec.final_lr) == (0.002, pytest.approx(0.0002))


def test_a_model_without_layers_has_the_rate_and_warmup_of_one_layer(settings):
    for rule in ("paper", "porian", {"peak": 0.01}):
        none, one = (
            only(settings, SHAPE | {"n_layer": n}, learning_rate=rule, warmup="N tokens")
            for n in (0, 1)
        )
        assert (none.N, one.N) == (0, 12_288)
        assert (none.lr, none.warmup_steps) == (one.lr, one.warmup_steps)


def test_an_lstm_and_a_universal_transformer_are_shapes_too(settings):
    lstm = only(settings, {"architecture": "lstm", "n_layer": 1, "d_model": 24})
    assert (lstm.architecture, lstm.n_head, lstm.d_ff) == ("lstm", 0, 0)
    universal = only(settings, SHAPE | {"architecture": "universal", "reuse": 4})
    assert (universal.reuse, universal.d_ff, universal.N) == (4, 128, 24_576)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (SHAPE | {"architecture": "lstm"}, "an LSTM has layers, and neither heads nor"),
        (SHAPE | {"reuse": 2}, "reuse = 2: a Universal Transformer has 2 or more"),
        (SHAPE | {"architecture": "universal"}, "reuse = 1: a Universal Transformer has 2 or more"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused_in_one_line(settings, shape, reason):
    with pytest.raises(InputError) as error:
        only(settings, shape)
    (line,) = str(error.value).splitlines()
    assert line.startswith("config: studies.model_size.shapes.0 = {") and reason in line


def test_what_is_not_part_of_a_run_does_not_change_its_name(settings):
    before = runs(validate(settings))
    settings["training"] |= {"threads": 2, "checkpoint_minutes": 1, "decay": 0.1}
    assert runs(validate(settings)) == before
    for changed in ({"precision": "bfloat16"}, {"tied_head": False}, {"micro_batches": 2}):
        again = settings | {"training": settings["training"] | changed}
        assert not set(runs(validate(again))) & set(before)


def test_the_plan_lists_every_run_with_its_compute(settings, tmp_path):
    plan(settings=json.dumps(settings, default=str), output=tmp_path / "runs.tsv")
    table = pd.read_csv(tmp_path / "runs.tsv", sep="\t").set_index("run")
    for run, (spec, studies, *_) in runs(validate(settings)).items():
        row = table.loc[run]
        assert row["study"] == ",".join(studies)
        assert row["C"] == 6 * spec.N * spec.batch_tokens * spec.steps
        assert row["C_full"] > row["C"]
        assert row["memory"] == sum(training_memory(spec).values())
        assert not row["sharded"]


def test_a_run_that_several_gpus_share_is_planned_for_their_memory(settings, tmp_path):
    settings["training"]["gpu_memory"] = 24
    settings["training"] |= {"batch_sequences": 32, "micro_batches": 8, "n_ctx": 1024}
    settings["training"]["tokens"] = 2**20
    largest = {"n_layer": 48, "d_model": 1600, "n_head": 25, "training": {"gpus": 4}}
    settings["studies"]["model_size"]["shapes"] = [SHAPE | {"training": {"gpus": 4}}, largest]
    plan(settings=json.dumps(settings, default=str), output=tmp_path / "runs.tsv")
    table = pd.read_csv(tmp_path / "runs.tsv", sep="\t").set_index("n_layer")
    assert list(table.loc[[2, 48], "gpus"]) == [4, 4]
    assert list(table.loc[[2, 48], "sharded"]) == [False, True]
    # 1.5e9 weights and gradients of 4 bytes, on each of four GPUs a quarter
    assert 4e9 < table.loc[48, "memory"] < 24e9
    settings["studies"]["model_size"]["shapes"] = [SHAPE | {"training": {"gpus": 3}}]
    with pytest.raises(InputError, match="32 sequences cannot be divided into 3 micro-batches"):
        runs(validate(settings))


def test_a_run_has_slots_of_one_gpu_or_whole_gpus_of_some_machines(settings):
    settings["training"] |= {"batch_sequences": 32, "micro_batches": 1, "gpu_memory": 8}
    settings["hardware"] = {"gpu_slots": 4, "gpus_per_node": 8}
    shapes = [SHAPE | {"training": {"gpus": gpus}} for gpus in (0, 1, 8, 16)]
    for shape, slots, nodes in zip(shapes, (0, 2, 32, 64), (1, 1, 1, 2), strict=True):
        settings["studies"]["model_size"]["shapes"] = [shape]
        (run,) = runs_of(validate(settings), "model_size")
        assert (run.slots, run.nodes) == (slots, nodes)
    settings["studies"]["model_size"]["shapes"] = [SHAPE | {"training": {"gpus": 8}}]
    for gpus_per_node, nodes in ((3, 3), (6, 2)):  # 8 on 2 machines are 4 on each, or 6 and 2
        settings["hardware"]["gpus_per_node"] = gpus_per_node
        said = rf"on {nodes} machines of hardware\.gpus_per_node = {gpus_per_node}; .* a multiple"
        with pytest.raises(InputError, match=said):
            runs(validate(settings))


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


def test_tables_of_studies_join_to_those_of_all_runs(settings, tmp_path):
    # A run of both studies is in the tables of each.
    settings["studies"]["again"] = {"shapes": settings["studies"]["model_size"]["shapes"][:1]}
    settings["fits"] = {"laws": {}}
    plan(settings=json.dumps(settings, default=str), output=tmp_path / "runs.tsv")
    for name, run in runs(validate(settings)).items():
        write_run(tmp_path / "runs" / name, name, run.spec)
    collect(tmp_path / "runs.tsv", runs=tmp_path / "runs", tables=tmp_path / "all")
    folders = []
    for study in ("model_size", "data_size", "again"):
        alone = settings | {"studies": {study: settings["studies"][study]}}
        plan(settings=json.dumps(alone, default=str), output=tmp_path / f"{study}.tsv")
        folders.append(tmp_path / study)
        collect(tmp_path / f"{study}.tsv", runs=tmp_path / "runs", tables=folders[-1])
    gather(tmp_path / "runs.tsv", studies=folders, tables=tmp_path / "joined")
    for name in TABLES:
        one, other = (
            pd.read_parquet(tmp_path / folder / f"{name}.parquet") for folder in ("all", "joined")
        )
        if name == "runs":
            one, other = (table.assign(study=table["study"].map(list)) for table in (one, other))
            assert ["model_size", "again"] in list(one["study"])
        pd.testing.assert_frame_equal(one, other)
    with pytest.raises(InputError, match=r"planned in .*runs\.tsv, and in the tables of no study"):
        gather(tmp_path / "runs.tsv", studies=folders[:1], tables=tmp_path / "joined")


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
