"""`scaling-laws crate`: results as a Workflow Run RO-Crate, which other programs can read.

The crate follows Provenance Run Crate 0.5 (Leo et al. 2024, doi 10.1371/journal.pone.0309210): the
workflow and its steps, the run as a whole, and a job each as an action with what it read and wrote.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
import shutil
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from importlib import metadata
from os.path import relpath
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model import ComputerLanguage, ContextEntity, Entity, SoftwareApplication
from rocrate.model.computationalworkflow import ComputationalWorkflow
from rocrate.rocrate import ROCrate

from scaling_laws.errors import InputError
from scaling_laws.ledger import sha256
from scaling_laws.lineage.graph import METADATA, WORKFLOW, Graph, Job, counted, whole
from scaling_laws.lineage.manifest import File
from scaling_laws.lineage.stages import edges_of, layers_of, stages_of
from scaling_laws.output import atomic
from scaling_laws.progress import track

# What lies beside the Snakefile and goes into the crate with it.
COPIED = ("LICENSE", "config.yaml", "envs", "pyproject.toml", "src/scaling_laws", "workflow")
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate 0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate 0.5",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate 0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate 1.0",
}
RUN_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
COMPLETED = "http://schema.org/CompletedActionStatus"
MEDIA_TYPES = {".parquet": "application/vnd.apache.parquet", ".zst": "application/zstd"}
TYPES = {bool: "Boolean", int: "Integer", float: "Float"}


def crate(results: Path = Path("results"), *, workflow: Path = Path("Snakefile")) -> None:
    """Describe results as a Workflow Run RO-Crate, by its ro-crate-metadata.json in their folder.

    The folder is then the crate, and whole: the workflow is copied into lineage/workflow in it.
    Every file is hashed again, since the crate vouches for it.

    Args:
        results: Folder of the results.
        workflow: The Snakefile that made them; the rest of the workflow lies beside it.

    Raises:
        InputError: When there are no manifests or no Snakefile, or a file is not as it was written.
    """
    graph = Graph(whole(results))
    for path, reason in graph.damaged.items():
        raise InputError(
            f"{graph.shown(path)}: a manifest that cannot be read ({reason}), so that the crate "
            "would lack what it tells; see `verify`"
        )
    _check_workflow(workflow)
    _copy(workflow, graph.results / WORKFLOW)
    content = Crate(graph, workflow.name).content()
    metadata = graph.results / METADATA
    with atomic(metadata) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    files = sum(entity["@type"] == "File" for entity in content["@graph"])
    print(f"{graph.shown(metadata)}: {counted(len(graph.jobs), 'job')}, {counted(files, 'file')}")
    if graph.strays:
        first = graph.shown(graph.strays[0])
        print(
            f"Not described, as no manifest says what made them: {first} and the like, "
            f"{counted(len(graph.strays), 'file')}; see `verify`"
        )


def _check_workflow(path: Path) -> None:
    """Check that a file is a Snakefile, as far as its words show.

    Raises:
        InputError: It is missing or has no rule and takes none from elsewhere.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        raise InputError(
            f"--workflow {path}: {reason}; expected the Snakefile that made these results"
        ) from None
    if not re.search(r"^(rule|checkpoint|module|include)\b.*:", text, re.MULTILINE):
        raise InputError(
            f"--workflow {path}: found no rule, include or module, expected the Snakefile that "
            "made these results"
        )


def _copy(workflow: Path, folder: Path) -> None:
    """Copy a workflow in the place of what was copied before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(workflow, folder)
    for name in COPIED:
        source = workflow.parent / name
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
        elif source.is_file():
            shutil.copy(source, folder / name)


class Crate:
    """The crate of a results folder, filled from its manifests."""

    def __init__(self, graph: Graph, workflow: str) -> None:
        """Describe all files and jobs.

        Args:
            graph: The results, with the workflow copied into them.
            workflow: Name of the Snakefile.
        """
        self._graph = graph
        self._crate = ROCrate(version="1.1")
        self._crate.metadata.extra_contexts.append(RUN_TERMS)
        self._named: dict[str, Entity] = {}  # the crate's own look-up searches parts of parts
        self._tools: dict[str, Entity] = {}
        # The parameters of each command, and the values of each parameter, by their identifiers.
        self._inputs: dict[str, dict[str, Entity]] = defaultdict(dict)
        self._examples: dict[str, dict[str, Entity]] = defaultdict(dict)
        self._project = self._read_project()
        self._workflow = self._add_workflow(workflow)
        known = self._known().items()
        self._files = {
            path: self._add_file(path, file)
            for path, file in track(known, "crate: files", len(known))
        }
        steps = self._add_steps()
        actions = [self._add_action(job) for job in graph.jobs]
        for key, found in (("input", self._inputs), ("workExample", self._examples)):
            for name, entities in found.items():
                self._named[name][key] = list(entities.values())
        self._add_run(steps, actions)
        self._describe(actions)

    def content(self) -> dict[str, Any]:
        """Return the metadata document as JSON."""
        document: dict[str, Any] = self._crate.metadata.generate()
        document["@graph"] = [
            {key: _compact(value) for key, value in entity.items()} for entity in document["@graph"]
        ]
        return document

    def _entity(self, name: str, kind: str, /, **properties: Any) -> Entity:
        """Add a contextual entity, or return the one of that name."""
        if name not in self._named:
            content = {"@type": kind} | {k: v for k, v in properties.items() if v not in (None, [])}
            self._named[name] = self._crate.add(ContextEntity(self._crate, name, content))
        return self._named[name]

    # Files

    def _known(self) -> dict[Path, File]:
        """Return each file as it was last written, or last read where no job wrote it."""
        known = dict(self._graph.sources(self._graph.jobs))
        return known | {path: job.outputs[path] for path, job in self._graph.maker.items()}

    def _add_file(self, path: Path, file: File) -> Entity:
        if not path.is_relative_to(self._graph.results):
            # It is no part of the crate, which only says what it was.
            return self._entity(
                f"#source-{file.sha256[:16]}",
                "CreativeWork",
                name=path.name,
                description="Read by the workflow, and not in this crate",
                sha256=file.sha256,
                contentSize=str(file.bytes),
            )
        if fault := file.fault(path, anew=True):
            raise InputError(
                f"{self._graph.shown(path)}: {fault} by the manifest of its job; see `verify`"
            )
        return self._add(path, file.sha256, file.bytes)

    def _add(self, path: Path, hashed: str, size: int, **properties: Any) -> Entity:
        """Add a file that lies in the crate."""
        kind = MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
        name = quote(str(path.relative_to(self._graph.results)))
        described = {
            "name": path.name,
            "sha256": hashed,
            "contentSize": str(size),
            "encodingFormat": kind or "application/octet-stream",
        }
        return self._crate.add_file(dest_path=name, properties=described | properties)

    # The workflow

    def _read_project(self) -> dict[str, Any]:
        path = self._graph.results / WORKFLOW / "pyproject.toml"
        project: dict[str, Any] = {}
        if path.is_file():
            project = tomllib.loads(path.read_text()).get("project", {})
        return project

    def _add_workflow(self, name: str) -> Entity:
        """Add the workflow and what was copied with it; people and licence as it names them."""
        folder = self._graph.results / WORKFLOW
        described = {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "sha256": sha256(folder / name),
            "contentSize": str((folder / name).stat().st_size),
            "encodingFormat": "text/plain",
            "name": self._project.get("name", name),
            "description": self._project.get("description"),
            "version": self._project.get("version"),
            "license": self._licence(),
            "author": [
                self._entity(f"#{quote(person['name'])}", "Person", name=person["name"])
                for person in self._project.get("authors", [])
                if "name" in person
            ],
        }
        workflow = self._crate.add_workflow(
            dest_path=f"{WORKFLOW}/{name}",
            properties={key: value for key, value in described.items() if value},
            main=True,
            lang=self._crate.add(
                ComputerLanguage(
                    self._crate,
                    "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
                    {"name": "Snakemake", "url": "https://snakemake.github.io"},
                )
            ),
            cls=ComputationalWorkflow,
        )
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path != folder / name:
                self._add(path, sha256(path), path.stat().st_size)
        return workflow

    def _licence(self) -> Entity | None:
        name = self._project.get("license")
        if not isinstance(name, str):
            return None
        return self._entity(f"https://spdx.org/licenses/{name}", "CreativeWork", name=name)

    def _add_steps(self) -> dict[str, Entity]:
        """Add a step a rule, in the order of the flow, with the command that it gives."""
        stages = stages_of(self._graph)
        layers = layers_of(stages, edges_of(self._graph))
        steps = {}
        for position, name in enumerate((name for layer in layers for name in layer), 1):
            tools = list({tool.id: tool for tool in map(self._tool, stages[name].jobs)}.values())
            steps[name] = self._entity(
                f"#step-{name}", "HowToStep", name=name, position=str(position), workExample=tools
            )
        self._workflow["step"] = list(steps.values())
        self._workflow["hasPart"] = list(self._tools.values())
        return steps

    def _tool(self, job: Job) -> Entity:
        """Return the command that a job gave, in the version of code and packages that it ran."""
        made = job.made
        key = json.dumps([made.command, made.commit, made.clean, made.packages])
        if key not in self._tools:
            known = sum(json.loads(each)[0] == made.command for each in self._tools)
            packages = [
                self._entity(
                    f"#package-{name}-{quote(version)}",
                    "SoftwareApplication",
                    name=name,
                    softwareVersion=version,
                )
                for name, version in made.packages.items()
            ]
            self._tools[key] = self._entity(
                f"#command-{made.command}" + (f"-{known + 1}" if known else ""),
                "SoftwareApplication",
                name=f"scaling-laws {made.command}",
                softwareVersion=made.commit and made.commit + " with changes" * (not made.clean),
                softwareRequirements=packages,
            )
        return self._tools[key]

    # The run

    def _add_action(self, job: Job) -> Entity:
        """Add a job, and its manifest as what tells of it."""
        made = job.made
        name = quote(relpath(job.path, self._graph.results))
        inside = job.path.is_relative_to(self._graph.results)
        action = self._entity(
            f"#job-{name}",
            "CreateAction",
            name=f"{job.name} {job.subject}",
            description=made.call,
            instrument=self._tool(job),
            object=[*self._these(job.inputs), *self._values(job)],
            result=self._these(job.outputs),
            startTime=made.started,
            endTime=made.ended,
            actionStatus=COMPLETED,
            resourceUsage=self._entity(
                f"#memory-{name}",
                "PropertyValue",
                name="Peak resident memory",
                propertyID="ru_maxrss",
                unitCode="http://qudt.org/vocab/unit/BYTE",
                value=made.peak_memory,
            ),
        )
        if inside:
            size = job.path.stat().st_size
            action["subjectOf"] = self._add(job.path, sha256(job.path), size, about=action)
        return action

    def _these(self, paths: Iterable[Path]) -> list[Entity]:
        return [self._files[path] for path in paths]

    def _values(self, job: Job) -> list[Entity]:
        """Return the parameters that a job was given; jobs share those that are equal."""
        command, values = job.made.command, []
        for key, value in job.made.parameters.items():
            if value is None:
                continue
            plain = value if isinstance(value, str | int | float) else json.dumps(value)
            hashed = hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:12]
            parameter = self._entity(
                f"#parameter-{command}-{key}",
                "FormalParameter",
                name=key,
                additionalType=TYPES.get(type(plain), "Text"),
            )
            example = self._entity(
                f"{parameter.id}-{hashed}",
                "PropertyValue",
                name=key,
                value=plain,
                exampleOfWork=parameter,
            )
            self._inputs[self._tool(job).id][parameter.id] = parameter
            self._examples[parameter.id][example.id] = example
            values.append(example)
        return values

    def _add_run(self, steps: dict[str, Entity], actions: list[Entity]) -> None:
        """Add the run of the workflow, and what its engine did for it."""
        jobs = self._graph.jobs
        times = {
            "startTime": min(job.made.started for job in jobs),
            "endTime": max(job.made.ended for job in jobs),
            "actionStatus": COMPLETED,
        }
        last = [path for path in self._graph.maker if path not in self._graph.readers]
        run = self._entity(
            "#run",
            "CreateAction",
            name="Run of the workflow",
            description="All jobs whose files are in this crate",
            instrument=self._workflow,
            object=self._these(self._graph.sources(jobs)),
            result=self._these(last),
            **times,
        )
        controls = [
            self._entity(
                action.id.replace("#job-", "#control-", 1),
                "ControlAction",
                name=f"Job {job.name} {job.subject}",
                instrument=steps[job.name],
                object=action,
                actionStatus=COMPLETED,
            )
            for job, action in zip(jobs, actions, strict=True)
        ]
        engine = self._crate.add(
            SoftwareApplication(
                self._crate,
                "https://snakemake.github.io",
                {"name": "Snakemake", "url": "https://snakemake.github.io"} | _version_here(),
            )
        )
        self._entity(
            "#engine-run",
            "OrganizeAction",
            name="Run of Snakemake",
            instrument=engine,
            object=controls,
            result=run,
            **times,
        )
        self._crate.root_dataset["mentions"] = [run, *actions]

    def _describe(self, actions: list[Entity]) -> None:
        root = self._crate.root_dataset
        ended = self._graph.jobs[-1].made.ended
        root["name"] = f"Results of {self._project.get('name', 'scaling-laws')} of {ended[:10]}"
        root["description"] = (
            f"{self._project.get('description', 'A run of a workflow')}. "
            f"{len(actions)} jobs, each with what it read and wrote."
        )
        root["datePublished"] = ended
        root["license"] = self._entity(
            "#licence",
            "CreativeWork",
            name="No licence is stated",
            description="The results hold texts of others, under terms of their own; nobody has "
            "stated a licence for them. The workflow has its own.",
        )
        root["conformsTo"] = [
            self._entity(name, "CreativeWork", name=title, version=title.rpartition(" ")[2])
            for name, title in PROFILES.items()
        ]


def _compact(value: object) -> object:
    """Return the one of a list of one, as the specification wants it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _version_here() -> dict[str, str]:
    """Return the version of Snakemake that is installed where the crate is written, if one is."""
    try:
        return {"softwareVersion": metadata.version("snakemake")}
    except metadata.PackageNotFoundError:
        return {}
