"""`scaling-laws <command>`: one command a stage, made from the stage function's signature.

Parameters before the `*` of the function become arguments, those after it options, and the help
is the docstring. A command imports its own stage only, so that none pays for PyTorch but those
that train or evaluate.
"""

from __future__ import annotations

import difflib
import faulthandler
import inspect
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import docstring_parser
import typer
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from rich.console import Console
from rich.markup import escape

from scaling_laws import ledger
from scaling_laws.config import SECTIONS, Config, allowed
from scaling_laws.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# command: (module, function, one line for --help), in the order of the road
COMMANDS = {
    "download": ("sample.packages", "download", "Fetch the packages of the sample's text."),
    "sample": ("sample.build", "build", "Build the sample web from pinned packages."),
    "links": ("corpus.links.links", "links", "Select the links of one Reddit submission dump."),
    "merge-links": ("corpus.links.links", "merge_links", "Merge the links of one shard."),
    "concat": ("tables", "concat", "Join tables of one kind."),
    "index-archive": ("corpus.crawl.archives", "index_archive", "Index the pages of a WARC file."),
    "crawl": ("corpus.crawl.crawl", "crawl", "Fetch one shard of the links into a WARC file."),
    "outcomes": ("corpus.crawl.outcomes", "outcomes", "Count what became of the links."),
    "extract": ("corpus.text.extract", "extract", "Extract the text of the crawled pages."),
    "signatures": ("corpus.dedup.minhash", "signatures", "Compute MinHash signatures."),
    "buckets": ("corpus.dedup.minhash", "buckets", "Find pairs of documents that may be alike."),
    "clusters": ("corpus.dedup.clusters", "clusters", "Verify pairs, and choose what is kept."),
    "dedup": ("corpus.dedup.dedup", "dedup", "Leave exact and near duplicates out."),
    "split": ("corpus.dedup.split", "split", "Hold out the test split."),
    "corpus": ("corpus.text.sources", "corpus", "Read another evaluation corpus."),
    "tokenizer": ("tokens.tokenizer", "tokenizer", "Train the byte-pair encoding."),
    "encode": ("tokens.encode", "encode", "Encode a corpus into a token file."),
    "flow": ("corpus.flow", "flow", "Count what the corpus stages kept and dropped."),
    "resolve": ("config", "resolve", "Write the resolved configuration."),
    "plan": ("studies.plan", "plan", "List every run of the studies."),
    "calibrate": ("training.calibrate", "calibrate", "Measure how fast this machine trains."),
    "on-gpus": ("gpus", "on_gpus", "Run a command on GPUs that have room for it."),
    "train": ("training.loop", "train", "Train one model."),
    "basis": ("evaluation.basis", "basis", "List what all runs are evaluated on."),
    "evaluate": ("evaluation.losses", "evaluate", "Evaluate one run on every corpus."),
    "collect": ("studies.collect", "collect", "Gather finished runs into tables."),
    "gather": ("studies.collect", "gather", "Join the tables of studies to those of all runs."),
    "fit": ("laws.fit", "fit", "Fit a scaling law to tables of runs."),
    "judge": ("laws.judge", "judge", "Judge the forms of a law by prediction."),
    "held-out": ("laws.judge", "held_out", "Judge several laws by their largest run."),
    "conventions": ("laws.conventions", "conventions", "Fit the best size as others count it."),
    "predict": ("laws.forecast", "predict", "Foretell what a fitted law gives."),
    "optimum": ("laws.forecast", "optimum", "Say how to spend compute, by fitted laws."),
    "figure": ("figures.draw", "figure", "Draw a figure from tables and fits."),
    "report": ("report.page", "report", "Write the report page."),
    "identities": ("laws.identities", "identities", "Check the arithmetic of the paper."),
    "claims": ("report.claims", "claims", "Hold the paper's claims against tables of runs."),
    "trace": ("lineage.trace", "trace", "Tell what made a result, or what came of a source."),
    "forget": ("lineage.forget", "forget", "Leave a page or a domain out; say what depends on it."),
    "verify": ("lineage.verify", "verify", "Rehash results, and list what is not as it was."),
    "lineage": ("lineage.page", "lineage", "Write a page of all jobs, and of what flowed between."),
    "crate": ("lineage.crate", "crate", "Describe results as a Workflow Run RO-Crate."),
    "schema": ("config", "schema", "Write the JSON Schema of the configuration."),
    "status": ("report.status", "status", "Say what is done, running and failed."),
    "times": ("report.times", "times", "Say how long each stage took."),
    "summary": ("report.summary", "summary", "Say what came out and where to look."),
}

# Commands that print, or tell of results, and so leave no manifest.
TELLING = (
    "on-gpus",
    "identities",
    "claims",
    "predict",
    "optimum",
    "schema",
    "status",
    "times",
    "summary",
    "trace",
    "forget",
    "verify",
    "lineage",
    "crate",
)
LEAST = {
    "workers": 1,
    "part": 0,
    "shard": 0,
    "split_seed": 0,
    "maximum_words": 1,
    "threads": 1,
    "drop_highest_loss": 0,
    "vocabulary": 2,
    "hold_out": 1,
    "shards": 1,
    "gpus": 1,
    "slots": 1,
    "slots_per_gpu": 1,
}
LINEAGE_OPTIONS = [
    inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[kind | None, typer.Option(help=text)],
    )
    for name, kind, text in (
        ("lineage", Path, "JSON file to write what was read, written and run to; see `trace`."),
        ("rule", str, "Rule of the workflow that the manifest shall name."),
    )
]


def main() -> None:
    """Run the command line; exit code 2 and one message for what the user can mend."""
    if not faulthandler.is_enabled():
        faulthandler.enable()  # a crash in a library's machine code says where it was
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    if (
        not sys.stderr.isatty() and "--help" not in arguments
    ):  # a log file: begin it with what can be pasted to run it again
        logging.getLogger(__name__).info("scaling-laws %s", shlex.join(sys.argv[1:]))
    try:
        stage_app(name)(args=arguments, prog_name=f"scaling-laws {name}")
    except InputError as error:
        sys.exit(_say_error(str(error)))
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        sys.exit(_say_error(named))


def overview() -> str:
    """Return the list of commands, made without importing any stage."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "Usage: scaling-laws COMMAND [OPTIONS]",
            "",
            "Scaling laws for neural language models, from web pages to fitted laws and figures.",
            "`snakemake` runs these commands in order; each can be run by hand.",
            "",
            *(f"  {name:{width}}  {line}" for name, (_, _, line) in COMMANDS.items()),
            "",
            "scaling-laws COMMAND --help tells what a command reads and writes.",
        ]
    )


def stage_app(name: str) -> typer.Typer:
    """Import the stage of a command and return its command line.

    Raises:
        InputError: When there is no such command.
    """
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "scaling-laws --help lists the commands"
        raise InputError(f"no command {name!r}; {hint}")
    module, function, _ = COMMANDS[name]
    return stage_command(name, getattr(import_module(f"scaling_laws.{module}"), function))


def stage_command(name: str, stage: Callable[..., Any]) -> typer.Typer:
    """Return the command line form of a stage function."""
    hints = get_type_hints(stage)
    doc = docstring_parser.parse(inspect.getdoc(stage) or "")
    helps = {parameter.arg_name: parameter.description for parameter in doc.params}
    parameters = []
    for parameter in inspect.signature(stage).parameters.values():
        kind: Any
        hint = hints[parameter.name]
        options: dict[str, Any] = {"help": helps.get(parameter.name)}
        if inspect.isclass(hint) and issubclass(hint, BaseModel):
            options |= {"parser": _json_reader(parameter.name, hint), "metavar": "JSON"}
        if parameter.kind is parameter.KEYWORD_ONLY:
            kind = typer.Option(**options, show_default=parameter.default is not parameter.empty)
        else:
            kind = typer.Argument(**options)
        parameters.append(
            parameter.replace(
                annotation=Annotated[hint, kind], kind=inspect.Parameter.POSITIONAL_OR_KEYWORD
            )
        )

    if name not in TELLING:
        parameters += LINEAGE_OPTIONS

    def run(**values: Any) -> None:
        lineage, rule = values.pop("lineage", None), values.pop("rule", None)
        check_bounds(name, values)
        check_paths(stage, values)
        started = datetime.now(UTC)
        ledger.clear()
        statistics = stage(**values)
        if isinstance(statistics, dict):
            for key, value in statistics.items():
                text = value if isinstance(value, str) else json.dumps(value)
                logging.getLogger(name).info("%s: %s", key, text)
        # Of the processes that train a model together the first one writes.
        if lineage and os.environ.get("RANK", "0") == "0":
            import_module("scaling_laws.lineage.manifest").write(
                lineage,
                rule=rule,
                command=name,
                module=COMMANDS[name][0],
                parameters=values,
                statistics=statistics,
                started=started,
            )

    run.__doc__ = "\n\n".join(filter(None, [doc.short_description, doc.long_description]))
    # Typer reads the annotations, so they replace the ones of **values.
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        sorted(parameters, key=lambda p: p.default is not p.empty)
    )
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(run)
    return app


def check_bounds(name: str, values: Mapping[str, Any]) -> None:
    """Check options against the bounds of the configuration keys of their names.

    Raises:
        InputError: Some are out of bounds.
    """
    for key, least in LEAST.items():
        if values.get(key) is not None and values[key] < least:
            raise InputError(f"{_flag(key)} {values[key]}: expected {least} or more")
    fields: dict[str, Any] = {}
    for section in SECTIONS.get(name, ()):
        model = type(Config.model_fields[section].default)
        fields |= {key: (field.annotation, field) for key, field in model.model_fields.items()}
    given = {
        key: value
        for key, value in values.items()
        if key in fields and value is not None and not isinstance(value, Path)
    }
    options = create_model("Options", __config__=ConfigDict(allow_inf_nan=False), **fields)
    try:
        options.model_validate(given)
    except ValidationError as error:
        faults: dict[str, list[ErrorDetails]] = {}
        for fault in error.errors():
            faults.setdefault(str(fault["loc"][0]), []).append(fault)
        lines = [f"{_flag(key)} {given[key]}: {allowed(said)}" for key, said in faults.items()]
        raise InputError("\n".join(lines)) from None


def check_paths(stage: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Check that no two parameters name one file: what is written would take the other's place.

    Raises:
        InputError: Two do.
    """
    named: dict[Path, str] = {}
    for parameter in inspect.signature(stage).parameters.values():
        value, option = values.get(parameter.name), parameter.kind is parameter.KEYWORD_ONLY
        name = _flag(parameter.name) if option else parameter.name.upper()
        for path in value if isinstance(value, list) else [value]:
            if not isinstance(path, Path) or path.is_dir():
                continue
            other = named.setdefault(path.resolve(), name)
            if other != name:
                raise InputError(f"{other} and {name} are the same file, {path}; expected two")


def _flag(parameter: str) -> str:
    """Return the option of a parameter."""
    return f"--{parameter.replace('_', '-')}"


def _json_reader(name: str, model: type[BaseModel]) -> Callable[[str], BaseModel]:
    """Return the parser of an option that holds a model as JSON."""

    def read(text: str) -> BaseModel:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            faults = [
                ": ".join(filter(None, [".".join(map(str, detail["loc"])), detail["msg"]]))
                for detail in error.errors()
            ]
            raise InputError(f"--{name}: {'; '.join(faults)}") from None

    return read


def _say_error(message: str) -> int:
    """Print an error on stderr and return the exit code."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("[bold red]error:[/]", escape(message))
    return 2
