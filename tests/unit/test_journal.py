"""Snakemake's log on a cluster: groups, submissions, failures that Slurm knows more about."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scaling_laws.report import journal
from scaling_laws.report.status import (
    Progress,
    Slurm,
    ask_slurm,
    described,
    is_running,
    place_tasks,
    status,
    why,
)

LOG = """\
  Command: /bin/snakemake --profile profiles/slurm
  Host: head
Job stats:
job       count
------  -------
train         2
fit           1
all           1
total         4

Execute 3 jobs...
[Thu Nov 26 23:21:21 2026] Group job short_runs (jobs in lexicogr. order):
    [Thu Nov 26 23:21:21 2026]
    Job 1: Train small; progress in results/logs/train/small.log
    Reason: Missing output files: results/runs/small/curve.parquet
[Thu Nov 26 23:21:21 2026]
Job 3: Fit L_N
Job ca80-f8d6 has been submitted with SLURM jobid 34 (log: {folder}/group_short_runs_train/34.log).
Job 3 has been submitted with SLURM jobid 36 (log: {folder}/rule_fit/36.log).
"""
GROUP_FAILED = """\
[Thu Nov 26 23:21:33 2026]
    message: Error in group short_runs
    log: {folder}/34.log (check log file(s) for error details)
    jobs:
        rule train:
            jobid: 1
            log: results/logs/train/small.log (check log file(s) for error details)
    [Thu Nov 26 23:21:33 2026]
    Error in rule train:
        message: None
        jobid: 1
        output: results/runs/small/curve.parquet
        log: results/logs/train/small.log (check log file(s) for error details)
        shell:
            scaling-laws train
"""
# The log of the job, which is that of a Snakemake on a node, and the command's.
RULE = "=" * 80
QUOTED = f"""\
Logfile {{folder}}/34.log:
{RULE}
SNAKEMAKE
=========
  Command: snakemake/__main__.py --target-jobs train:run=small
  Host: node
[Thu Nov 26 23:21:22 2026]
Job 0: Train small; progress in results/logs/train/small.log
Exiting because a job execution failed. Look above for error messages
{RULE}
Logfile results/logs/train/small.log:
{RULE}
23:21:20 small: stopped at step 8 and saved
{RULE}
"""
AGAIN = "Trying to restart job ca80-f8d6.\n"
DONE = """\
[Thu Nov 26 23:21:40 2026]
Finished jobid: 3 (Rule: fit)
1 of 4 steps (25%) done
"""
END = """\
Exiting because a job execution failed. Look above for error messages
Complete log(s): /here/.snakemake/log/2026-11-26T232121.569633.snakemake.log
"""
PATH = Path("2026-11-26T232121.569633.snakemake.log")


def read(tmp_path, *parts):
    return journal.read(PATH, "".join(parts).format(folder=tmp_path))


def test_jobs_of_a_group_are_queued_under_its_number(tmp_path):
    found = read(tmp_path, LOG)
    assert (found.command, found.host) == ("/bin/snakemake --profile profiles/slurm", "head")
    assert found.wanted == {"train": 2, "fit": 1, "all": 1}
    assert {number: (task.state, task.scheduler) for number, task in found.tasks.items()} == {
        "1": ("queued", "34"),
        "3": ("queued", "36"),
    }
    assert (found.ended, found.failed, found.began.minute) == (False, False, 21)


def test_jobs_of_a_group_that_no_scheduler_has_taken_do_not_run(tmp_path):
    found = read(tmp_path, LOG.partition("Job ca80")[0])
    assert {task.what: task.state for task in found.tasks.values()} == {
        "Train small": "queued",
        "Fit L_N": "running",
    }
    told = described(found, "queued", {}, tmp_path, Slurm({}))
    assert list(told) == ["Train small: not submitted yet"]


def test_a_job_that_slurm_does_not_have_yet_does_not_run(tmp_path):
    found = read(tmp_path, "Provided remote nodes: 100\n", LOG.partition("Job ca80")[0])
    assert {task.what: task.state for task in found.tasks.values()} == {
        "Train small": "queued",
        "Fit L_N": "queued",
    }


def test_of_a_job_that_waits_slurms_reason_is_told(tmp_path):
    found, slurm = read(tmp_path, LOG), Slurm({"34": ("PENDING", "PartitionTimeLimit")})
    told = described(found, "queued", {}, tmp_path, slurm)
    assert next(told) == "Train small: pending (PartitionTimeLimit)"


@pytest.mark.parametrize(
    ("says", "jobs", "silent"),
    [
        ("echo '34|PENDING|None'; echo '7|RUNNING|None'", {"34": ("PENDING", "None")}, None),
        ("echo 'slurm_load_jobs error: no route' >&2; exit 1", {}, "squeue: slurm_load_jobs error"),
        ("exit 3", {}, "squeue: exit code 3"),
        (None, {}, "there is no squeue"),
    ],
)
def test_a_slurm_that_does_not_answer_is_not_one_without_jobs(
    tmp_path, monkeypatch, says, jobs, silent
):
    if says is not None:
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = read(tmp_path, LOG)
    slurm = ask_slurm(found)
    found.tasks["1"].scheduler = None  # a group whose jobs are not known is asked for, too
    assert ask_slurm(found) == slurm
    found.tasks["1"].scheduler = "34"
    assert slurm.jobs == jobs and (slurm.silent or "").startswith(silent or "")
    place_tasks(tmp_path, found, slurm, False, {})
    assert found.tasks["1"].state == "queued"
    assert found.tasks["3"].state == ("queued" if silent else "lost")
    assert is_running(tmp_path, journal.Journal(tmp_path / "squeue", host="elsewhere"), slurm)


@pytest.mark.parametrize(
    ("trained", "alive", "jobs", "state"),
    [
        (False, True, {"34": ("PENDING", "Priority")}, "queued"),
        (False, True, {"34": ("RUNNING", "None")}, "running"),
        (True, True, {"34": ("RUNNING", "None")}, "done"),
        (False, False, {"34": ("RUNNING", "None")}, "running"),
        (False, False, {}, "lost"),
    ],
)
def test_a_job_of_a_group_is_where_the_scheduler_and_its_files_say(
    tmp_path, trained, alive, jobs, state
):
    found = read(tmp_path, LOG)
    log = tmp_path / "results/logs/train/small.log"
    log.parent.mkdir(parents=True)
    log.touch()
    runs = {"small": Progress(None, trained, False, 0, None, 0.0)}
    place_tasks(tmp_path, found, Slurm(jobs), alive, runs)
    assert found.tasks["1"].state == state


SNAKEMAKE = """
import sys, time
log = [open(name, "a") for name in sys.argv[1:]]
print("at work", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("words", [["bin/snakemake"], ["-X", "dev", "-m", "snakemake"]])
@pytest.mark.parametrize("its_own", [True, False])
def test_a_workflow_lives_while_a_snakemake_has_its_log_open(tmp_path, words, its_own):
    for name in ("bin/snakemake", "snakemake.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SNAKEMAKE)
    (tmp_path / PATH).touch()
    found = journal.Journal(tmp_path / PATH)
    words = [sys.executable, *words, str(PATH) if its_own else "another.snakemake.log"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "at work\n"
        assert is_running(tmp_path, found, Slurm({})) == its_own
        process.kill()
    assert not is_running(tmp_path, found, Slurm({}))


def test_on_another_machine_a_silent_snakemake_lives_while_slurm_has_its_jobs(tmp_path):
    path = tmp_path / PATH
    path.touch()
    os.utime(path, (0, 0))
    found = journal.Journal(path, host="elsewhere")
    assert is_running(tmp_path, found, Slurm({"34": ("RUNNING", "None")}))
    assert not is_running(tmp_path, found, Slurm({}))


def test_on_another_machine_snakemake_lives_while_a_run_writes_its_log(tmp_path):
    found = read(tmp_path, LOG.replace("Job ca80", "No ca80"))
    found.host, found.path = "elsewhere", tmp_path / PATH
    found.path.touch()
    os.utime(found.path, (0, 0))
    assert not is_running(tmp_path, found, Slurm({}))
    (tmp_path / "results/logs/train").mkdir(parents=True)
    (tmp_path / "results/logs/train/small.log").touch()
    assert is_running(tmp_path, found, Slurm({}))


def two_groups(tmp_path):
    """Return an invocation whose groups were submitted in another order than listed."""
    first, rest = LOG.split("[Thu Nov 26 23:21:21 2026]\nJob 3")
    head, group = first.split("Execute 3 jobs...\n")
    other = group.replace("small", "large").replace("Job 1", "Job 2")
    for number, run in (("34", "large"), ("35", "small")):
        folder = tmp_path / "group_short_runs_train"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.log").write_text(
            f"  Command: snakemake/__main__.py x --target-jobs train:run={run} --mode remote\n"
        )
    ca80 = f"Job ca80-f8d6{rest.split('Job ca80-f8d6')[1].splitlines()[0]}\n"
    second = ca80.replace("ca80-f8d6", "be11-0000").replace("34", "35")
    return [head, group, other, ca80, second]


def test_jobs_of_groups_are_where_the_groups_own_logs_say(tmp_path):
    found = read(tmp_path, *two_groups(tmp_path))
    assert {task.what: task.scheduler for task in found.tasks.values()} == {
        "Train small": "34",
        "Train large": "35",
    }
    found.settle(tmp_path)
    assert {task.what: task.scheduler for task in found.tasks.values()} == {
        "Train small": "35",
        "Train large": "34",
    }


def test_what_is_done_is_not_queued_again_with_another_group(tmp_path):
    done = "Finished jobid: 1 (Rule: train)\n"
    failed = GROUP_FAILED.replace("small", "large").replace("jobid: 1", "jobid: 2")
    found = read(tmp_path, *two_groups(tmp_path), done, failed, AGAIN)
    assert {task.what: task.state for task in found.tasks.values()} == {
        "Train small": "done",
        "Train large": "queued",
    }


def test_an_invocation_that_is_stopped_has_not_ended_well(tmp_path):
    last = END.splitlines(keepends=True)[1]
    done = "".join(DONE.replace("3", str(number)) for number in range(4))
    assert not read(tmp_path, LOG).stopped
    assert read(tmp_path, LOG, DONE, last).stopped
    assert not read(tmp_path, LOG, done, last).stopped
    assert not read(tmp_path, LOG, DONE, END).stopped


def test_a_workflow_that_failed_and_kept_quiet_of_its_jobs_is_told_of(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "0")
    (tmp_path / "results/logs").mkdir(parents=True)
    (tmp_path / ".snakemake/log").mkdir(parents=True)
    given = "snakemake --config links={dumps: [/data/RS.zst]}"
    head = LOG.partition("Execute")[0].replace("/bin/snakemake --profile profiles/slurm", given)
    (tmp_path / ".snakemake/log" / PATH).write_text(head + "results/\n" + END)
    with pytest.raises(SystemExit) as ended:
        status(tmp_path / "results")
    said = capsys.readouterr().out
    assert said.startswith(f"{given}: begun")
    assert ended.value.code == 1 and "ended with failures" in said
    assert "The same command makes what is missing." in said


IDLE = [
    "LockException:\nError: Directory cannot be locked.\nresults/runs/small",
    "  Command: snakemake results/plan/runs.tsv\nNothing to be done (all files are present).",
    "  Command: snakemake results/typo\nMissingRuleException:\nNo rule to produce results/typo",
]


def test_an_invocation_that_did_nothing_hides_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / ".snakemake/log"
    logs.mkdir(parents=True)
    (logs / PATH).write_text(LOG)
    for number, idle in enumerate(IDLE):
        (logs / PATH.name.replace("232121", f"23300{number}")).write_text(idle)
    (logs / "zzz.snakemake.log").write_text(LOG)
    folder, found = journal.newest(tmp_path / "results")
    assert (folder, found.path) == (tmp_path, logs / PATH)


def test_a_failed_job_of_a_group_tells_what_its_log_and_the_scheduler_say(tmp_path):
    (tmp_path / "results/logs/train").mkdir(parents=True)
    (tmp_path / "results/logs/train/small.log").write_text("23:21:30 small: steps: 3 of 9\n")
    killed = "slurmstepd: error: Detected 1 oom_kill event"
    (tmp_path / "34.log").write_text(
        f"{killed}\nWorkflowError:\nAt least one job did not complete.\n"
    )
    found = read(tmp_path, LOG, GROUP_FAILED, DONE, END)
    assert (found.ended, found.failed, found.done) == (True, True, {"fit": 1})
    (task,) = found.of_state("failed")
    said = why(task, found, tmp_path)
    assert said.startswith(f"Train small: small: steps: 3 of 9\n    {killed}\n    (")
    assert said.endswith(f"(results/logs/train/small.log, {tmp_path}/34.log)")


@pytest.mark.parametrize(
    "killed",
    [
        "slurmstepd: error: Detected 1 oom_kill event",
        "slurmstepd-n1: error: *** JOB 34 ON n1 CANCELLED DUE TO TIME LIMIT ***",
        "",
    ],
)
def test_of_another_attempt_its_number_and_the_cause_are_told(tmp_path, killed):
    first = tmp_path / "group_short_runs_train/34.log"
    first.parent.mkdir()
    first.write_text(
        f"  Command: snakemake --target-jobs train:run=small --mode remote\n{killed}\n"
    )
    failed = GROUP_FAILED.replace("{folder}", str(first.parent))
    listed = LOG.partition("Execute 3 jobs...\n")[2].splitlines(keepends=True)[:4]
    submitted = "Job ca80-f8d6 has been submitted with SLURM jobid 37 (log: {folder}/37.log).\n"
    after = f", after {killed}" if killed else ""
    for more, rest in ([], "not submitted yet"), ([*listed, submitted], "pending (Priority)"):
        found = read(tmp_path, LOG, failed, AGAIN, *more)
        found.settle(tmp_path)
        told = described(found, "queued", {}, tmp_path, Slurm({"37": ("PENDING", "Priority")}))
        assert list(told) == [f"Train small (attempt 2{after}): {rest}", "Fit L_N"]


LOCAL = """\
Job stats:
job       count
------  -------
train         1
total         1
[Thu Nov 26 23:21:21 2026]
Job 1: Train small; progress in results/logs/train/small.log
"""
FAILED = f"""\
[Thu Nov 26 23:21:33 2026]
Error in rule train:
    message: None
    jobid: 1
    log: results/logs/train/small.log (check log file(s) for error details)
    shell:
        scaling-laws train
Logfile results/logs/train/small.log:
{RULE}
23:21:20 scaling-laws train
23:21:32 error: CUDA out of memory
23:21:33 scaling-laws train
{RULE}
Trying to restart job 1.
"""


def test_of_another_attempt_on_this_machine_what_its_log_said_is_told(tmp_path):
    last = LOCAL.splitlines(keepends=True)[-1]
    found = read(tmp_path, LOCAL, FAILED, last, FAILED, last)
    told = described(found, "running", {}, tmp_path, Slurm({}))
    assert list(told) == ["Train small (attempt 3, after error: CUDA out of memory)"]


TORCHRUN = """\
W1128 04:32:31.5 1011 torch/distributed/run.py:874] ***************
E1128 04:32:39.8 1011 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1)
Traceback (most recent call last):
============================================================
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("05:16:50 error: device = cuda: none\nrank 1 ends", "error: device = cuda: none"),
        ("[rank0]: OutOfMemoryError: CUDA out of memory", "OutOfMemoryError: CUDA out of memory"),
    ],
)
def test_what_a_run_on_several_gpus_died_of_is_above_torchruns_report(tmp_path, said, told):
    first, *report = TORCHRUN.splitlines(keepends=True)
    log = tmp_path / "results/logs/train/small.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(["05:16:43 scaling-laws train\n", first, f"{said}\n", *report]))
    found = read(tmp_path, LOG, GROUP_FAILED, END)
    assert why(found.of_state("failed")[0], found, tmp_path).startswith(f"Train small: {told}\n")


REFUSED = "Job submission failed with exception: Invalid account. Available accounts: llm"
REFUSALS = {
    "a group": (
        GROUP_FAILED.replace(
            "    log: {folder}/34.log (check log file(s) for error details)\n", ""
        ),
        "it has not begun",
    ),
    "a job": (
        GROUP_FAILED.replace(
            "message: None",
            "message: {}\n{}For further error details see the log".format(*REFUSED.rsplit(" ", 1)),
        ),
        REFUSED,
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_of_a_job_that_was_refused_no_earlier_log_is_told(tmp_path, refusal):
    text, reason = REFUSALS[refusal]
    log = tmp_path / "results/logs/train/small.log"
    log.parent.mkdir(parents=True)
    log.write_text("23:21:30 small: seconds: 11.26\n")
    found = read(tmp_path, LOG, text, END)
    os.utime(log, (0, found.began.timestamp() - 60))
    (task,) = found.of_state("failed")
    assert why(task, found, tmp_path) == f"Train small: {reason}"
    assert refusal == "a job" or task.logs == [log.relative_to(tmp_path)]
    task.state = "queued"
    task.scheduler = "34"
    assert "Train small" in described(found, "queued", {}, tmp_path, Slurm({}))
    os.utime(log)
    told = described(found, "queued", {}, tmp_path, Slurm({}))
    assert "Train small: small: seconds: 11.26" in told


def test_the_log_of_a_node_is_not_taken_for_that_of_the_workflow(tmp_path):
    found = read(tmp_path, LOG, GROUP_FAILED, QUOTED, AGAIN)
    assert (found.command, found.host) == ("/bin/snakemake --profile profiles/slurm", "head")
    assert (found.ended, found.failed) == (False, False)
    assert list(found.tasks) == ["1", "3"] and found.tasks["1"].state == "queued"


def test_what_is_tried_again_has_not_failed(tmp_path):
    found = read(tmp_path, LOG, GROUP_FAILED, AGAIN)
    assert found.of_state("failed") == []
    assert found.tasks["1"].state == "queued"
