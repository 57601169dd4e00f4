"""Runs that are killed go on as if nothing had happened."""

import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_tokens import SPEC, counting_tokens, evaluated, outputs

from scaling_laws.errors import InputError
from scaling_laws.evaluation.losses import evaluate
from scaling_laws.training import checkpoint
from scaling_laws.training.loop import STATE, train

torch.set_num_threads(1)

LONG = SPEC.model_copy(
    update={
        "steps": 400,
        "evaluations": 12,
        "snapshots": 3,
        "dropout": 0.1,
        "micro_batches": 2,
        "patience": 12,
    }
)
processes = multiprocessing.get_context("fork")  # a forked child has PyTorch already


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return counting_tokens(tmp_path_factory.mktemp("tokens"))


def run(folder, out, seconds=600.0, spec=LONG):
    train(spec=spec, **outputs(folder, out), checkpoint_minutes=seconds / 60)
    evaluate([folder / "test.bin"], **evaluated(out), tokens=1000)


def start(folder, out, seconds):
    process = processes.Process(target=run, args=(folder, out, seconds))
    process.start()
    return process


def ended(process):
    process.join(60)
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert ended(start(folder, out, 600.0)) == 0
    return out


def require_same(out, undisturbed):
    """Compare all files of two runs; times apart, they are the same bytes."""
    names = {str(path.relative_to(undisturbed)) for path in undisturbed.rglob("*.*")}
    assert names == {str(path.relative_to(out)) for path in out.rglob("*.*")}
    assert len([name for name in names if name.startswith("snapshots/")]) == 3
    for name in names - {"curve.parquet", "run.json"}:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    curves = [pd.read_parquet(path / "curve.parquet") for path in (out, undisturbed)]
    one, other = (curve.drop(columns="seconds") for curve in curves)
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    facts = [json.loads((path / "run.json").read_text()) for path in (out, undisturbed)]
    assert {**facts[0], "seconds": 0} == {**facts[1], "seconds": 0}


def test_a_run_killed_at_ten_random_moments_ends_as_an_undisturbed_one(
    folder, undisturbed, tmp_path
):
    chance = random.Random(0)
    kills, seen = 0, set()
    while kills < 10:
        process = start(folder, tmp_path, seconds=0.05)
        # Let it get further than the time before, so that ten kills are ten different moments.
        while process.is_alive() and position(tmp_path) in seen:
            time.sleep(0.005)
        seen.add(position(tmp_path))
        time.sleep(chance.uniform(0, 0.15))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
    assert kills == 10, f"it ended after {kills} kills"
    assert ended(start(folder, tmp_path, 600.0)) == 0
    require_same(tmp_path, undisturbed)


def position(out):
    """Return what tells one checkpoint from another."""
    try:
        return (out / "checkpoints" / STATE).stat().st_mtime_ns
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_saves_and_resumes_at_the_very_step(
    folder, undisturbed, tmp_path, number
):
    process = start(folder, tmp_path, 600.0)
    while not list(tmp_path.glob("checkpoints/snapshots/*")):
        time.sleep(0.005)
    os.kill(process.pid, number)
    code = {signal.SIGTERM: checkpoint.REQUEUE, signal.SIGINT: 130}
    assert ended(process) == code[number]
    state = torch.load(tmp_path / "checkpoints" / STATE, weights_only=True)["state"]
    assert 0 < state["step"] < LONG.steps
    assert not (tmp_path / "curve.parquet").exists()
    assert ended(start(folder, tmp_path, 600.0)) == 0
    require_same(tmp_path, undisturbed)


@pytest.fixture
def stopped(folder, tmp_path):
    """Return the folder of a run that was told to end."""
    process = start(folder, tmp_path, 600.0)
    while not list(tmp_path.glob("checkpoints/snapshots/*")):
        time.sleep(0.005)
    process.terminate()
    assert ended(process) == checkpoint.REQUEUE
    return tmp_path


def test_a_checkpoint_of_another_run_is_refused_and_left_alone(folder, stopped):
    state = stopped / "checkpoints" / STATE
    before = state.read_bytes()
    with pytest.raises(InputError, match=r"state\.pt: .* lr = 0\.01, the run has 0\.02"):
        run(folder, stopped, spec=LONG.model_copy(update={"lr": 0.02}))
    assert state.read_bytes() == before


def test_a_checkpoint_of_other_tokens_is_refused(folder, stopped, tmp_path_factory):
    other = counting_tokens(tmp_path_factory.mktemp("other"), test=3000)
    with pytest.raises(InputError, match=r"state\.pt: a checkpoint of test = .*3000"):
        run(other, stopped)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "pickle"])
def test_a_damaged_checkpoint_is_refused_and_left_alone(folder, stopped, damage):
    state = stopped / "checkpoints" / STATE
    whole = state.read_bytes()
    if damage == "pickle":
        torch.save(np.zeros(3), state)
    else:
        cut = whole[: len(whole) // 2]
        state.write_bytes({"cut": cut, "garbage": b"none" * 99, "empty": b""}[damage])
    before = state.read_bytes()
    with pytest.raises(InputError, match=r"state\.pt: not a whole checkpoint"):
        run(folder, stopped)
    assert state.read_bytes() == before


def test_a_flipped_bit_does_not_go_unnoticed(folder, stopped):
    state = stopped / "checkpoints" / STATE
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 4
    state.write_bytes(data)
    with pytest.raises(InputError, match=r"state\.pt: not a whole checkpoint"):
        run(folder, stopped)
