"""What `scaling-laws status` says of a workflow that runs, fails, is killed and ends."""

import os
import shutil
import signal

import pandas as pd
import pytest

from running import RESULTS, begin, refused, scaling_laws, snakemake, wait_until


def begin_run(folder, run, target):
    """Start the workflow, and return it once a run has the first point of its curve."""
    process = begin(folder, "--", target)
    wait_until((run / "checkpoints/curve.csv").exists, process)
    return process


@pytest.fixture
def robbed(copy):
    """Return the copy without one of its runs, and the target that makes it again."""
    (run,) = (copy / RESULTS / "runs").glob("transformer-2x32-*")
    shutil.rmtree(run)
    return copy, run, f"{RESULTS}/runs/{run.name}/evaluation.parquet"


def test_a_running_job_is_shown_with_its_curve_so_far(robbed):
    folder, run, target = robbed
    process = begin_run(folder, run, target)
    os.killpg(process.pid, signal.SIGSTOP)  # else it could be over before it was asked for
    try:
        so_far = pd.read_csv(run / "checkpoints/curve.csv")
        said = scaling_laws(folder, "status", RESULTS, code=0)
    finally:
        os.killpg(process.pid, signal.SIGCONT)
    assert "running\n0 of 2 jobs are done." in said
    assert "25 trained and evaluated, 0 trained, 1 begun, 0 to come" in said
    assert f"Train {run.name}: step " in said and "test loss" in said and "The runs end" in said
    assert process.wait() == 0
    whole = pd.read_parquet(run / "curve.parquet")
    pd.testing.assert_frame_equal(so_far, whole[: len(so_far)])
    said = scaling_laws(folder, "status", RESULTS, code=0)
    assert "ended well\n2 of 2 jobs are done.\n26 runs: 26 trained and evaluated" in said
    assert "still to do" not in said and "Running" not in said


def test_a_failure_is_told_with_the_last_line_of_its_log(robbed):
    folder, run, target = robbed
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/state.pt").write_text("not what a run can go on from")
    snakemake(folder, "--", target, check=False)
    said = scaling_laws(folder, "status", RESULTS, code=1)
    assert "ended with failures\n0 of 2 jobs are done." in said
    assert f"Failed: 1\n  Train {run.name}: error: {RESULTS}/runs/{run.name}/checkpoints" in said
    assert "remove it, and the run begins anew" in said
    assert f"({RESULTS}/logs/train/{run.name}.log)" in said


@pytest.mark.parametrize(
    ("number", "now", "first"),
    [
        (signal.SIGKILL, "and it did not come to its end", "After `snakemake --unlock` the"),
        (signal.SIGINT, "stopped before its end", "The"),
    ],
)
def test_a_workflow_that_was_killed_or_stopped_neither_runs_nor_ended_well(
    robbed, number, now, first
):
    folder, run, target = robbed
    process = begin_run(folder, run, target)
    os.killpg(process.pid, number)
    process.wait()
    said = scaling_laws(folder, "status", RESULTS, code=1)
    assert f"{now}\n0 of 2 jobs are done." in said and "Running" not in said
    assert f"\n{first} same command makes what is missing." in said


def test_results_without_a_log_tell_of_their_runs(copy):
    shutil.rmtree(copy / ".snakemake")
    assert "26 runs: 26 trained and evaluated" in scaling_laws(copy, "status", RESULTS, code=0)
    shutil.rmtree(copy / RESULTS)
    assert "no log of Snakemake" in refused(copy, "status", RESULTS)


def test_a_folder_that_a_log_names_is_not_taken_for_results(finished):
    for folder in ("config", f"{RESULTS}/runs", "/tmp"):
        assert "no results" in refused(finished, "status", folder)
