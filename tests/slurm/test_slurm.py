"""The same rules as jobs of a real Slurm: the results are those of one machine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time

import pandas as pd
import psutil
import pytest
import yaml
from cluster import Cluster, cluster, why_not

from running import RESULTS, assert_equal_results, copy_repository, scaling_laws, wait_until

SITE = {
    "slurm-no-account": True,
    # The rest is for a cluster without accounting, whose jobs take seconds.
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 1,
    "seconds-between-status-checks": 1,
    "latency-wait": 5,
}
OFTEN = ("--config", "training={checkpoint_minutes: 0.001}")  # leaves a curve at once
SECONDS = 2700  # after which a workflow that waits for ever is ended


@pytest.fixture(scope="module")
def slurm():
    """A cluster; without Slurm its tests are skipped."""
    if reason := why_not():
        pytest.skip(reason)
    with cluster() as started:
        yield started


def begin(folder, *arguments, site=None):
    """Start the workflow through the profile, with the values of this site."""
    profile = yaml.safe_load((folder / "profiles/slurm/config.yaml").read_text())
    ours = folder / "profiles/site/config.yaml"
    ours.parent.mkdir(exist_ok=True)
    ours.write_text(yaml.safe_dump(profile | SITE | (site or {})))
    # What waits for a job that nobody ends does not end at SIGTERM.
    return subprocess.Popen(
        ["timeout", "--kill-after=10", str(SECONDS), "snakemake", "--profile", "profiles/site",
         "--configfile", "config/ci.yaml", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def end(process):
    """Wait for the workflow, which must succeed, and return what it said."""
    output, _ = process.communicate()
    if process.returncode:
        Cluster.command("scancel", "--user", "root")  # what it has left would hold up other tests
    assert process.returncode == 0, output[-20_000:]
    return output


def test_a_cluster_gives_the_results_of_one_machine(slurm, tmp_path, request):
    copy_repository(tmp_path)
    gpu = {"set-resources": {"train": {"gres": "gpu:1"}}}
    said = end(begin(tmp_path, site=gpu))
    assert (tmp_path / RESULTS / "report.html").exists()
    # Not before, as by now another process has made it.
    assert_equal_results(request.getfixturevalue("finished"), tmp_path)
    jobs = slurm.finished()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    # All short runs are in a few jobs, which have the GPU, and all of the analysis in one.
    assert 40 > len(jobs) == said.count("has been submitted with SLURM jobid")
    asked = slurm.command("squeue", "--states=all", "--noheader", "--format=%C %b").splitlines()
    of_runs = [line for line in asked if line.endswith("gres:gpu:1")]
    assert set(of_runs) == {"1 gres:gpu:1"}  # runs of a job take turns
    trained = len(list((tmp_path / RESULTS / "runs").iterdir()))
    assert trained / 8 <= len(of_runs) < trained / 2


def training(snakemake, folder, run):
    """Wait until a run has a curve and what it needs to go on; return its process, and its job."""
    saved = [
        folder / RESULTS / f"runs/{run}/checkpoints/{name}" for name in ("state.pt", "curve.csv")
    ]
    wait_until(lambda: all(path.exists() for path in saved), snakemake)
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        here = process.info["cwd"] == str(folder)  # other tests train the same run elsewhere
        if here and "train" in words and f"{RESULTS}/runs/{run}/curve.parquet" in words:
            return process, process.environ()["SLURM_JOB_ID"]
    pytest.fail(f"nothing trains {run}")


def reach_the_time_limit(slurm, folder, run, process, job):
    # A minute after it began Slurm ends it, as it stands.
    slurm.command("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    said = scaling_laws(folder, "status", RESULTS)
    assert "running\n0 of 4 jobs are done." in said and "4 begun, 0 to come" in said
    assert "Running: 4\n" in said and f"\n  Train {run}: step " in said and "test loss" in said


def terminate(slurm, folder, run, process, job):
    slurm.command("scancel", "--signal=TERM", job)
    process.resume()


def restart_the_daemon(slurm, folder, run, process, job):
    slurm.stop("n1")
    time.sleep(1)
    slurm.start_node("n1")
    process.resume()


def requeue(slurm, folder, run, process, job):
    slurm.command("scontrol", "requeue", job)
    running, queued = scaling_laws(folder, "status", RESULTS).split("In the queue: ")
    assert f"\n  Train {run}" in queued and f"Train {run}" not in running


RESUMED = {
    reach_the_time_limit: True,
    terminate: True,
    restart_the_daemon: False,
    requeue: True,
}


def test_runs_end_as_if_nothing_had_happened_to_them(finished, copy, slurm):
    plan = pd.read_csv(copy / RESULTS / "plan/runs.tsv", sep="\t")
    runs = plan.nlargest(len(RESUMED), "C_full")["run"]
    for run in runs:
        shutil.rmtree(copy / RESULTS / "runs" / run)
    targets = [f"{RESULTS}/runs/{run}/curve.parquet" for run in runs]
    a_job_each = {"group-components": {"short_runs": 1}}
    snakemake = begin(copy, *OFTEN, "--", *targets, site=a_job_each)
    under_way = []
    for run in runs:
        process, job = training(snakemake, copy, run)
        process.suspend()  # until something happens to it
        under_way.append((run, process, job))
    for event, (run, process, job) in zip(RESUMED, under_way, strict=True):
        event(slurm, copy, run, process, job)
    end(snakemake)
    said = scaling_laws(copy, "status", RESULTS)
    assert "ended well\n4 of 4 jobs are done." in said and "Running" not in said
    for (event, resumed), run in zip(RESUMED.items(), runs, strict=True):
        log = (copy / RESULTS / f"logs/train/{run}.log").read_text()
        assert ("goes on at step" in log) == resumed, event
        assert_equal_run(finished, copy, run)


def test_jobs_of_a_snakemake_that_was_killed_are_named_and_not_repeated(finished, copy, slurm):
    (path,) = (copy / RESULTS / "runs").glob("transformer-2x32-*")
    shutil.rmtree(path)
    target = f"{RESULTS}/runs/{path.name}/curve.parquet"
    started = begin(copy, *OFTEN, "--", target)
    _, job = training(started, copy, path.name)
    (snakemake,) = psutil.Process(started.pid).children()
    snakemake.kill()
    started.communicate()
    said = scaling_laws(copy, "status", RESULTS, code=1)
    assert "no longer running" in said and f"Running: 1\n  Train {path.name}: step" in said
    assert f"or `scancel {job}`." in said and "After `snakemake --unlock` the same" in said
    wait_until(lambda: not slurm.command("squeue", "-h"))
    assert "scancel" not in scaling_laws(copy, "status", RESULTS, code=1)
    end(begin(copy, "--unlock"))
    assert "Nothing to be done" in end(begin(copy, "--", target))
    assert_equal_run(finished, copy, path.name)


def test_a_run_that_takes_too_much_memory_is_given_more(finished, copy, slurm):
    (path,) = (copy / RESULTS / "runs").glob("transformer-2x32-*")
    shutil.rmtree(path)
    memory = {"set-resources": {"train": {"mem_mb": "100 * 10 ** attempt // 5"}}}
    snakemake = begin(copy, *OFTEN, "--", f"{RESULTS}/runs/{path.name}/curve.parquet", site=memory)
    process, _ = training(snakemake, copy, path.name)
    process.suspend()
    told = scaling_laws(copy, "status", RESULTS)
    process.resume()
    again = rf"Train {path.name} \(attempt 2, after slurmstepd.*memory limit.*\): step"
    assert re.search(again, told), told
    said = end(snakemake)
    assert said.count("has been submitted with SLURM jobid") == 2
    first, second = slurm.finished()[-2:]
    assert first["JobState"] != "COMPLETED" == second["JobState"]
    assert ("mem=200M" in first["Tres"], "mem=2000M" in second["Tres"]) == (True, True)
    assert_equal_run(finished, copy, path.name)


def test_runs_have_their_gpus_on_one_machine_and_take_turns(copy, slurm):
    runs = sorted((copy / RESULTS / "runs").glob("transformer-*"))[:2]
    for run in runs:
        shutil.rmtree(run)
    # Each machine has one to spare: two for who does not mind where.
    for node in ("n1", "n2"):
        busy = ("--partition=two", f"--nodelist={node}", "--gpus=1", "--mem=100", "--wrap=sleep 15")
        assert "Submitted" in slurm.command("sbatch", *busy, f"--output={copy}/busy-{node}.log")
    pair = ("training={gpus: 2, threads: 2}", "hardware={tflops: 1}")
    targets = [f"{RESULTS}/runs/{run.name}/curve.parquet" for run in runs]
    site = {"retries": 0, "set-resources": {"train": {"slurm_partition": "two"}}}
    said, _ = begin(copy, "--config", *pair, "--", *targets, site=site).communicate()
    (job,) = re.findall(r"submitted with SLURM jobid (\d+)", said)
    asked = slurm.command("scontrol", "show", "job", job).split()
    # They take turns, so their times add up; each of two processes has its processors and memory.
    wanted = {"NumNodes=1", "TresPerJob=gres:gpu:2", "TimeLimit=00:10:00", "NumCPUs=4"}
    assert wanted <= set(asked), asked
    (memory,) = re.findall(r"MinMemoryNode=(\d+)M", " ".join(asked))
    assert 8000 <= int(memory) < 8010
    assert "PyTorch finds no GPU here" in said, said  # only the scheduler has these GPUs


def test_a_run_on_two_machines_is_that_of_as_many_processes_on_one(copy, slurm):
    (path,) = (copy / RESULTS / "runs").glob("transformer-2x32-*")
    shutil.rmtree(path)
    # Two processes on each machine, as if there was a GPU for each; they compute on the processor.
    pair = ("training={gpus: 4}", "hardware={gpus_per_node: 2, job_minutes: 200}")
    target = f"{RESULTS}/runs/{path.name}/curve.parquet"
    train = {"gpu": 0, "gres": "gpu:2", "slurm_partition": "two"}
    end(begin(copy, "--config", *pair, "--", target, site={"set-resources": {"train": train}}))
    job = slurm.finished()[-1]
    assert (job["NodeCnt"], job["NodeList"], job["JobState"]) == ("2", "n[1-2]", "COMPLETED")
    assert job["TimeLimit"] == "200"  # not four hours
    on_two = pd.read_parquet(copy / target)
    made = json.loads((path / "lineage/train.json").read_text())
    four = ["torchrun", "--standalone", "--nproc-per-node=4", "--no-python", "--"]
    words = shlex.split(made["call"])
    subprocess.run([*four, *words], cwd=copy, check=True, capture_output=True)
    on_one = pd.read_parquet(copy / target)
    pd.testing.assert_frame_equal(
        on_one.drop(columns="seconds"), on_two.drop(columns="seconds"), check_exact=True
    )
    assert (
        on_one["grad_tokens_small"].eq(on_one["tokens"].iloc[0] // on_one["step"].iloc[0] / 4).all()
    )


def assert_equal_run(one, other, run):
    folders = [folder / RESULTS / "runs" / run for folder in (one, other)]
    before, after = (
        pd.read_parquet(folder / "curve.parquet").drop(columns="seconds") for folder in folders
    )
    pd.testing.assert_frame_equal(before, after)
    before, after = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert before == after
