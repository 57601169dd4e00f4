# What the rules share: the checked configuration, the run table, and the code that a stage runs.
import json
import shlex
import sys
from functools import lru_cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir, "src")))

import grimp
from scaling_laws import config as configuration
from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES
from scaling_laws.studies import grid

try:
    settings = configuration.validate(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

RESULTS = settings.results
RUNS = grid.runs(settings)
SHARDS = range(settings.links.shards)
EVALUATION_CORPORA = ["test", *settings.corpora]
TABLES = ["runs", "curves", "evaluations", "positions"]
STUDIES = [name for name, study in settings.studies if study is not None]
DRAWN_FIGURES = [
    name
    for name, needs in FIGURES.items()
    if {*needs.studies} <= {*STUDIES} and {*needs.laws} <= {*settings.fits.laws}
]


wildcard_constraints:
    shard=r"\d+",
    corpus="|".join(["train", *EVALUATION_CORPORA]),
    run="|".join(RUNS) or "none",
    study="|".join(STUDIES) or "none",
    law="|".join(settings.fits.laws),
    figure="|".join(FIGURES),


@lru_cache
def import_graph():
    return grimp.build_graph("scaling_laws", cache_dir=".snakemake/grimp")


@lru_cache
def sources(*modules):
    """Return the source files that stages run: their modules and what those import."""
    graph = import_graph()
    names = {f"scaling_laws.{module}" for module in modules}
    for name in list(names):
        names |= graph.find_upstream_modules(name)
    # Importing a.b.c runs a/__init__.py and a/b/__init__.py, too.
    names |= {
        ".".join(name.split(".")[:length])
        for name in names
        for length in range(1, name.count(".") + 1)
    }
    return sorted(map(source_file, names))


def source_file(module):
    path = Path("src", *module.split("."))
    package = path / "__init__.py"
    return str(
        package if Path(workflow.basedir, package).exists() else path.with_suffix(".py")
    )


def options(section, leave_out=frozenset()):
    """Return a section of the configuration as command line options."""
    words = []
    for key, value in section.model_dump(mode="json", exclude=leave_out).items():
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif value is not None:
            words += [flag, str(value)]
    return shlex.join(words)
