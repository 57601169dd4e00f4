"""How far a workflow has come: what is done, running, queued and failed, and when it will end."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from scaling_laws.config import Config, settings_of
from scaling_laws.errors import InputError
from scaling_laws.ledger import place
from scaling_laws.report.journal import Journal, State, Task, newest
from scaling_laws.report.times import duration
from scaling_laws.studies import cost, grid
from scaling_laws.tables import Kind, read_text_table
from scaling_laws.training.cost import fit_times, work

SHOWN = 10  # of many jobs alike
ENOUGH = 4  # runs that have ended foretell the others
PATIENCE = 20  # seconds for squeue to answer
SILENT = 600  # seconds without a line in a log after which one on another machine is taken for dead
STATES: Mapping[str, State] = {"Running": "running", "In the queue": "queued"}
COMMAND = re.compile("scaling-laws ")
SNAKEMAKE = re.compile(r"(^|/)snakemake(/__main__\.py)?$")  # a word of its command line
CURVE: Mapping[str, Kind] = {"step": "amount", "test_loss": "number", "seconds": "amount"}
RANK = re.compile(r"^\[(rank)?\d+\]: ?")  # before what a process of several says
# What torchrun says itself: of its settings first, of processes that failed at the end.
SETTINGS = re.compile(r"^W\d{4} .*torch/distributed/run\.py")
REPORT = re.compile(r"^[A-Z]\d{4} .*torch/distributed/elastic/multiprocessing/api\.py")
HOUR = re.compile(r"^\d\d:\d\d:\d\d ")
# Of time, memory and being cancelled, where the command cannot; some name the node.
SLURM_SAYS = re.compile(r"slurmstepd(-\S+)?: error: ")


class Slurm(NamedTuple):
    """What Slurm says of the jobs of an invocation.

    Attributes:
        jobs: Those that it still has, by number: the state, and why one is pending.
        silent: Why it does not say.
    """

    jobs: Mapping[str, tuple[str, str]]
    silent: str | None = None


class Progress(NamedTuple):
    """How far one run has come.

    Attributes:
        run: Its entry in the run table.
        trained: Whether its training has ended.
        evaluated: Whether its evaluation has ended, too.
        step: Updates made, at the last point of its curve.
        test_loss: The loss there, in nats per token; None before the first and after the end.
        seconds: Seconds of training until there.
    """

    run: grid.Run
    trained: bool
    evaluated: bool
    step: int
    test_loss: float | None
    seconds: float


def status(results: Path) -> None:
    """Say what is done, running, queued and failed, and when the runs will have ended.

    What is known comes from Snakemake's log beside the results, from the curves that runs have
    written so far, and on a cluster from `squeue`. The exit code is 1 where a job has failed or
    Snakemake was stopped or killed.

    Args:
        results: Folder of everything computed.

    Raises:
        InputError: There are neither results nor a log of Snakemake.
    """
    results = place(results)
    ran = newest(results)
    config = settings_of(results) if results.is_dir() else None
    # Snakemake's log may name a folder that is none of results, as that of a configuration.
    strange = results.is_dir() and not (results / "logs").is_dir()
    if config is None and (ran is None or strange):
        raise InputError(
            f"{results}: no results, and no log of Snakemake here or above them that tells of any; "
            "expected the folder of a workflow that has begun"
        )
    console = Console(highlight=False, soft_wrap=True, width=shutil.get_terminal_size().columns)
    table = grid.runs(config) if config else {}
    runs = {name: progress_of(results, name, run) for name, run in table.items()}
    if ran is None:
        console.print(runs_in_short(runs))
        return
    folder, journal = ran
    slurm = ask_slurm(journal)
    alive = not journal.ended and is_running(folder, journal, slurm)
    console.print(heading(journal, alive), markup=False)
    done, wanted = journal.done.total(), sum(journal.wanted.values())
    console.print(f"{done} of {wanted} jobs are done.")
    if runs:
        console.print(runs_in_short(runs))
    if done < wanted:
        console.print()
        console.print(still_to_do(journal))
    place_tasks(folder, journal, slurm, alive, runs)
    for title, state in STATES.items():
        listed(console, title, described(journal, state, runs, folder, slurm))
    failed = journal.of_state("failed")
    listed(console, "Failed", (why(task, journal, folder) for task in failed))
    if alive and config:
        under_way = [table[_run_of(t)] for t in journal.of_state("running") if _run_of(t) in table]
        busy = sum(max(run.gpus, 1) for run in under_way)
        devices = busy or cost.devices_of(config, table.values())
        left = seconds_left(config, runs, devices)
        if left:
            end = datetime.now() + timedelta(seconds=left)
            there = (results / "tokens/train.bin").is_file()
            when = f"end on {end:%d %B} at about {end:%H:%M}, in" if there else "will take"
            console.print(
                f"\nThe runs {when} {duration(left)}, {cost.in_words(devices, table.values())}."
            )
    if slurm.silent:
        console.print(f"\nWhich jobs Slurm has is not known: {slurm.silent}", markup=False)
    elif slurm.jobs and not alive:
        cancel = f"scancel {' '.join(slurm.jobs)}"
        console.print(f"\nSlurm still has them: wait until they have ended, or `{cancel}`.")
    unfinished = failed or journal.failed or journal.stopped or not journal.ended
    if not alive and unfinished and not slurm.silent:
        locked = not journal.ended and any((folder / ".snakemake/locks").glob("*"))
        first = "After `snakemake --unlock` the" if locked else "The"
        console.print(f"\n{first} same command makes what is missing.")
    if failed or (unfinished and not alive):
        raise SystemExit(1)


def _run_of(task: Task) -> str:
    """Return the name of the run that a task may be of."""
    return task.what.partition(" ")[2]


def heading(journal: Journal, alive: bool) -> str:
    """Return a line on the invocation."""
    now = "running"
    if journal.ended:
        now = "stopped before its end" if journal.stopped else "ended well"
        if journal.failed:
            now = "ended with failures"
    elif not alive:
        now = "no longer running, and it did not come to its end"
    words = journal.command.split() if journal.command else ["snakemake"]
    command = " ".join(["snakemake", *words[1:]])
    return f"{command}: begun {journal.began:%Y-%m-%d %H:%M:%S}, {now}"


def still_to_do(journal: Journal) -> Table:
    """Return a table of the rules with jobs that are not done: those done, and of how many."""
    table = Table(box=None, pad_edge=False)
    for title in ("still to do", "done", "of"):
        table.add_column(title, justify="left" if title == "still to do" else "right")
    for rule, count in journal.wanted.items():
        if journal.done[rule] < count:
            table.add_row(rule, str(journal.done[rule]), str(count))
    return table


def progress_of(results: Path, name: str, run: grid.Run) -> Progress:
    """Return how far a run has come, by its files."""
    folder = results / "runs" / name
    facts = folder / "run.json"
    curve = folder / "checkpoints/curve.csv"
    if facts.is_file():
        evaluated = (folder / "evaluation.parquet").is_file()
        try:
            ended = json.loads(facts.read_text())
            steps, seconds = int(ended["steps"]), float(ended["seconds"])
        except (ValueError, KeyError, TypeError, OverflowError):
            raise InputError(f"{facts}: damaged; expected what a run writes when it ends") from None
        return Progress(run, True, evaluated, steps, None, seconds)
    if not curve.is_file():
        return Progress(run, False, False, 0, None, 0.0)
    last = read_text_table(curve, CURVE).iloc[-1]
    return Progress(run, False, False, int(last.step), float(last.test_loss), float(last.seconds))


def runs_in_short(runs: Mapping[str, Progress]) -> str:
    """Return a line on all runs of the configuration, whichever invocation made them."""
    evaluated = sum(run.evaluated for run in runs.values())
    trained = sum(run.trained for run in runs.values()) - evaluated
    begun = sum(run.step > 0 and not run.trained for run in runs.values())
    return (
        f"{len(runs)} runs: {evaluated} trained and evaluated, {trained} trained, {begun} begun, "
        f"{len(runs) - evaluated - trained - begun} to come."
    )


def is_running(folder: Path, journal: Journal, slurm: Slurm) -> bool:
    """Tell whether Snakemake has its log open; on another machine, whether its logs grow."""
    if journal.host not in (None, platform.node()):
        logs = [journal.path, *(folder / t.progress for t in journal.tasks.values() if t.progress)]
        heard = max((log.stat().st_mtime for log in logs if log.is_file()), default=0.0)
        return bool(slurm.jobs or slurm.silent) or time.time() - heard < SILENT
    owner = journal.path.stat().st_uid
    for process in psutil.process_iter(["cmdline", "uids"]):
        words = process.info["cmdline"] or []
        if not any(SNAKEMAKE.search(word) for word in words):
            continue
        try:  # its name is of a microsecond, and other mounts have other paths
            if any(Path(file.path).name == journal.path.name for file in process.open_files()):
                return True
        except psutil.AccessDenied:  # another user's, which may be the one
            if process.info["uids"].real == owner:
                return True
        except psutil.NoSuchProcess:
            continue
    return False


def ask_slurm(journal: Journal) -> Slurm:
    """Ask Slurm which jobs of the invocation it still has."""
    numbers = {task.scheduler for task in journal.of_state("queued") if task.scheduler}
    numbers |= journal.groups.keys()  # of which it may not be known whose they are
    if not numbers:
        return Slurm({})
    asked = ["squeue", "--noheader", "--format=%A|%T|%r", "--me"]
    try:
        said = subprocess.run(
            asked, capture_output=True, text=True, check=False, timeout=PATIENCE, errors="replace"
        )
    except FileNotFoundError:
        return Slurm({}, "there is no squeue on this machine")
    except subprocess.TimeoutExpired:
        return Slurm({}, f"squeue has said nothing for {PATIENCE} s")
    if said.returncode:
        words = said.stderr.strip().splitlines() or [f"exit code {said.returncode}"]
        return Slurm({}, f"squeue: {words[-1]}")
    rows = [line.strip().split("|", 2) for line in said.stdout.splitlines() if line.count("|") > 1]
    return Slurm({number: (state, why) for number, state, why in rows if number in numbers})


def place_tasks(
    folder: Path,
    journal: Journal,
    slurm: Slurm,
    alive: bool,
    runs: Mapping[str, Progress],
) -> None:
    """Note which tasks are running in jobs of Slurm, and which are lost with a dead Snakemake.

    Of the tasks of a group Snakemake hears when its job has ended; runs tell before by their files.
    """
    trained = {f"Train {name}" for name, run in runs.items() if run.trained}
    ended = trained | {f"Evaluate {name}" for name, run in runs.items() if run.evaluated}
    for task in journal.of_state("queued"):
        begun = task.progress is None or _since(folder / task.progress, journal)
        if slurm.jobs.get(str(task.scheduler), ("", ""))[0] == "RUNNING" and begun:
            task.state = "done" if task.what in ended else "running"
    if not alive:
        for state in STATES.values():
            for task in journal.of_state(state):
                known = task.scheduler is None or not slurm.silent
                if known and task.scheduler not in slurm.jobs:
                    task.state = "lost"


def _since(log: Path, journal: Journal) -> bool:
    """Tell whether a log was written since the invocation began."""
    return log.is_file() and log.stat().st_mtime >= journal.began.timestamp()


def described(
    journal: Journal,
    state: State,
    runs: Mapping[str, Progress],
    folder: Path,
    slurm: Slurm,
) -> Iterator[str]:
    """Yield a line a job of a state: what it does, and how far it has come."""
    for task in journal.of_state(state):
        what = task.what + again(task, journal, folder)
        trains = task.what.startswith("Train ")
        run = runs.get(_run_of(task)) if trains else None
        if run and run.step and run.test_loss is not None and not run.trained:
            left = duration(run.seconds / run.step * (run.run.spec.steps - run.step))
            yield (
                f"{what}: step {run.step} of {run.run.spec.steps}, test loss "
                f"{run.test_loss:.3f}, {left} left"
            )
            continue
        # The log of an earlier invocation may still be there.
        fresh = task.progress is not None and _since(folder / task.progress, journal)
        said = last_line(folder / task.progress) if task.progress and fresh else ""
        if state == "queued" and task.scheduler is None:
            said = "not submitted yet"
        held, reason = slurm.jobs.get(str(task.scheduler), ("", ""))
        if held == "PENDING":
            said = f"pending ({reason})"
        yield f"{what}: {said}" if said else what


def again(task: Task, journal: Journal, folder: Path) -> str:
    """Return which attempt of a job this is, and why there is another; nothing for the first."""
    if task.attempt == 1:
        return ""
    logs = [log for log in task.logs[1:] if _since(folder / log, journal)]
    causes = [*(slurm_says(folder / log) for log in logs), cause_in(telling(task.before))]
    cause = next(filter(None, causes), task.message)
    return f" (attempt {task.attempt}, after {cause})" if cause else f" (attempt {task.attempt})"


def why(task: Task, journal: Journal, folder: Path) -> str:
    """Return what a job did that failed, and the last line of its log, or else what is known."""
    logs = [log for log in task.logs if _since(folder / log, journal)]
    told = [
        cause_in(lines_of(folder / log)) if log == task.logs[0] else slurm_says(folder / log)
        for log in logs
    ]
    said = list(filter(None, told))
    if not said:
        said = [task.message or ("its log says nothing" if logs else "it has not begun")]
    where = f"\n    ({', '.join(map(str, logs))})" if logs else ""
    return f"{task.what}: " + "\n    ".join(said) + where


def lines_of(log: Path) -> list[str]:
    """Return the lines of a log that say something; none where it is missing."""
    try:
        return telling(log.read_text(errors="replace").splitlines())
    except OSError:
        return []


def telling(lines: Iterable[str]) -> list[str]:
    """Return the lines of a log that say something, without the hour."""
    said = [HOUR.sub("", line.strip()) for line in lines if line.strip()]
    return [line for line in said if not SETTINGS.match(line)]


def slurm_says(log: Path) -> str:
    """Return the last of what Slurm itself says in the log of a job; nothing where it does not."""
    return next((line for line in reversed(lines_of(log)) if SLURM_SAYS.match(line)), "")


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, other than the command itself."""
    return next((line for line in reversed(lines_of(log)) if not COMMAND.match(line)), "")


def cause_in(lines: Iterable[str]) -> str:
    """Return the last line of a log, or what went before torchrun's report of it."""
    said = [RANK.sub("", line) for line in lines if not COMMAND.match(line)]
    before = list(takewhile(lambda line: not REPORT.match(line), said))
    ours = [line for line in before if line.startswith("error: ")]
    return (ours or before or said or [""])[-1]


def listed(console: Console, title: str, lines: Iterable[str]) -> None:
    """Print a title and lines below it, of which very many are only counted."""
    all_lines = list(lines)
    if all_lines:
        console.print(f"\n{title}: {len(all_lines)}")
        for line in all_lines[:SHOWN]:
            console.print(f"  {line}", markup=False)
    if len(all_lines) > SHOWN:
        console.print(f"  and {len(all_lines) - SHOWN} more")


def seconds_left(config: Config, runs: Mapping[str, Progress], devices: int) -> float | None:
    """Return the seconds until all runs are trained and evaluated; None where nobody knows.

    The evaluation of a run that is trained is a small part of it, and not counted.

    Where enough runs have ended, their times foretell the others', else the plan does.

    Args:
        config: The configuration.
        runs: How far each run has come.
        devices: GPUs that are at work, or runs at a time.
    """
    ended = [run for run in runs.values() if run.trained]
    times = cost.rated(config.hardware)
    if len(ended) >= ENOUGH:
        specs = [run.run.spec for run in ended]
        taken = [max(run.run.gpus, 1) * run.seconds / run.step for run in ended]
        parts = np.array(fit_times(specs, taken))
        times = cost.Times(lambda spec: float(work(spec) @ parts), cost.STARTUP_SECONDS)
    jobs = []
    for run in runs.values():
        if run.trained:
            continue
        known = times or cost.assumed(run.run)
        if known is None:
            return None
        seconds = cost.run_seconds(run.run, config, known)
        jobs.append((seconds * (1 - run.step / run.run.spec.steps), run.run.gpus))
    return cost.wall_seconds(jobs, max(devices, 1))
