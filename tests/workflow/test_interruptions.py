"""The workflow, killed or robbed of results: it goes on, and ends with the same."""

import os
import shutil
import signal
import time
from collections import Counter

import pandas as pd
import pytest

from running import RESULTS, assert_equal_results, begin, planned_rules, snakemake, wait_until


def test_one_run_is_made_again_alone_and_the_same(copy):
    (run,) = (copy / RESULTS / "runs").glob("transformer-2x16-*")
    weights = (run / "model.safetensors").read_bytes()
    shutil.rmtree(run)
    target = f"{RESULTS}/runs/{run.name}/curve.parquet"
    assert planned_rules(copy, target) == Counter({"train": 1})
    snakemake(copy, target)
    assert (run / "model.safetensors").read_bytes() == weights


def test_a_run_that_is_told_to_end_goes_on_at_its_step(finished, copy):
    (run,) = (copy / RESULTS / "runs").glob("transformer-2x32-*")
    shutil.rmtree(run)
    wanted = ("--", f"{RESULTS}/runs/{run.name}/curve.parquet")
    process = begin(copy, "--config", "training={checkpoint_minutes: 0.001}", *wanted)
    wait_until((run / "checkpoints/state.pt").exists, process)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() != 0
    wait_until(lambda: logged(copy, run.name, "and saved"))
    assert not (run / "curve.parquet").exists()
    snakemake(copy, "--unlock")
    snakemake(copy, *wanted)
    assert logged(copy, run.name, "goes on at step")
    assert not (run / "checkpoints").exists()
    before, after = (
        pd.read_parquet(folder / wanted[1]).drop(columns="seconds") for folder in (finished, copy)
    )
    pd.testing.assert_frame_equal(before, after)


def logged(folder, run, words):
    return words in (folder / RESULTS / f"logs/train/{run}.log").read_text()


@pytest.mark.parametrize(
    ("stage", "targets", "lost"),
    [
        ("crawl", ["corpus"], ("crawl", "documents", "corpus", "corpora")),
        ("train", ["runs", "fits"], ("runs/*-2x1*", "tables/*.parquet", "tables/*/runs.parquet")),
        ("fit", ["fits"], ("fits",)),
    ],
)
def test_killed_in_a_stage_it_completes_with_equal_results(finished, copy, stage, targets, lost):
    for path in [path for pattern in lost for path in (copy / RESULTS).glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    process = begin(copy, *targets)
    # The jobs of the stage have begun when the first log of this run is there.
    logs, started = copy / RESULTS / "logs" / stage, time.time()
    wait_until(lambda: any(log.stat().st_mtime > started for log in logs.glob("*.log")), process)
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    snakemake(copy, "--unlock")
    snakemake(copy, *targets)
    assert_equal_results(finished, copy)
    assert not list(copy.glob(f"{RESULTS}/**/.partial-*"))
