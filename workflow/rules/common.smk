# What the rules share: the checked configuration, the run table, and the code that a stage runs.
import gc
import inspect
import json
import os
import re
import shlex
import sys
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir, "src")))

# All that Snakemake makes of thousands of jobs stays: to look through it for what could go after
# every 700 new objects, Python's default, takes a tenth of a dry run.
gc.set_threshold(100_000)

from scaling_laws import config as configuration
from scaling_laws.corpus.forgotten import OUTCOME, Forgotten
from scaling_laws.errors import InputError
from scaling_laws.figures import FIGURES, PAPER, drawable, reads_laws, reads_studies
from scaling_laws.lineage.code import closure, source_of
from scaling_laws.studies import cost, grid
from scaling_laws.text_files import WITH_ADDRESSES
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger


class Known(dict):
    """What there is by name; of other names a clear error."""

    def __missing__(self, name):
        raise WorkflowError(
            f"no run {name} in this configuration; `scaling-laws plan --output FILE` lists them"
        )


try:
    settings = configuration.validate(config)
    configuration.require_files(settings)
    RUNS = Known(grid.runs(settings))
    FORGOTTEN = Forgotten.read(settings.forgotten)
except InputError as error:
    sys.exit(str(error))

RESULTS = settings.results
TIMES = cost.rated(settings.hardware)
SHORT = 600  # seconds of a run
FIRST = 10**30  # a priority above the FLOP of any run
# Seconds of training and evaluation on GPUs that nobody has rated: four hours are asked for.
UNKNOWN = (7050, 7050)
SHARDS = range(settings.links.shards)
PARTS = range(settings.dedup.parts)
ARCHIVES = {path.name: str(path) for path in settings.crawl.archives}
EVALUATION_CORPORA = ["test", *settings.corpora]
TABLES = ["runs", "curves", "evaluations", "positions"]
STUDIES = list(settings.studies)
if workflow.is_main_process:
    wanted = [study for run in RUNS.values() for study in run.studies]
    counts = ", ".join(f"{study} {wanted.count(study)}" for study in STUDIES)
    logger.info(f"Runs: {len(RUNS)} in all; by study: {counts or 'none is on'}")
DRAWN_FIGURES = drawable(STUDIES, settings.fits.laws)
# Laws of the loss of runs, which can be held out, and those that have a best size for compute.
JUDGED = [
    law for law in ("L_N", "L_D", "L_ND", "chinchilla") if law in settings.fits.laws
]
CONVENTION_LAWS = [
    law for law in ("N_opt", "chinchilla", "chinchilla_2") if law in settings.fits.laws
]
SAMPLE_DUMPS = {
    "RS_2017-11": "<results>/sample/RS_2017-11.zst",
    "RS_2018-03": "<results>/sample/RS_2018-03.zst",
}
SAMPLE_CORPORA = {
    "books": "<results>/sample/books.jsonl",
    "internet_books": "<results>/sample/internet_books.jsonl",
    "wikipedia": "<results>/sample/wikipedia.xml.bz2",
    "common_crawl": "<results>/sample/common_crawl.warc.gz",
}
DUMPS = (
    SAMPLE_DUMPS
    if settings.links.dumps == "sample"
    else {name: str(path) for name, path in configuration.dump_files(settings).items()}
)


wildcard_constraints:
    dump="|".join(DUMPS),
    archive="|".join(map(re.escape, ARCHIVES)) or "none",
    shard=r"\d+",
    part=r"\d+",
    corpus="|".join(["train", *EVALUATION_CORPORA]),
    # Not the names themselves, which Snakemake would search again for each of thousands of runs.
    run=r"[a-z]+-\d+x\d+-[0-9a-f]{8}",
    study="|".join(STUDIES) or "none",
    law="|".join(settings.fits.laws),
    figure="|".join(FIGURES),


def require_what_is_named():
    """Fail on rules that a profile or the command line names in vain, and on GPUs of runs with none.

    Snakemake passes over such a rule, and its jobs ask for what nobody meant.
    """
    resources = workflow.resource_settings.overwrite_resources
    threads = workflow.resource_settings.overwrite_threads
    there = sorted(rule.name for rule in workflow.rules)
    for option, named in [("set-resources", resources), ("set-threads", threads)]:
        for name in named:
            if name not in there:
                raise WorkflowError(
                    f"{option}: there is no rule {name}, but {', '.join(there)}"
                )
    without = any(not run.gpus for run in RUNS.values())
    for name in ("train", "evaluate"):
        if without and "gpu_model" in resources.get(name, {}):
            raise WorkflowError(
                f"set-resources: {name} has a gpu_model, but there are runs without GPUs"
                " (training.gpus = 0); to leave out what the profile says for GPUs give, for"
                " example, --set-resources train:slurm_partition=cpu"
            )


def get_results(wildcards):
    return RESULTS


def raised(amount):
    """Return the function that gives a resource: an amount, and as much more on each attempt."""
    return lambda wildcards, attempt: attempt * amount


@lru_cache
def sources(*modules):
    """Return the source files that stages run: their modules and what those import."""
    return sorted(
        os.path.relpath(source_of(name), workflow.basedir) for name in closure(*modules)
    )


# Texts of the user reach params through functions: Snakemake would take a {brace} in a plain
# string for a wildcard.


def options(section, only=None, leave_out=None):
    """Return the function that gives a section of the configuration as command line options."""
    words = []
    values = section.model_dump(mode="json", include=only, exclude=leave_out)
    for key, value in values.items():
        flag = f"--{key.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list):
            words += [word for entry in value for word in (flag, str(entry))]
        elif value is not None:
            words += [flag, str(value)]
    text = shlex.join(words)
    return lambda wildcards: text


def get_settings(wildcards):
    return settings.model_dump_json()


# Inputs and parameters of corpus.smk


def get_dump(wildcards):
    return DUMPS[wildcards.dump]


def get_blocklist(wildcards):
    return str(settings.links.blocklist) if settings.links.blocklist else []


def get_forgotten(wildcards):
    """Return the entries that concern a shard: another one reruns its jobs and no other's."""
    return FORGOTTEN.of_shard(int(wildcards.shard), len(SHARDS))


def get_forgotten_in_corpus(wildcards):
    """Return all entries where the documents of a corpus have an address."""
    addressed = settings.corpora[wildcards.corpus].format in WITH_ADDRESSES
    return FORGOTTEN.entries if addressed else []


def get_forgotten_file(wildcards):
    """Return the list of what is to be forgotten, if any of it concerns a shard."""
    shard, shards = int(wildcards.shard), len(SHARDS)
    return unheeded(
        f"{RESULTS}/links/shards/lineage/{shard}.json",
        lambda forgotten: forgotten.of_shard(shard, shards),
    )


def get_forgotten_file_of_corpus(wildcards):
    """Return the list of what is to be forgotten, if any of it concerns a corpus."""
    if not get_forgotten_in_corpus(wildcards):
        return []
    manifest = f"{RESULTS}/corpora/lineage/{wildcards.corpus}.json"
    return unheeded(manifest, lambda forgotten: forgotten.entries)


def unheeded(manifest, concerned):
    """Return the list of what is to be forgotten, where an entry concerns the job of a manifest.

    To Snakemake it is new only where the job has left out others than are listed. The parameters
    tell as much, but not without Snakemake's records, as in results that were copied elsewhere.
    """
    if not concerned(FORGOTTEN):
        return []
    path = str(settings.forgotten)
    try:
        statistics = json.loads(Path(manifest).read_bytes())["statistics"]
        then = Forgotten(statistics.get(OUTCOME, []))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return path  # no manifest that tells
    return ancient(path) if concerned(then) == concerned(FORGOTTEN) else path


# The commands are given the whole list, for redirects lead anywhere. Snakemake records no parameter
# that takes the threads, and so not the name of the list, which changes nothing.
def get_forgotten_list(wildcards, threads):
    return shlex.quote(str(settings.forgotten))


def get_archive(wildcards):
    return ARCHIVES[wildcards.archive]


def get_shard(wildcards):
    return wildcards.shard


def get_site(wildcards):
    return "<results>/sample/site.parquet" if settings.crawl.proxy == "sample" else []


def given(flag, name):
    """Return the function that gives the option for an input's files, if there are any."""
    return lambda wildcards, input: " ".join(
        f"{flag} {shlex.quote(path)}" for path in _paths(input.get(name, []))
    )


def _paths(files):
    return [files] if isinstance(files, str) else files


def get_source(wildcards):
    path = settings.corpora[wildcards.corpus].path
    return SAMPLE_CORPORA[wildcards.corpus] if path == "sample" else str(path)


def get_corpus_options(wildcards):
    corpus = settings.corpora[wildcards.corpus]
    return options(corpus, only={"format", "maximum_words"})(wildcards)


def get_split_memory(wildcards, attempt):
    """Return MB for the check for leaks: 90 bytes a word of the test split, at 1.4 tokens each."""
    return attempt * max(8000, (settings.split.test_tokens or 0) * 90 // 1_400_000)


# Inputs and parameters of tokens.smk


def get_tokenizer_file(wildcards):
    return str(settings.tokenizer.file) if settings.tokenizer.file else []


def get_corpus(wildcards):
    return wildcards.corpus


def get_documents(wildcards):
    folder = "corpus" if wildcards.corpus in ("train", "test") else "corpora"
    return f"<results>/{folder}/{wildcards.corpus}.parquet"


# Inputs and parameters of runs.smk


def get_spec(wildcards):
    return RUNS[wildcards.run].spec.model_dump_json()


def get_training_cost(wildcards):
    """Return the FLOP of a run: the longest starts first, so that no core idles at the end."""
    spec = RUNS[wildcards.run].spec
    return spec.C(spec.steps, "full")


def get_gpus(wildcards):
    return RUNS[wildcards.run].gpus


def several(attempt):
    """Return how many times the memory of the first attempt: most others are for want of time."""
    return min(attempt, 3)


def get_training_memory(wildcards, attempt):
    """Return MB of main memory of a machine: PyTorch in each process, and the run."""
    run = RUNS[wildcards.run]
    if not run.gpus:
        return several(attempt) * (2000 + run.memory // 1_000_000)
    processes = run.gpus // run.nodes
    return several(attempt) * (4000 * processes + run.main_memory // 1_000_000)


def get_cpus_per_gpu(wildcards):
    """Return the processors of each process of a run on GPUs; `threads` are those of one."""
    return settings.training.threads if RUNS[wildcards.run].gpus else None


@lru_cache
def expected_seconds(run):
    """Return how long a run trains, and how long its evaluation takes, by the plan."""
    entry = RUNS[run]
    times = TIMES or cost.assumed(entry)
    if times is None:
        return UNKNOWN
    evaluation = cost.evaluation_seconds(entry, settings, times)
    return cost.training_seconds(entry, times), evaluation


def minutes_to_ask(seconds, attempt):
    """Return minutes: twice what the plan expects, and some to start."""
    minutes = attempt * (5 + round(2 * seconds / 60))
    return min(minutes, settings.hardware.job_minutes or minutes)


def get_training_minutes(wildcards, attempt):
    training, _ = expected_seconds(wildcards.run)
    return minutes_to_ask(training, attempt)


def get_evaluation_minutes(wildcards, attempt):
    _, evaluation = expected_seconds(wildcards.run)
    return minutes_to_ask(evaluation, attempt)


def get_group(wildcards):
    """Return the group of the runs of minutes, some of which share a job of a scheduler.

    Its time is that of all in it, of which a partition's limit may not hold so many.
    """
    if sum(expected_seconds(wildcards.run)) > SHORT:
        return None
    limit = settings.hardware.job_minutes
    members = workflow.group_settings.group_components.get("short_runs", 1)
    each = [minutes_to_ask(seconds, 1) for seconds in expected_seconds(wildcards.run)]
    return None if limit and members * sum(each) > limit else "short_runs"


def alone_if_sent(slots):
    """Return slots of GPUs as a resource: all there are in a job of a scheduler.

    The jobs of a group take turns there, on CPUs too. So it asks for what one of them needs, and
    for the time of all.
    """
    return sys.maxsize if workflow.non_local_exec else slots


def get_gpu_slots(wildcards):
    return alone_if_sent(RUNS[wildcards.run].slots)


def get_nodes(wildcards):
    """Return on how many machines the GPUs of a run have to be; None for a GPU, or none."""
    run = RUNS[wildcards.run]
    return run.nodes if run.gpus > 1 else None


def get_tasks(wildcards):
    """Return how many tasks a scheduler starts, one a machine; None on one."""
    nodes = RUNS[wildcards.run].nodes
    return nodes if nodes > 1 else None


def get_launcher(wildcards):
    """Return what starts the processes of a run on several machines; None on one."""
    return "srun" if RUNS[wildcards.run].nodes > 1 else None


def get_tasks_per_gpu(wildcards):
    """Return 0 on several machines, where a task is a machine's; None on one."""
    return 0 if RUNS[wildcards.run].nodes > 1 else None


def get_evaluation_corpora(wildcards):
    return [f"{RESULTS}/tokens/{name}.bin" for name in EVALUATION_CORPORA]


def get_evaluation_gpus(wildcards):
    return min(RUNS[wildcards.run].gpus, 1)


def evaluation_slots(wildcards):
    return min(RUNS[wildcards.run].slots, settings.hardware.gpu_slots)


def get_evaluation_slots(wildcards):
    return alone_if_sent(evaluation_slots(wildcards))


def get_evaluation_memory(wildcards, attempt):
    """Return MB of main memory: PyTorch, and weights twice, as read and in the model."""
    return several(attempt) * (2000 + 8 * RUNS[wildcards.run].spec.N_total // 1_000_000)


def get_evaluation_device(wildcards, resources):
    return "cuda" if resources.gpu else "cpu"


def on_gpus(gpus, slots):
    """Return the start of a command that shall have GPUs with room for it, and see no others."""
    return (
        f"scaling-laws on-gpus --gpus {gpus} --slots {slots}"
        f" --slots-per-gpu {settings.hardware.gpu_slots} -- "
    )


def get_processes(wildcards, resources):
    """Return the command that starts one process a GPU, or one."""
    run = RUNS[wildcards.run]
    elsewhere = (
        workflow.non_local_exec or workflow.dryrun or "SLURM_JOB_ID" in os.environ
    )
    if run.nodes > 1 and not elsewhere:
        raise WorkflowError(
            f"{wildcards.run}: training.gpus = {run.gpus} are those of {run.nodes} machines "
            f"(hardware.gpus_per_node = {settings.hardware.gpus_per_node}), and Snakemake starts"
            " jobs on this one; give --profile profiles/slurm, or fewer GPUs"
        )
    torchrun = f"torchrun --nproc-per-node={run.gpus // run.nodes} --no-python"
    if run.nodes > 1:
        # The processes meet on the machine where the job starts, at a port of its own.
        return (
            f"srun --nodes={run.nodes} --ntasks={run.nodes} {torchrun} --nnodes={run.nodes}"
            " --rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID"
            " --rdzv-endpoint=$(hostname):$((20000 + SLURM_JOB_ID % 10000)) -- scaling-laws"
        )
    if not resources.gpu:
        return "scaling-laws"
    if run.gpus > 1:
        return on_gpus(run.gpus, settings.hardware.gpu_slots) + (
            f"{torchrun} --standalone -- scaling-laws"
        )
    return on_gpus(1, run.slots) + "scaling-laws"


def get_evaluation(wildcards, resources):
    """Return the command that starts an evaluation."""
    if not resources.gpu:
        return "scaling-laws"
    return on_gpus(1, evaluation_slots(wildcards)) + "scaling-laws"


# What depends on threads or resources is not recorded by Snakemake: a run is not made anew
# because it would now be trained on other hardware, or saved more often.
def get_training_options(wildcards, threads, resources):
    words = [
        f"--threads {threads}",
        f"--device {'cuda' if resources.gpu else 'cpu'}",
        f"--checkpoint-minutes {settings.training.checkpoint_minutes}",
    ]
    if settings.training.compile:
        words.append("--compiled")
    if RUNS[wildcards.run].sharded:
        words.append("--sharded")
    if settings.hardware.scratch:
        words.append(f"--scratch {shlex.quote(settings.hardware.scratch)}")
    return " ".join(words)


def get_runs(wildcards):
    """Return the files of the runs of a study that its tables gather."""
    names = [name for name, run in RUNS.items() if wildcards.study in run.studies]
    files = ("curve.parquet", "run.json", "evaluation.parquet", "positions.parquet")
    return [f"<results>/runs/{name}/{file}" for name in names for file in files]


def get_table_folders(wildcards):
    return " ".join(f"--studies {RESULTS}/tables/{study}" for study in STUDIES)


def get_plan_settings(wildcards):
    """Return what the runs of a study, or of all, depend on, as JSON."""
    wanted = wildcards.get("study")
    keys = {"tokenizer", "training", "studies"}
    if not wanted:  # the tables of a study shall not depend on prices
        keys |= {"hardware", "evaluation", "corpora"}
    speed = {
        "training": {"threads", "compile", "checkpoint_minutes"},
        "hardware": {"scratch"},
    }
    relevant = settings.model_dump(mode="json", include=keys, exclude=speed)
    if wanted:
        relevant["studies"] = {wanted: relevant["studies"][wanted]}
    return json.dumps(relevant)


# Inputs and parameters of laws.smk


def get_law_tables(wildcards):
    studies = settings.fits.laws[wildcards.law]
    return expand(
        "<results>/tables/{study}/{table}.parquet", study=studies, table=TABLES
    )


def get_law_folders(wildcards):
    return [f"{RESULTS}/tables/{study}" for study in settings.fits.laws[wildcards.law]]


# Inputs and parameters of report.smk


def get_titles(wildcards):
    return json.dumps({name: corpus.title for name, corpus in settings.corpora.items()})


def get_figure_code(wildcards):
    return sources("figures.draw", f"figures.{wildcards.figure}")


def get_figure_tables(wildcards):
    return expand(
        "<results>/tables/{study}/{table}.parquet",
        study=reads_studies(wildcards.figure, STUDIES),
        table=TABLES,
    )


def get_figure_fits(wildcards):
    laws = reads_laws(wildcards.figure, settings.fits.laws)
    return expand("<results>/fits/{law}.json", law=laws)


def get_figure_files(wildcards):
    return [f"<results>/{name}" for name in FIGURES[wildcards.figure].files]


def get_figure_studies(wildcards):
    return ",".join(reads_studies(wildcards.figure, STUDIES))


def get_figure_laws(wildcards):
    return ",".join(reads_laws(wildcards.figure, settings.fits.laws))


def get_figure_caption(wildcards):
    return f"{FIGURES[wildcards.figure].title}. {FIGURES[wildcards.figure].caption}"


def get_figure_category(wildcards):
    return "Figures of the paper" if wildcards.figure in PAPER else "Further figures"


def get_figure_labels(wildcards):
    return {"figure": FIGURES[wildcards.figure].title}


def get_judged_tables(wildcards):
    studies = sorted({study for law in JUDGED for study in settings.fits.laws[law]})
    return expand(
        "<results>/tables/{study}/{table}.parquet", study=studies, table=TABLES
    )


def get_judged_laws(wildcards):
    return " ".join(
        f"{law}={','.join(f'{RESULTS}/tables/{study}' for study in settings.fits.laws[law])}"
        for law in JUDGED
    )


def get_convention_tables(wildcards):
    studies = [study for study in ("model_size", "matched") if study in STUDIES]
    return expand(
        "<results>/tables/{study}/{table}.parquet", study=studies, table=TABLES
    )


def get_convention_studies(wildcards):
    words = []
    if "model_size" in STUDIES:
        words.append(f"{RESULTS}/tables/model_size")
    if "matched" in STUDIES:
        words.append(f"--matched {RESULTS}/tables/matched")
    return " ".join(words)


def get_convention_fits(wildcards):
    return expand("<results>/fits/{law}.json", law=CONVENTION_LAWS)


def get_convention_laws(wildcards):
    return " ".join(f"--fitted {law}" for law in CONVENTION_LAWS)


# Snakemake asks for the parameters of each of these functions, for each of thousands of jobs.
for function in [value for name, value in globals().items() if name.startswith("get_")]:
    function.__signature__ = inspect.signature(function)
