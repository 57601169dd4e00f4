"""Claims of the paper, held against tables: they hold where planted, and fail where broken."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.errors import InputError
from scaling_laws.report.claims import (
    Tables,
    batches,
    claims,
    other_text,
    positions,
    sample_efficiency,
    seeds,
)

SIZES = (1000, 4000, 16000, 64000)
STEPS = np.unique(np.geomspace(10, 2000, 30).astype(int))
POSITIONS = np.arange(1, 65)
B = 1000
S_MIN, E_MIN = 300.0, 6e5  # at loss 4; steps and tokens
BATCHES = (500, 2000, 8000, 32000)


def run_row(run, study, N, B, seed=0, **more):
    row = {"run": run, "study": [study], "n_ctx": 64, "N": N, "B": B, "lr": 0.01, "seed": seed}
    return row | {"d_model": 8, "n_layer": N, "outcome": "finished", "test_loss": 4.0} | more


def sizes(faster=True, other=0.3, steeper=True):
    """Return the tables of a study of sizes, in which larger models learn faster or slower."""
    runs, curves, evaluations, places = [], [], [], []
    for place, N in enumerate(SIZES):
        run, rank = f"r{N}", place if faster else -place
        losses = 3 + 12 * STEPS**-0.5 / (1 + 0.3 * (rank + 4))
        runs.append(run_row(run, "model_size", N, B, test_loss=losses[-1]))
        curve = {"run": run, "step": STEPS, "tokens": STEPS * B, "test_loss": losses}
        curves.append(pd.DataFrame(curve))
        for corpus, shift in (("test", 0.0), ("books", other * (place if other < 0 else 1))):
            loss = losses[-1] + shift
            evaluations.append({"run": run, "step": 2000, "corpus": corpus, "loss": loss})
        slope = 0.1 * (place + 1 if steeper else 5 - place)
        falling = {"position": POSITIONS, "loss": 5 - slope * np.log(POSITIONS)}
        places.append(pd.DataFrame({"run": run, "step": 2000, "corpus": "test", **falling}))
    return Tables(
        pd.DataFrame(runs), pd.concat(curves), pd.DataFrame(evaluations), pd.concat(places)
    )


def scan(exponent=1.0, least=S_MIN):
    """Return the tables of a batch scan: S = S_min (1 + B_crit / B) (4 / loss)^2."""
    runs, curves = [], []
    for B in BATCHES:
        for lr, slower in ((0.01, 1.0), (0.02, 1.5)):
            run = f"b{B}-{lr}"
            losses = np.geomspace(8, 3, 40)
            steps = slower * (least + E_MIN / B**exponent) * (4 / losses) ** 2
            runs.append(run_row(run, "batch_size", 1000, B, lr=lr))
            curve = {"run": run, "step": steps, "tokens": steps * B, "test_loss": losses}
            curves.append(pd.DataFrame(curve))
    empty = pd.DataFrame(columns=["run", "step", "corpus", "position", "loss"])
    return Tables(pd.DataFrame(runs), pd.concat(curves), empty, empty)


def test_larger_models_that_learn_faster_are_seen_to():
    assert sample_efficiency(sizes()).holds is True
    assert sample_efficiency(sizes(faster=False)).holds is False


def test_loss_on_other_text_falls_with_that_on_the_test_split_or_does_not():
    claim = other_text(sizes(other=0.3))
    assert claim.holds is True and "books: offset +0.300 nats" in claim.found[0]
    assert "standard deviation 0.000" in claim.found[0]
    assert other_text(sizes(faster=False, other=-2.0)).holds is False


def test_the_fall_along_the_context_grows_with_the_size_or_does_not():
    assert positions(sizes()).holds is True
    assert positions(sizes(steeper=False)).holds is False


def test_a_batch_scan_gives_back_its_least_steps_and_tokens_with_the_best_rates():
    claim = batches(scan())
    assert claim.holds is True
    for line in claim.found:
        loss = float(line.split("loss ")[1].split(",")[0])
        S_min = float(line.split("S_min ")[1].split(",")[0])
        E_min = float(line.split("E_min ")[1].split(",")[0])
        assert S_min == pytest.approx(S_MIN * (4 / loss) ** 2, rel=0.02)
        assert E_min == pytest.approx(E_MIN * (4 / loss) ** 2, rel=0.02)
        assert "B_crit 2e+03 tokens" in line


def test_a_scan_in_which_larger_batches_need_fewer_tokens_is_no_scan():
    assert batches(scan(exponent=1.5, least=0.0)).holds is False


def test_noise_is_that_of_runs_that_differ_in_their_seed_alone():
    losses = {0: 4.00, 1: 4.02, 2: 4.04}
    rows = [run_row(f"s{seed}", "a", 1000, B, seed=seed, test_loss=x) for seed, x in losses.items()]
    rows.append(run_row("other", "a", 1000, B, lr=0.5, test_loss=9.0))
    claim = seeds(sizes()._replace(runs=pd.DataFrame(rows)))
    assert claim.holds is True
    assert claim.found[0] == "N = 1,000: standard deviation 0.0200 nats over 3 seeds"


@pytest.mark.parametrize(("number", "holds"), [(2, None), (3, True)])
def test_two_seeds_give_a_number_but_no_judgement(number, holds):
    rows = [
        run_row(f"s{seed}", "a", 1000, B, seed=seed, test_loss=4 + 0.01 * seed)
        for seed in range(number)
    ]
    claim = seeds(sizes()._replace(runs=pd.DataFrame(rows)))
    assert claim.holds is holds
    assert claim.found[0].endswith(f"over {number} seeds")


def test_seeds_count_by_their_degrees_of_freedom():
    losses = {1000: (4.00, 4.02, 4.04), 2000: (3.0, 3.04)}
    rows = [
        run_row(f"{N}-{seed}", "a", N, B, seed=seed, test_loss=loss)
        for N, of_size in losses.items()
        for seed, loss in enumerate(of_size)
    ]
    claim = seeds(sizes()._replace(runs=pd.DataFrame(rows)))
    pooled = ((2 * 0.02**2 + 0.0008) / 3) ** 0.5
    assert claim.found[-1].startswith(f"pooled: {pooled:.4f} nats")


def test_too_few_runs_tell_nothing():
    tables = sizes()
    one = tables._replace(runs=tables.runs.head(1))
    for claim in (sample_efficiency, other_text, positions, batches, seeds):
        assert claim(one).holds is None


def write(folder, tables):
    (folder / "tables").mkdir()
    for name, table in tables._asdict().items():
        table.to_parquet(folder / f"tables/{name}.parquet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"N": [1000.0, None, 2.0, 3.0]}, r"runs\.parquet: row 2: N is empty"),
        ({"N": ["a", "b", "c", "d"]}, r"runs\.parquet: row 1: N is 'a'; expected a number of 0"),
        ({"outcome": ["diverged"] * 4}, r"runs\.parquet: every run diverged"),
    ],
)
def test_tables_that_cannot_be_are_refused_by_column(tmp_path, change, said):
    tables = sizes()
    write(tmp_path, tables._replace(runs=tables.runs.assign(**change)))
    with pytest.raises(InputError, match=said):
        claims(tmp_path)


def test_a_table_of_no_runs_is_not_one_of_diverged_ones(tmp_path):
    tables = sizes()
    write(tmp_path, tables._replace(runs=tables.runs.head(0)))
    with pytest.raises(InputError, match=r"runs\.parquet: no run; expected some"):
        claims(tmp_path)


def test_the_command_prints_every_claim_of_a_results_folder(tmp_path, capsys):
    write(tmp_path, sizes())
    claims(tmp_path)
    said = capsys.readouterr().out
    assert "Larger models reach each loss in fewer tokens: holds" in said
    assert "Larger batches reach a loss in fewer steps and more tokens: not enough range" in said
    with pytest.raises(InputError, match=r"tables/runs\.parquet: no such file"):
        claims(tmp_path / "nowhere")
