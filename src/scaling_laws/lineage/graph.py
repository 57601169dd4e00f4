"""All manifests of a results folder as one graph: jobs, and the files that join them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from os.path import normpath
from pathlib import Path

from pydantic import ValidationError

from scaling_laws.errors import InputError
from scaling_laws.ledger import files_below, place
from scaling_laws.lineage.manifest import FOLDER, STAGES, File, Manifest

# What is made from manifests and has none, within the results.
PAGE = Path(FOLDER, "index.html")
METADATA = Path("ro-crate-metadata.json")
WORKFLOW = Path(FOLDER, "workflow")
# What Snakemake leaves in the results, and an interrupted job in the folder of its run.
OF_SNAKEMAKE, OF_A_RUN = ("logs", "benchmarks"), "checkpoints"
SMALL = 10_000_000  # bytes of a file that is hashed although nobody asked for it


class Job:
    """A job by its manifest, with absolute paths.

    Attributes:
        path: The manifest.
        made: What it says.
        inputs: Files read, by path.
        outputs: Files written, by path.
    """

    def __init__(self, path: Path, made: Manifest) -> None:
        """Resolve the paths of a manifest from where it lies."""
        self.path, self.made = path, made
        self.inputs = self._placed(made.inputs)
        self.outputs = self._placed(made.outputs)

    def _placed(self, files: Iterable[File]) -> dict[Path, File]:
        return {Path(normpath(self.path.parent / file.path)): file for file in files}

    @property
    def name(self) -> str:
        """The rule, or the command of a job that no rule gave."""
        return self.made.rule or self.made.command

    @property
    def is_aptly_named(self) -> bool:
        """Whether the manifest has the name of its rule, command or files, as the workflow has it.

        A copy that somebody made of it has another one.
        """
        names = {self.name, self.made.command, *(path.name.split(".")[0] for path in self.outputs)}
        return self.path.stem in names

    @property
    def subject(self) -> str:
        """What distinguishes it from other jobs of its rule."""
        home = self.path.parent.parent
        stem = self.path.stem
        return home.name if stem in (self.name, self.made.command) else stem


class Graph:
    """The jobs whose manifests lie in a results folder, and those of the files that they read.

    Attributes:
        results: The folder.
        jobs: Every job, in the order in which they ended.
        damaged: Manifests that cannot be read, with the reason.
    """

    def __init__(self, results: Path) -> None:
        """Read all manifests.

        Raises:
            InputError: There is no such folder, a workflow in it, or no manifest.
        """
        if not results.is_dir():
            fault = "found a file" if results.exists() else "no such folder"
            raise InputError(f"{results}: {fault}; expected a folder of results")
        if (results / "Snakefile").is_file():
            raise InputError(
                f"{results}: found a folder with a workflow, expected its results, such as "
                f"{results / 'results'}"
            )
        self.results = place(results)
        self.damaged: dict[Path, str] = {}
        found = {job.path: job for job in self._read(manifests_below(self.results))}
        if not found and not self.damaged:
            raise InputError(
                f"{results}: no manifest ({FOLDER}/*.json) in it; the workflow leaves one a job"
            )
        # What was read from elsewhere may have a manifest there, as downloads have.
        outside = {
            path.parent / FOLDER
            for job in found.values()
            for path in job.inputs
            if not path.is_relative_to(self.results)
        }
        for folder in sorted(outside):
            found |= {job.path: job for job in self._read(folder.glob("*.json"))}
        # Of a manifest and its copies the last is taken for the maker of the files.
        self.jobs = sorted(
            found.values(), key=lambda job: (job.made.ended, job.is_aptly_named, job.path)
        )

    def _read(self, paths: Iterable[Path]) -> Iterator[Job]:
        for path in sorted(paths):
            try:
                yield Job(path, Manifest.model_validate_json(path.read_bytes()))
            except OSError as error:
                self.damaged[path] = str(error.strerror)
            except ValidationError as error:
                fault = error.errors()[0]
                key = ".".join(map(str, fault["loc"]))
                self.damaged[path] = f"{key}: {fault['msg']}" if key else fault["msg"]

    @cached_property
    def maker(self) -> dict[Path, Job]:
        """The job that wrote each file; the last one where several did."""
        return {path: job for job in self.jobs for path in job.outputs}

    @cached_property
    def readers(self) -> dict[Path, list[Job]]:
        """The jobs that read each file."""
        found = defaultdict(list)
        for job in self.jobs:
            for path in job.inputs:
                found[path].append(job)
        return dict(found)

    def before(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs that wrote what some read."""
        return _distinct(
            self.maker[path] for job in jobs for path in job.inputs if path in self.maker
        )

    def after(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs that read what some wrote."""
        return _distinct(
            reader
            for job in jobs
            for path in job.outputs
            if self.maker[path] is job
            for reader in self.readers.get(path, [])
        )

    def upstream(self, jobs: Iterable[Job]) -> list[Job]:
        """Return some jobs and all before them."""
        return self._reached(jobs, self.before)

    def downstream(self, jobs: Iterable[Job]) -> list[Job]:
        """Return some jobs and all after them."""
        return self._reached(jobs, self.after)

    def _reached(
        self, jobs: Iterable[Job], step: Callable[[Iterable[Job]], list[Job]]
    ) -> list[Job]:
        found: dict[Path, Job] = {}
        front = _distinct(jobs)
        while front:
            found |= {job.path: job for job in front}
            front = [job for job in step(front) if job.path not in found]
        return list(found.values())

    def outdated(self, job: Job) -> list[Path]:
        """Return the files of which a job read another version than the one written last."""
        return [
            path
            for path, file in job.inputs.items()
            if path in self.maker and self.maker[path].outputs[path].sha256 != file.sha256
        ]

    def altered(self, jobs: Iterable[Job]) -> dict[Path, str]:
        """Return the files among the results that some jobs read and that are not as they were.

        Told by their size, of small ones by their content as well, with how each differs: a look
        that costs little. `verify` hashes all files.
        """
        return {
            path: fault
            for job in jobs
            for path in job.inputs
            if path in self.maker and path.is_relative_to(self.results)
            if (fault := self.maker[path].outputs[path].fault(path, hashing=SMALL))
        }

    def sources(self, jobs: Iterable[Job]) -> dict[Path, File]:
        """Return the files that some jobs read and none wrote."""
        return {
            path: file
            for job in jobs
            for path, file in job.inputs.items()
            if path not in self.maker
        }

    def unexplained(self, jobs: Iterable[Job]) -> list[Path]:
        """Return the files among the results that some jobs read and no manifest says what made."""
        return [path for path in self.sources(jobs) if path.is_relative_to(self.results)]

    @cached_property
    def strays(self) -> list[Path]:
        """The files among the results that no job has written, but for those that none would name.

        These are hidden files, what Snakemake and interrupted jobs leave, and what is made from the
        manifests themselves.
        """
        return [
            path
            for path in sorted(files_below(self.results))
            if path not in self.maker and not self._is_untold(path)
        ]

    @property
    def hiding(self) -> list[Path]:
        """The files that may hide a job: there or read by a job, and of unknown make."""
        return sorted({*self.strays, *self.unexplained(self.jobs)})

    def _is_untold(self, path: Path) -> bool:
        here = path.relative_to(self.results)
        return (
            here.parts[0] in OF_SNAKEMAKE
            or (here.parts[0] == "runs" and OF_A_RUN in here.parts[:-1])
            or any(part.startswith(".") for part in here.parts)
            or path.suffix == ".lock"
            or _is_manifest(path)
            or here in (PAGE, METADATA)
            or here.is_relative_to(WORKFLOW)
        )

    def shown(self, path: Path) -> str:
        """Return a path as people can use it here: from the working folder, if it is below that."""
        here = Path.cwd()
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    def gap(self, unexplained: Sequence[Path]) -> str | None:
        """Return in a sentence what keeps an answer from being whole, if anything does.

        Args:
            unexplained: Files that would have to have a manifest.
        """
        lacks = []
        if self.damaged:
            first = self.shown(next(iter(self.damaged)))
            lacks.append(f"{counted(len(self.damaged), 'manifest')} cannot be read ({first})")
        if unexplained:
            first = self.shown(unexplained[0])
            lacks.append(
                f"no manifest says what made {counted(len(unexplained), 'file')} ({first})"
            )
        if not lacks:
            return None
        return f"This may not be all: {' and '.join(lacks)}. `scaling-laws verify` names each"


def counted(count: int, noun: str) -> str:
    """Return a number with what it counts: 1 file, 1,200 files."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def manifests_below(folder: Path) -> Iterator[Path]:
    """Yield the manifests in a folder and those below it, also in folders that are links."""
    return filter(_is_manifest, files_below(folder))


def _is_manifest(path: Path) -> bool:
    return path.parent.name == FOLDER and path.suffix == ".json" and path.name[0] != "."


def results_of(path: Path) -> Path:
    """Return the results folder that a path lies in, by the folders that the stages have in it.

    What lies in none is taken for a source of `results` here, if that is there.

    Raises:
        InputError: It lies in none that has manifests.
    """
    here = place(path)
    around = (here, *here.parents)
    within = [folder for folder in around if any((folder / name).is_dir() for name in STAGES)]
    nearest = within[0] if within else here if here.is_dir() else here.parent
    for results in (nearest, place(Path("results"))):
        if any(manifests_below(results)):
            return results
    raise InputError(
        f"{path}: in no folder of results: no manifest ({FOLDER}/*.json) in {nearest}. The "
        "workflow leaves one a job, and a command by hand with --lineage; --results names results "
        "that are elsewhere"
    )


def whole(folder: Path) -> Path:
    """Return a results folder, as for what would be wrong of a part of one.

    Raises:
        InputError: It is a folder in one.
    """
    if folder.is_dir() and (results := results_of(folder)) in place(folder).parents:
        raise InputError(f"{folder}: a part of the results; expected the whole folder, {results}")
    return folder


def _distinct(jobs: Iterable[Job]) -> list[Job]:
    return list({job.path: job for job in jobs}.values())
