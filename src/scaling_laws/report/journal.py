"""What Snakemake's log of an invocation tells of its jobs.

Stages know nothing of the workflow; this reads the text that it leaves in `.snakemake/log`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

State = Literal["running", "queued", "done", "failed", "lost"]

TOTAL = re.compile(r"(\w+) +(\d+)$")
BEGUN = re.compile(r" *Job (\d+): (.*)$")
PROGRESS = re.compile(r"(.*); progress in (.*)$")
GROUP = re.compile(r"\[.*\] Group job (.+) \(jobs")
DETAILS = "For further error details see"  # the end of what a scheduler's refusal is told with
SUBMITTED = re.compile(r"Job (\S+) has been submitted with SLURM jobid (\w+) \(log: (.*)\)\.$")
FINISHED = re.compile(r"Finished jobid: (\d+) \(Rule: (\w+)\)$")
AGAIN = re.compile(r"Trying to restart job (\S+)\.$")
ERROR = re.compile(r" *Error in rule \w+:$")
GROUP_ERROR = re.compile(r" *message: Error in group .+$")
TARGETS = re.compile(r"  Command: .* --target-jobs (.*)$")
TARGET = re.compile(r"(\w+):\w+=([\w.-]+)")
NODES = "Provided remote nodes: "  # where jobs go to a scheduler
FIELD = re.compile(r" *(jobid|message|log|external_jobid): (.*)$")
LOGS = " (check log file(s) for error details)"
LAST = "Complete log(s): "
QUOTED = re.compile(r"\s*Logfile (.*):$")
QUOTE = re.compile(r"\s*={40,}$")  # above and below a log that is quoted
STATS = "Job stats:"  # not of an invocation that met with a lock or an error, or had nothing to do
NAME = "????-??-??T??????.*.snakemake.log"
UNSUCCESSFUL = "Exiting because a job execution failed."


@dataclass
class Task:
    """A job of an invocation.

    Attributes:
        what: What it does, in the words of its rule.
        state: Where it stands; `queued` where a scheduler has it, `lost` with Snakemake.
        progress: The log that tells of its progress, if it is long.
        scheduler: Its number in Slurm, if it has been submitted; that of its group.
        logs: Logs that tell why it failed last, its own first.
        message: What Snakemake says of that, as when a scheduler has refused it.
        attempt: How often it has been begun, in this invocation.
        before: What its own log said when the attempt before failed.
    """

    what: str
    state: State
    progress: Path | None
    scheduler: str | None = None
    logs: Sequence[Path] = ()
    message: str | None = None
    attempt: int = 1
    before: Sequence[str] = ()


@dataclass
class Journal:
    """What is known of an invocation.

    Attributes:
        path: Its log.
        command: The command line, where Snakemake was not told to leave it out.
        host: The machine, likewise.
        wanted: Jobs that it set out to do, by rule, in order of the workflow.
        done: Jobs of these that are done, by rule.
        tasks: Jobs that have begun, by number; without those that do nothing.
        groups: Slurm's logs of jobs that are groups and have not failed, by their numbers there.
        ended: Whether it has come to its end, well or not.
        failed: Whether that end was a failure.
    """

    path: Path
    command: str | None = None
    host: str | None = None
    wanted: dict[str, int] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    tasks: dict[str, Task] = field(default_factory=dict)
    groups: dict[str, Path] = field(default_factory=dict)
    ended: bool = False
    failed: bool = False

    @property
    def began(self) -> datetime:
        """When it began, in local time; Snakemake names the log by it."""
        return datetime.strptime(self.path.name[:17], "%Y-%m-%dT%H%M%S")

    @property
    def stopped(self) -> bool:
        """Whether it ended before its jobs were done and without failure, as at Ctrl-C."""
        undone = self.done.total() < sum(self.wanted.values())
        return self.ended and undone and not self.failed

    def settle(self, folder: Path) -> None:
        """Give the jobs of groups the numbers that their logs in Slurm say.

        Groups are submitted from several threads: not in the order in which they are listed.
        """
        for number, log in self.groups.items():
            targets = _targets(folder / log)
            mine = [task for task in self.tasks.values() if task.what.lower() in targets]
            if mine:
                before = mine[0].scheduler
                for task in self.tasks.values():
                    if task.scheduler == number:
                        task.scheduler = before
                for task in mine:
                    task.scheduler = number

    def of_state(self, state: State) -> list[Task]:
        """Return the jobs of a state, in the order in which they began."""
        return [task for task in self.tasks.values() if task.state == state]


def _targets(log: Path) -> set[str]:
    """Return what the jobs of a group do, by the log of the Snakemake that runs them."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    told = next(filter(None, map(TARGETS.match, lines)), None)
    return {f"{rule} {name}" for rule, name in TARGET.findall(told[1])} if told else set()


def newest(results: Path) -> tuple[Path, Journal] | None:
    """Return where Snakemake last ran that names files in `results`, and what its log tells.

    Looked at are the folder of the caller and those that `results`, an absolute path, lies in.
    """
    for folder in (Path.cwd(), *results.parents):
        names = [str(results)]
        if results.is_relative_to(folder):
            names.append(str(results.relative_to(folder)))
        named = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, names))})/")
        logs = (folder / ".snakemake/log").glob(NAME)
        for path in sorted(logs, reverse=True):
            text = path.read_text(errors="replace")
            if STATS in text and named.search(text):
                journal = read(path, text)
                journal.settle(folder)
                return folder, journal
    return None


def read(path: Path, text: str) -> Journal:
    """Return what a log tells.

    Args:
        path: The log.
        text: What is in it, as far as it has been written.
    """
    journal = Journal(path)
    tasks = journal.tasks
    group: list[str] = []  # of jobs that are listed
    remote = False
    fell: list[str] = []  # jobs of the group that failed last
    groups: list[tuple[str, list[str]]] = []  # not submitted yet
    scheduled: dict[str, list[str]] = {}  # jobs of a group, by the name that Snakemake gives it
    # Slurm's log of a group comes before those of its jobs that failed.
    group_log: list[Path] = []
    quotes: dict[str, list[str]] = {}
    lines = _own(text.splitlines(), quotes)
    for line in lines:
        if line.startswith("  Command: "):
            journal.command = line.removeprefix("  Command: ")
        elif line.startswith("  Host: "):
            journal.host = line.removeprefix("  Host: ")
        elif line.startswith(NODES):
            remote = True
        elif line == STATS:
            journal.wanted |= _wanted(lines)
        elif found := GROUP.match(line):
            group = []
            groups.append((found[1], group))
        elif found := BEGUN.match(line):
            number, what = found.groups()
            told = PROGRESS.match(what)
            grouped = line.startswith(" ")  # for a scheduler
            state: State = "queued" if grouped or remote else "running"
            if number in tasks:  # tried again
                tasks[number].state = state
            else:
                progress = Path(told[2]) if told else None
                tasks[number] = Task(told[1] if told else what, state, progress)
            if grouped:
                group.append(number)
        elif found := SUBMITTED.match(line):
            name, scheduler, log = found.groups()
            if name not in tasks:
                journal.groups[scheduler] = Path(log)
                kind = Path(log).parent.name.removeprefix("group_")
                mine = next((each for each in groups if kind.startswith(f"{each[0]}_")), None)
                if mine:
                    groups.remove(mine)
                    scheduled[name] = mine[1]
            for number in scheduled.get(name, [name]):
                if number in tasks and tasks[number].state != "done":
                    tasks[number].state, tasks[number].scheduler = "queued", scheduler
        elif found := FINISHED.match(line):
            journal.done[found[2]] += 1
            if found[1] in tasks:
                tasks[found[1]].state = "done"
        elif found := AGAIN.match(line):
            for number in [found[1]] if found[1] in tasks else fell:
                task = tasks[number]
                if task.state != "done":
                    task.state, task.scheduler = "queued", None
                    task.attempt += 1
                    task.before = quotes.get(str(task.logs[0]), ()) if task.logs else ()
        elif GROUP_ERROR.match(line):
            fell = []
            log = next(lines, "").strip()  # none where Slurm has refused it
            group_log = _logs(log.removeprefix("log: ")) if log.startswith("log: ") else []
            for each in [each for each, path in journal.groups.items() if path in group_log]:
                del journal.groups[each]
        elif found := ERROR.match(line):
            number, message, logs = _failure(lines)
            if number in tasks:
                task = tasks[number]
                task.state, task.message = "failed", message
                if line.startswith(" "):
                    fell.append(number)
                task.logs = [*logs, *(group_log if line.startswith(" ") else ())]
        elif line.startswith(LAST):
            journal.ended = True
        elif line.startswith(UNSUCCESSFUL):
            journal.failed = True
    return journal


def _own(lines: Iterable[str], quotes: dict[str, list[str]]) -> Iterator[str]:
    """Yield the lines that are Snakemake's own, without the logs of failed jobs that it quotes.

    On a cluster that of a job is another Snakemake's, which tells of jobs in the same words.

    Args:
        lines: All lines.
        quotes: Gets the lines of each log that is quoted, by its name.
    """
    log: str | None = None
    quote: list[str] | None = None
    for line in lines:
        if quote is not None:
            if QUOTE.match(line):
                quote = None
            else:
                quote.append(line)
        elif log and QUOTE.match(line):
            quote = quotes[log] = []
            log = None
        else:
            named = QUOTED.match(line)
            log = named[1] if named else None
            yield line


def _wanted(lines: Iterator[str]) -> dict[str, int]:
    """Return the counts of Snakemake's table of jobs, whose rules are in the workflow's order."""
    wanted = {}
    for line in lines:
        found = TOTAL.match(line)
        if found and found[1] == "total":
            break
        if found:
            wanted[found[1]] = int(found[2])
    return wanted


def _failure(lines: Iterator[str]) -> tuple[str, str | None, list[Path]]:
    """Return the number, the message and the logs in the lines that follow an error."""
    number, said, logs, telling = "", "", [], False
    for line in lines:
        if found := FIELD.match(line):
            key, value = found.groups()
            telling = key == "message"
            if key == "jobid":
                number = value
            elif telling and value != "None":
                said = value
            elif key == "log":
                logs = _logs(value)
        elif line.strip() == "shell:":
            break
        elif telling and not line.startswith(" "):  # a message of several lines
            said += f" {line}"
    return number, said.partition(DETAILS)[0].strip() or None, logs


def _logs(text: str) -> list[Path]:
    return [Path(name) for name in text.removesuffix(LOGS).split(", ")]
