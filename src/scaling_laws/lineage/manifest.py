"""The manifest of a job: what it read and wrote, by which code, with which settings, and where.

It is written when the job has succeeded, beside what the job wrote, in a folder `lineage`. Paths
in it are relative to that folder, so a results folder may be moved as a whole.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from math import inf
from os.path import relpath
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from scaling_laws import ledger
from scaling_laws.ledger import sha256
from scaling_laws.lineage.code import code_of, commit
from scaling_laws.output import atomic

FOLDER = "lineage"
# The folders of the results, whatever the results folder itself is called.
STAGES = {
    *("sample", "links", "crawl", "documents", "dedup", "corpus", "corpora", "tokens"),
    *("plan", "runs", "tables", "fits", "figures"),
}
IMPORTED_AS = {"PyYAML": "yaml", "newspaper3k": "newspaper"}


class File(BaseModel):
    """A file that a job read or wrote.

    Attributes:
        path: Where it is, relative to the folder of the manifest; absolute where it lies outside
            of the project that the results are part of.
        bytes: Its size.
        sha256: SHA-256 of its content, hexadecimal.
        modified: When it was last written, in nanoseconds since 1970. While size and time are as
            they were the content is taken to be, too, by other jobs; `verify` reads it anew.
    """

    path: str
    bytes: int
    sha256: str
    modified: int

    def fault(self, path: Path, anew: bool = False, hashing: float = inf) -> str | None:
        """Return how the file at a path differs from this one, or nothing where it does not.

        Args:
            path: Where the file should be.
            anew: Whether to hash it even where its size and time are as they were.
            hashing: Bytes of the largest file that is hashed; a larger one is taken for the same.
        """
        if not path.is_file():
            return "no such file"
        status = path.stat()
        if status.st_size != self.bytes:
            return f"{status.st_size} bytes, expected {self.bytes}"
        if self.bytes > hashing or (not anew and status.st_mtime_ns == self.modified):
            return None
        found = sha256(path)
        if found == self.sha256:
            return None
        return f"SHA-256 {found[:12]}…, expected {self.sha256[:12]}…"


class Host(BaseModel):
    """The class of machine a job ran on."""

    system: str
    processor: str
    cores: int
    gpu: str | None


class Manifest(BaseModel):
    """What made some files.

    Attributes:
        lineage: Version of this form.
        rule: Rule of the workflow; None for a command given by hand.
        command: The command, without `scaling-laws`.
        call: The whole command line.
        parameters: Every parameter of the command, defaults included.
        inputs: Files read.
        outputs: Files written.
        statistics: What the command counted.
        modules: SHA-256 of the source files of the stage: its module and all that it imports.
        commit: Commit of the repository that the code lies in; None outside of one.
        clean: Whether the code was as committed.
        packages: Versions of Python and of the packages that were loaded.
        host: Where it ran.
        seed: Seed of its random numbers; None where it draws none.
        started: When it started, UTC, ISO 8601.
        ended: When it had written its files.
        peak_memory: Greatest resident memory of the process or of one that it started, in bytes.
    """

    model_config = ConfigDict(extra="forbid")

    lineage: Literal[1] = 1
    rule: str | None
    command: str
    call: str
    parameters: dict[str, Any]
    inputs: list[File]
    outputs: list[File]
    statistics: dict[str, Any]
    modules: dict[str, str]
    commit: str | None
    clean: bool | None
    packages: dict[str, str]
    host: Host
    seed: int | None
    started: str
    ended: str
    peak_memory: int


def write(
    path: Path,
    *,
    rule: str | None,
    command: str,
    module: str,
    parameters: Mapping[str, Any],
    statistics: object,
    started: datetime,
) -> None:
    """Write the manifest of what this process has done.

    Args:
        path: JSON file to write.
        rule: Rule of the workflow that gave the command, if one did.
        command: The command.
        module: Module of its stage, such as "corpus.dedup.split".
        parameters: Its parameters by name.
        statistics: What it returned.
        started: When it started.
    """
    values = {name: _plain(value) for name, value in parameters.items()}
    spec: dict[str, Any] = values.get("spec") or {}
    # A figure's module is imported by its name, which no import statement shows.
    by_name = [f"figures.{values['name']}"] if command == "figure" else []
    known = Hashes(path.parent)
    content = Manifest(
        rule=rule,
        command=command,
        call=shlex.join(["scaling-laws", *sys.argv[1:]]),
        parameters=values,
        inputs=[known.file(file) for file in ledger.files_read()],
        outputs=[
            known.file(file, fresh=True)
            for file in ledger.files_written()
            if not file.name.startswith(".")  # what an interrupted job goes on from
        ],
        statistics=_plain(statistics) if isinstance(statistics, dict) else {},
        modules=code_of(module, *by_name),
        commit=(repository := commit())[0],
        clean=repository[1],
        packages=packages(),
        host=host(),
        seed=values.get("seed", spec.get("seed")),
        started=started.isoformat(timespec="seconds"),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        peak_memory=peak_memory(),
    )
    with atomic(path) as partial:
        partial.write_text(content.model_dump_json(indent=1) + "\n")


class Hashes:
    """Describes files, and takes from the manifests beside them what those have hashed already."""

    def __init__(self, folder: Path) -> None:
        """Describe them with paths relative to `folder`."""
        self._folder = ledger.place(folder)
        self._project = project_of(self._folder)

    def file(self, path: Path, fresh: bool = False) -> File:
        """Describe a file.

        Args:
            path: The file, absolute.
            fresh: Whether it was written by this process, so that no manifest can know it.
        """
        status = path.stat()
        hashed = None if fresh else _noted(path, status)
        inside = path.is_relative_to(self._project)
        return File(
            path=relpath(path, self._folder) if inside else str(path),
            bytes=status.st_size,
            sha256=hashed or sha256(path),
            modified=status.st_mtime_ns,
        )


def project_of(folder: Path) -> Path:
    """Return the folder whose files manifests name by relative paths, as it moves as a whole.

    It is that of the Snakefile; without one, that of the results folder, by the folders that the
    stages have in it; and else the one that the manifests' folder lies in.

    Args:
        folder: A folder of manifests, absolute.
    """
    for above in folder.parents:
        if (above / "Snakefile").is_file():
            return above
    for above in folder.parents:
        if above.name in STAGES:
            return above.parent.parent
    return folder.parent


def _noted(path: Path, status: os.stat_result) -> str | None:
    """Return the hash of a file by the manifest of the job that wrote it, if it is as it was."""
    for folder in (path.parent, path.parent.parent):
        for manifest, outputs in manifests_in(folder / FOLDER).items():
            entry = outputs.get(relpath(path, manifest.parent))
            if entry and (entry["bytes"], entry["modified"]) == (
                status.st_size,
                status.st_mtime_ns,
            ):
                return str(entry["sha256"])
    return None


@cache
def manifests_in(folder: Path) -> dict[Path, dict[str, dict[str, Any]]]:
    """Return the outputs of each manifest in a folder, by path; damaged ones are left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            outputs = json.loads(path.read_bytes())["outputs"]
            found[path] = {entry["path"]: entry for entry in outputs}
        except (ValueError, KeyError, TypeError, OSError):
            continue
    return found


def packages() -> dict[str, str]:
    """Return the versions of Python and of those packages that the project asks for and has run."""
    found = {"python": platform.python_version()}
    for name in sorted(_asked_for()):
        if IMPORTED_AS.get(name, name.replace("-", "_")) in sys.modules:
            found[name] = metadata.version(name)
    return found


def _asked_for() -> Iterator[str]:
    try:
        requirements = metadata.requires("scaling-laws") or []
    except metadata.PackageNotFoundError:  # run from its source
        return
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        if name and "extra ==" not in requirement:
            yield name[0]


def host() -> Host:
    """Return the class of this machine; the GPU only where PyTorch is loaded and sees one."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return Host(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        gpu=gpu,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory() -> int:
    """Return the greatest resident memory of this process or of one it started, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * unit


def _plain(value: object) -> Any:
    """Return a parameter as JSON can hold it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
