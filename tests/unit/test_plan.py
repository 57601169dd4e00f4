"""The plan: compute, time and money of every run, and a grid for a budget, with nothing trained."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from small_run import SPEC

from scaling_laws.config import Hardware, load
from scaling_laws.errors import InputError
from scaling_laws.report.status import Progress, seconds_left
from scaling_laws.studies.budget import LADDER, parse_budget
from scaling_laws.studies.cost import (
    devices_of,
    evaluation_seconds,
    measured,
    rated,
    run_seconds,
    training_seconds,
    wall_seconds,
)
from scaling_laws.studies.grid import runs
from scaling_laws.studies.overview import problems
from scaling_laws.studies.plan import plan
from scaling_laws.training.cost import fit_times, work

ROOT = Path(__file__).parents[2]
# Section 3.3 of the specification sheet: shape, FLOP of 2.5e5 steps, PF-days, and the factors by
# which attention, and attention and head, multiply the compute.
TABLE = [
    (1, 8, 6.0e14, 7.0e-6, 11.7, 535),
    (2, 128, 3.1e17, 0.0036, 1.67, 18.0),
    (4, 256, 2.5e18, 0.029, 1.33, 5.42),
    (8, 512, 2.0e19, 0.23, 1.17, 2.19),
    (12, 768, 6.7e19, 0.77, 1.11, 1.57),
    (24, 1024, 2.4e20, 2.7, 1.08, 1.25),
    (36, 1280, 5.6e20, 6.4, 1.07, 1.16),
    (48, 1600, 1.2e21, 13.4, 1.05, 1.11),
    (6, 4288, 1.0e21, 12.1, 1.02, 1.18),
    (207, 768, 1.2e21, 13.3, 1.11, 1.14),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return a folder, made the working one, with the configuration of the demo."""
    shutil.copy(ROOT / "config.yaml", tmp_path)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(here, *overlays, **options):
    plan(configfile=[Path("config", name) for name in overlays], output=here / "r.tsv", **options)
    return pd.read_csv(here / "r.tsv", sep="\t")


def overlay(here, name, settings):
    (here / "config" / name).write_text(yaml.safe_dump(settings))
    return name


def test_the_papers_grid_costs_what_the_paper_says(here):
    table = planned(here, "paper.yaml")
    finished = table[(table["steps"] == 250_000) & (table["data_tokens"] == 22_000_000_000)]
    for n_layer, d_model, flop, pf_days, attention, both in TABLE:
        of_shape = (finished["n_layer"] == n_layer) & (finished["d_model"] == d_model)
        rows = finished[of_shape & (finished["d_ff"] == 4 * d_model) & (finished["dropout"] == 0)]
        row = rows.iloc[0]
        N = 12 * n_layer * d_model**2
        assert row["C"] == pytest.approx(6 * N * 2**19 * 250_000, rel=1e-12)
        assert row["C"] == pytest.approx(flop, rel=0.05)  # of which two digits are printed
        assert row["PF_days"] == pytest.approx(pf_days, rel=0.02)
        assert row["C_attention"] / row["C"] == pytest.approx(attention, rel=0.01)
        assert row["C_full"] / row["C"] == pytest.approx(both, rel=0.01)
    assert set(table["N"]) >= {768, 1_474_560_000}


def test_every_overlay_of_the_repository_is_a_grid_that_can_be_run(here):
    for path in sorted((here / "config").glob("*.yaml")):
        if path.name != "webtext.yaml":  # it wants an address first
            assert len(planned(here, path.name)) > 0


def test_columns_add_up(here):
    table = planned(here)
    assert (table["C"] <= table["C_attention"]).all() and (table["C"] <= table["C_head"]).all()
    sums = table["C_attention"] + table["C_head"] - table["C"]
    assert list(table["C_full"]) == pytest.approx(list(sums))
    assert (table["C_full"] < table["C_chinchilla"]).all()
    assert (table["tokens"] == table["steps"] * table["B"]).all()
    assert "hours" not in table


def test_hours_and_money_are_those_of_the_hardware(here):
    hardware = {"tflops": 0.1, "mfu": 0.5, "price": 2.0, "devices": 4}
    table = planned(here, overlay(here, "h.yaml", {"hardware": hardware}))
    largest = table.loc[table["C_full"].idxmax()]
    # Training apart, there are test losses, evaluations and eight seconds of starts.
    least = largest["C_full"] / 50e9 / 3600
    assert least < largest["hours"] < 1.5 * least + 0.0023
    assert list(table["cost"]) == pytest.approx(list(2 * table["hours"]))


def test_no_model_is_too_small_for_what_it_takes_to_start_an_update():
    update = rated(Hardware(tflops=1000.0)).update
    small = SPEC.model_copy(update={"n_layer": 2})
    large = small.model_copy(update={"d_model": 2**16, "d_ff": 2**18})
    assert update(small) == pytest.approx(2e-3 + 2 * 3e-4)
    assert update(large) == pytest.approx(large.C(1, "full") / 4e14)


def test_jobs_share_devices_the_longest_first():
    assert wall_seconds([(3, 1), (3, 1), (2, 1), (2, 1), (2, 1)], 2) == 7
    assert wall_seconds([(5, 4), (1, 1)], 2) == 11
    assert wall_seconds([(5, 1)], 10**12) == 5
    assert wall_seconds([], 3) == 0


def test_times_of_the_parts_of_an_update_are_found_again():
    changes = [
        {"n_layer": layers, "d_model": width, "d_ff": 4 * width, "n_ctx": n_ctx, "vocab_size": size}
        for layers, width in ((1, 8), (2, 16), (3, 64), (6, 256))
        for n_ctx, size in ((16, 100), (64, 1000), (128, 100))
    ]
    specs = [SPEC.model_copy(update=change) for change in changes]
    planted = [1e-3, 2e-4, 1e-11, 2e-11, 3e-11, 1e-9, 2e-9, 3e-9]
    seconds = [float(work(spec) @ planted) for spec in specs]
    times = fit_times(specs, seconds)
    assert [float(work(spec) @ times) for spec in specs] == pytest.approx(seconds, rel=1e-3)
    assert min(times) >= 0


def rates(here, startup=3.0):
    path = here / "rates.json"
    times = [1e-3, 1e-3, 1.3e-11, 0.0, 0.0, 7e-9, 6e-9, 3.7e-9]
    facts = {"startup_seconds": startup, "times": {"transformer": times, "lstm": times}}
    path.write_text(json.dumps(facts))
    return path


ONES = [1e-3] * 8


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "no", '{"times": 3, "startup_seconds": 1}']
    + [
        json.dumps({"startup_seconds": startup, "times": {"transformer": times, "lstm": ONES}})
        for startup, times in (
            (-5, ONES),
            (float("nan"), ONES),
            (1, [1, 2]),
            (1, [0] * 8),
            (1, [-1, *ONES[1:]]),
            (1, [float("nan"), *ONES[1:]]),
            (1, [1e300] * 8),
        )
    ],
)
def test_rates_that_are_none_are_refused(here, text):
    (here / "rates.json").write_text(text)
    with pytest.raises(InputError, match=r"rates\.json: not what `scaling-laws calibrate` writes"):
        measured(here / "rates.json")
    with pytest.raises(InputError, match=r"none\.json: no such file; `scaling-laws calibrate`"):
        measured(here / "none.json")


def test_what_a_run_takes_grows_with_steps_snapshots_and_starts(here):
    config = load([])
    run = next(iter(runs(config).values()))
    times = measured(rates(here))
    seconds = run_seconds(run, config, times)
    twice = run._replace(spec=run.spec.model_copy(update={"steps": 2 * run.spec.steps}))
    kept = run._replace(spec=run.spec.model_copy(update={"snapshots": 5}))
    slow = measured(rates(here, startup=10.0))
    assert 1.7 * (seconds - 6) < run_seconds(twice, config, times) - 6 < 2 * (seconds - 6)
    assert run_seconds(kept, config, times) > seconds
    assert run_seconds(run, config, slow) == pytest.approx(seconds + 14)
    assert rated(Hardware()) is None and devices_of(config, [run]) >= 1


def test_an_evaluation_takes_one_gpu_and_does_not_grow_with_the_training(here):
    config = load([])
    run = next(iter(runs(config).values()))
    times = measured(rates(here, startup=0.0))
    long = run._replace(spec=run.spec.model_copy(update={"steps": 9 * run.spec.steps}))
    assert evaluation_seconds(long, config, times) == evaluation_seconds(run, config, times)
    eight = run._replace(gpus=8)
    assert training_seconds(eight, times) == pytest.approx(training_seconds(run, times) / 8)
    assert evaluation_seconds(eight, config, times) == evaluation_seconds(run, config, times)
    assert devices_of(config, [run, eight]) == 8


def test_runs_that_need_all_gpus_are_foretold_one_after_the_other(here):
    settings = {"training": {"gpus": 2}, "hardware": {"tflops": 1}}
    config = load([Path("config", overlay(here, "two.yaml", settings))])
    table = list(runs(config).values())[:2]
    to_come = {run.spec.name: Progress(run, False, False, 0, None, 0.0) for run in table}
    seconds = sum(run_seconds(run, config, rated(config.hardware)) for run in table)
    assert seconds_left(config, to_come, 2) == pytest.approx(seconds)
    assert seconds_left(config, to_come, 4) < 0.9 * seconds


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("90min", 5400, "s"), ("2 h", 7200, "s"), ("1.5d", 129_600, "s"), ("1e18FLOP", 1e18, "FLOP")],
)
def test_a_budget_is_a_time_or_flop(text, amount, unit):
    assert parse_budget(text) == (amount, unit)


@pytest.mark.parametrize("text", ["2", "h", "0min", "1e18", "2 weeks", "-3h", "1e18 flops"])
def test_a_budget_that_is_neither_is_refused(text):
    with pytest.raises(InputError, match=f"--budget {text}: expected the like of 90min"):
        parse_budget(text)


@pytest.mark.parametrize("budget", ["12min", "20min", "3h", "1e14FLOP", "1e17FLOP"])
def test_a_proposed_grid_spends_its_budget_and_is_well_posed(here, budget):
    options = {} if "FLOP" in budget else {"rates": rates(here)}
    out = Path("config/budget.yaml")
    found = plan(configfile=[], output=here / "r.tsv", budget=budget, overlay=out, **options)
    assert found["overlay"] == str(out)
    config = load([out])
    assert config.results == "results-budget"
    table = runs(config)
    assert not [problem for problem in problems(config, table) if "head" not in problem]
    amount, unit = parse_budget(budget)
    if unit == "FLOP":
        assert 0.9 * amount < found["FLOP"] <= amount
    else:
        said = re.search(r"foretold to take ([\d.]+) (min|h):", out.read_text())
        foretold = float(said[1]) * {"min": 60, "h": 3600}[said[2]]
        assert 0.95 * amount < foretold <= 1.01 * amount
    sizes = sorted({run.spec.N for run in table.values() if "model_size" in run.studies})
    assert len(sizes) >= 5 and sizes[0] == 768 and sizes[-1] > 30 * sizes[0]
    subsets = {run.spec.data_tokens for run in table.values() if "data_size" in run.studies}
    assert len(subsets) == 6 and max(subsets) == pytest.approx(32 * min(subsets), rel=0.01)


def test_a_larger_budget_buys_wider_spans(here):
    spans = []
    for budget in ("1e14FLOP", "1e16FLOP", "1e18FLOP"):
        table = planned(here, budget=budget, overlay=here / "o.yaml")
        spans.append((table["N"].max(), table["D"].max()))
    assert spans == sorted(spans) and len(set(spans)) == 3


def test_a_budget_that_buys_too_little_is_refused(here):
    with pytest.raises(InputError, match="are the least that 5 sizes take; found 60"):
        plan(configfile=[], budget="1min", rates=rates(here))
    with pytest.raises(InputError, match=r"set hardware\.tflops, or run `scaling-laws calibrate`"):
        plan(configfile=[], budget="1h")
    assert not (here / "config/budget.yaml").exists()


def test_sizes_of_the_ladder_grow_by_some_two_times():
    sizes = [12 * n_layer * d_model**2 for n_layer, d_model in LADDER]
    ratios = [large / small for small, large in itertools.pairwise(sizes)]
    assert min(ratios) > 1.3 and max(ratios) < 4
    assert all(d_model % max(1, d_model // 32) == 0 for _, d_model in LADDER)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"training": {"data_tokens": 100_000}}, "runs see their data more than 4 times, up to 28"),
        ({"training": {"data_tokens": 2_000_000}}, "runs overfit by equation 4.4"),
        (
            {"training": {"gpus": 1, "gpu_memory": 0.05}},
            "runs need more than the 0.05 GB of each of their GPUs, up to",
        ),
        (
            {"training": {"gpus": 2}, "hardware": {"devices": 1}},
            "a run takes 2 GPUs, and hardware.devices = 1",
        ),
        (
            {"training": {"gpus": 1}, "hardware": {"tflops": 1e-5, "mfu": 0.1, "job_minutes": 600}},
            "the longest run goes on in ",
        ),
        ({"training": {"warmup": "60%"}}, "runs warm up for more than half of their steps"),
        (
            {"studies": {"model_size": {"shapes": [{"n_layer": 2, "d_model": 8, "n_head": 1}]}}},
            "L_N: 1 values of N in model_size; a fit needs 4",
        ),
        ({"studies": {"data_size": {"vary": {"data_tokens": [9000]}}}}, "L_D: 1 values of D in"),
    ],
)
def test_what_is_ill_posed_is_named(here, settings, problem):
    config = load([Path("config", overlay(here, "ill.yaml", settings))])
    found = list(problems(config, runs(config)))
    assert [line for line in found if problem in line], found


def test_the_page_of_a_plan_holds_the_totals_every_run_and_what_is_ill_posed(here):
    settings = {"training": {"warmup": "900 steps"}}
    table = planned(here, overlay(here, "h.yaml", settings), page=here / "plan.html")
    page = (here / "plan.html").read_text()
    assert all(f">{run}</th>" in page for run in table["run"])
    assert f">{table['steps'].iloc[0]:,}</td>" in page
    assert "warm up for more than half" in page and "all, each once" in page


def test_the_printed_plan_has_totals_by_study_and_the_largest_run(here, capsys):
    plan(configfile=[], rates=rates(here))
    said = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    assert lines["model_size"][1] == "13" and lines["batch_size"][1] == "10"
    assert "critical path: transformer-4x96-" in said
    assert "largest run that one device of 80 GB holds: transformer-4x96-" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("- 1", "found list, expected keys and values"),
        ("nonsense: 1", "nonsense is no known key"),
    ],
)
def test_an_overlay_that_is_wrong_is_refused_by_name(here, text, said):
    Path("config/bad.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"config/bad\.yaml: {said}"):
        plan(configfile=[Path("config/bad.yaml")])
    with pytest.raises(InputError, match=r"config/none\.yaml: no such file"):
        plan(configfile=[Path("config/none.yaml")])


def test_a_proposal_repeats_the_tokens_that_there_are_four_times_at_most(here):
    (here / "results/tokens").mkdir(parents=True)
    (here / "results/tokens/train.json").write_text('{"documents": 9, "tokens": 2000000}')
    table = planned(here, budget="1e14FLOP", overlay=here / "o.yaml")
    assert table["data_tokens"].max() == 2_000_000
    assert 2_000_000 < table["tokens"].max() <= 8_000_000
    (here / "results/tokens/train.json").write_text("")
    with pytest.raises(InputError, match=r"^results/tokens/train\.json: not JSON"):
        planned(here, budget="1e14FLOP", overlay=here / "o.yaml")
    config = load([Path("o.yaml")])
    (here / "results-budget/tokens").mkdir(parents=True)
    (here / "results-budget/tokens/train.json").write_text('{"documents": 9, "tokens": 1000000}')
    (problem, *_) = problems(config, runs(config))
    assert problem.startswith("runs want 2,000,000 distinct tokens, and the training split in resu")


def test_a_budget_beyond_all_grids_is_spent_as_far_as_it_goes(here, capsys):
    table = planned(here, budget="1e30FLOP", overlay=here / "o.yaml")
    assert table["N"].max() == 12 * LADDER[-1][0] * LADDER[-1][1] ** 2
    assert "note: the training split must have" in capsys.readouterr().out


def test_an_overlay_of_comments_alone_changes_nothing(here):
    Path("config/empty.yaml").write_text("# nothing\n")
    assert load([Path("config/empty.yaml")]) == load([])


def test_a_proposal_says_on_which_overlays_it_lies(here):
    out = Path("config/mine.yaml")
    planned(here, "ci.yaml", budget="1e13FLOP", overlay=out)
    second = out.read_text().splitlines()[1]
    assert second == "# snakemake --cores all --configfile config/ci.yaml config/mine.yaml"
    again = planned(here, "ci.yaml", "mine.yaml")
    assert set(again["vocab_size"]) == {512} and again["C_full"].sum() <= 1e13


def test_a_proposal_overwrites_nothing_but_another(here):
    before = Path("config.yaml").read_text()
    with pytest.raises(InputError, match=r"config\.yaml: a file that was not proposed; name"):
        plan(configfile=[], budget="1e13FLOP", overlay=Path("config.yaml"))
    assert Path("config.yaml").read_text() == before
    for budget in ("1e13FLOP", "1e14FLOP"):
        plan(configfile=[], budget=budget, overlay=Path("o.yaml"))
    assert "1e14FLOP" in Path("o.yaml").read_text()
    with pytest.raises(InputError, match="config: a folder; expected a file's name"):
        plan(configfile=[], budget="1e13FLOP", overlay=Path("config"))


def test_hours_of_a_gpu_for_runs_on_the_processor_are_named(here):
    config = load([Path("config", overlay(here, "h.yaml", {"hardware": {"tflops": 100}}))])
    assert any("training.gpus is 0" in line for line in problems(config, runs(config)))
