"""What a grid of thousands of runs and a corpus of millions of documents take, by measurement.

Usage: python benchmarks/scale.py [PAGE]

Grids are generated: config/paper.yaml with 50 shapes of as many seeds as it takes, whose runs are
planned and whose jobs Snakemake lists in a dry run. Of the corpus each stage is run, as its
command, on two amounts of made data; the line through both gives what config/webtext.yaml's jobs
take at 20 million documents, CPU seconds with all child processes and peak memory of one. Prints
the tables and writes them to PAGE. Exit code 1 when a dry run takes more than it may.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import pyarrow.parquet as pq
import yaml

import crawl
import dedup
import extract
import links
from report import machine
from scaling_laws import config
from scaling_laws.studies import grid as planned_grid

ROOT = Path(__file__).parents[1]
PAPER = Path("config/paper.yaml")
RUNS, SHAPES, REPEATS = (500, 5000), 50, 3
SECONDS, GIGABYTES = 30.0, 1.0  # that a dry run of the largest grid may take
GROWTH = 1.1  # of seconds a job, from the smallest grid to the largest: linear but for noise
DOCUMENTS = 20_000_000
# What such a corpus comes from: the links of WebText (Radford et al. 2019), and the submissions of
# Reddit's dumps up to April 2019 (Baumgartner et al. 2020), a monthly dump each from June 2005.
LINKS, LINES, DUMPS = 45_000_000, 651_778_198, 167
TEST = 0.029  # share of the test split, 6.6e8 of 2.29e10 tokens (paper, section 2.3)
AMOUNTS = {  # of lines, links, pages and documents that are measured
    "links": (100_000, 400_000),
    "crawl": (3_000, 12_000),
    "extract": (400, 1_600),
    "documents": (20_000, 80_000),
}
SHARDS = 4
WORDS = (500, 900)  # of a document
VOCABULARY = 32_768  # the made text has no more
PEERS = ("snakemake", "pyarrow", "tokenizers")


class Cost(NamedTuple):
    """What a command took.

    Attributes:
        amount: Lines, links or documents that it was given.
        seconds: CPU seconds, of child processes too.
        peak: Greatest resident memory of a process of it, in bytes.
        written: Bytes of its outputs.
    """

    amount: int
    seconds: float
    peak: float
    written: float

    def at(self, other: Cost, amount: float) -> Cost:
        """Return the cost of another amount, by the line through this one and a larger one."""

        def line(small: float, large: float) -> float:
            slope = max(large - small, 0.0) / (other.amount - self.amount)
            return max(small - slope * self.amount, 0.0) + slope * amount

        return Cost(round(amount), *map(line, self[1:], other[1:]))


class Stage(NamedTuple):
    """A stage at the size that is asked about.

    Attributes:
        name: Its command.
        of: What its amount counts.
        jobs: How many jobs it is.
        job: What one of them takes.
    """

    name: str
    of: str
    jobs: int
    job: Cost


def run(words: Sequence[object], amount: int = 0, outputs: Iterable[Path] = ()) -> Cost:
    """Give a command in the root of the repository, and return what it took."""
    watch = [sys.executable, str(ROOT / "benchmarks/watch.py")]
    done = subprocess.run(
        [*watch, *map(str, words)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    code, seconds, peak = done.stdout.split()
    if code != "0":
        raise RuntimeError(f"{words[1]}: exit code {code}: {done.stderr[-2000:]}")
    written = sum(path.stat().st_size for path in outputs)
    return Cost(amount, float(seconds), float(peak), written)


def scaling_laws(*words: object, amount: int, outputs: Iterable[Path]) -> Cost:
    """Give a command of ours, and return what it took."""
    return run([Path(sys.executable).with_name("scaling-laws"), *words], amount, outputs)


# Grids


def grid(runs: int, folder: Path) -> Path:
    """Write an overlay that makes the paper's grid one of that many runs, and return it."""
    paper = planned_grid.runs(config.load([PAPER])).values()
    wanted = runs - sum(run.studies != ["model_size"] for run in paper)
    shapes = [
        {
            "n_layer": 2 + number % 4,
            "d_model": 72 + 32 * number,  # none of the paper's
            "n_head": 2,
            "seeds": [*range(wanted // SHAPES + (number < wanted % SHAPES))],
        }
        for number in range(SHAPES)
    ]
    path = folder / f"{runs}.yaml"
    path.write_text(yaml.safe_dump({"studies": {"model_size": {"shapes": shapes}}}))
    return path


def grids(folder: Path) -> tuple[list[str], bool]:
    """Return the lines about grids, and whether dry runs take no more than they may."""
    lines = [
        "| runs | jobs | dry run: CPU s | of a bare one | memory | CPU ms a job | plan: CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    found = []
    for runs in RUNS:
        overlays = [PAPER, grid(runs, folder)]
        results = "results=results-scale"  # where nothing is
        words = ["snakemake", "--dry-run", "--nolock", "--cores", "1", "--configfile", *overlays]
        jobs, trained = counted([*words, "--config", results])
        bare = ["snakemake", "--dry-run", "--cores", "1", "--directory", folder]
        bare += ["--snakefile", bare_workflow(jobs, folder)]
        # What else the machine does adds to the seconds, so the least of some is the nearest.
        turns = [(run([*words, "--config", results]), run(bare)) for _ in range(REPEATS)]
        dry, floor = (min(costs) for costs in zip(*turns, strict=True))
        planned = run(
            [Path(sys.executable).with_name("scaling-laws"), "plan"]
            + [word for overlay in overlays for word in ("--configfile", overlay)]
        )
        found.append((jobs, dry))
        lines.append(
            f"| {trained:,} | {jobs:,} | {dry.seconds:.1f} | "
            f"{dry.seconds / floor.seconds:.1f} times | {dry.peak / 1e6:,.0f} MB | "
            f"{1000 * dry.seconds / jobs:.1f} | {planned.seconds:.1f} |"
        )
    (few, small), (many, large) = found[0], found[-1]
    growth = large.seconds / many / (small.seconds / few)
    lines += ["", f"CPU seconds a job grow by {growth:.2f} from the first grid to the last."]
    met = large.seconds <= SECONDS and large.peak <= 1e9 * GIGABYTES and growth <= GROWTH
    return lines, met


def bare_workflow(jobs: int, folder: Path) -> Path:
    """Write a workflow of as many jobs, pairs of them and one for all, with nothing but names."""
    path = folder / f"{jobs}.smk"
    path.write_text(
        f"""\
RUNS = range({jobs // 2})
rule all:
    input: "all"
rule train:
    output: "{{run}}/a"
    shell: "touch {{output}}"
rule evaluate:
    input: "{{run}}/a"
    output: "{{run}}/b"
    shell: "touch {{output}}"
rule collect:
    input: expand("{{run}}/b", run=RUNS)
    output: "all"
    shell: "cat {{input}} > {{output}}"
"""
    )
    return path


def counted(words: Sequence[object]) -> tuple[int, int]:
    """Return how many jobs a dry run lists, and how many of them train a run."""
    said = subprocess.run(
        [str(word) for word in (*words, "--quiet", "all")],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split() for line in (said.stdout + said.stderr).splitlines()]
    counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    return counts["total"], counts["train"]


# The corpus


def stages(folder: Path) -> list[Stage]:
    """Measure the stages of the corpus, and return what each takes at the size asked about."""
    contact = folder / "contact.yaml"
    contact.write_text("crawl: {contact: me@university.edu}\n")
    settings = config.load([Path("config/webtext.yaml"), contact])
    shards, parts = settings.links.shards, settings.dedup.parts
    whole, a_shard = ("documents", 1, DOCUMENTS), ("documents", shards, DOCUMENTS / shards)
    made = {
        "links": ("lines", DUMPS, LINES / DUMPS),
        "merge-links": ("submissions", shards, LINKS / shards),
        "crawl": ("links", shards, LINKS / shards),
        "extract": a_shard,
        "signatures": a_shard,
        "buckets": ("documents", parts, DOCUMENTS),
        **dict.fromkeys(("clusters", "dedup", "split", "tokenizer", "encode"), whole),
    }
    found = {**of_links(folder), "crawl": of_crawl(), "extract": of_extract(folder)}
    found |= of_documents(folder, settings)
    return [
        Stage(name, of, jobs, found[name][0].at(found[name][1], amount))
        for name, (of, jobs, amount) in made.items()
    ]


def apart(function: Callable[..., object], *arguments: object) -> None:
    """Call a function in a new process, whose memory no command that is measured inherits."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        process.submit(function, *arguments).result()


def of_links(folder: Path) -> dict[str, list[Cost]]:
    """Measure the selection from dumps, and the merging of what was selected into links."""
    found: dict[str, list[Cost]] = {"links": [], "merge-links": []}
    for lines in AMOUNTS["links"]:
        dump, taken = folder / f"RS_{lines}.zst", folder / f"{lines}.parquet"
        apart(links.write_dump, dump, lines, links.NARROW_WINDOW)
        outputs = [taken, folder / f"{lines}.rejected.parquet"]
        cost = scaling_laws(
            *("links", dump, "--output", taken, "--rejected", outputs[1], "--shards", 1),
            amount=lines,
            outputs=outputs,
        )
        # A dump of Pushshift's is read with a window of 2 GiB, which so few lines do not fill.
        found["links"].append(cost._replace(peak=cost.peak + 2**31 - 2**links.NARROW_WINDOW))
        outputs = [folder / "merged.parquet", folder / "merged.rejected.parquet"]
        found["merge-links"].append(
            scaling_laws(
                *("merge-links", taken, "--shard", 0, "--output", outputs[0]),
                *("--rejected", outputs[1]),
                amount=pq.read_metadata(taken).num_rows,
                outputs=outputs,
            )
        )
    return found


def of_crawl() -> list[Cost]:
    """Measure the crawl, from a server on loopback."""
    context = get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=crawl.serve, args=(there,), daemon=True)
    server.start()
    proxy = f"http://127.0.0.1:{here.recv()}"
    stored = fmean(len(gzip.compress(body)) for body in crawl.bodies())  # as in a WARC file
    found = []
    try:
        for pages in AMOUNTS["crawl"]:
            seconds, peak = crawl.measured(crawl.ours, crawl.addresses(pages), proxy)
            found.append(Cost(pages, seconds, peak * 1e6, pages * stored))
    finally:
        server.terminate()
        server.join()
    return found


def of_extract(folder: Path) -> list[Cost]:
    """Measure the extraction of text from pages of news."""
    found = []
    for pages in AMOUNTS["extract"]:
        warc = folder / f"{pages}.warc.gz"
        apart(extract.write_news, warc, pages)
        outputs = [folder / "text.parquet", folder / "text.rejected.parquet"]
        found.append(
            scaling_laws(
                *("extract", warc, "--output", outputs[0], "--rejected", outputs[1]),
                *("--workers", 1),
                amount=pages,
                outputs=outputs,
            )
        )
    return found


def of_documents(folder: Path, settings: config.Config) -> dict[str, list[Cost]]:
    """Measure all that is done with documents, from signatures to tokens."""
    found: dict[str, list[Cost]] = {}
    for documents in AMOUNTS["documents"]:
        home = folder / str(documents)
        home.mkdir()
        apart(write_documents, home, documents)
        for name, amount, words, outputs in commands(dedup.Corpus(home, SHARDS), settings):
            cost = scaling_laws(name, *words, amount=amount or documents, outputs=outputs)
            found.setdefault(name, []).append(cost)
    return {
        name: [mean(costs, amount) for amount in amounts(costs)] for name, costs in found.items()
    }


def amounts(costs: Sequence[Cost]) -> list[int]:
    """Return the amounts that were measured, the smaller first."""
    return sorted({cost.amount for cost in costs})


def mean(costs: Sequence[Cost], amount: int) -> Cost:
    """Return the mean cost of the jobs of an amount, and the greatest of their peaks."""
    _, seconds, peaks, written = zip(
        *(cost for cost in costs if cost.amount == amount), strict=True
    )
    return Cost(amount, fmean(seconds), max(peaks), fmean(written))


def write_documents(folder: Path, documents: int) -> None:
    """Write made documents in shards, one in ten a near copy of another."""
    texts = dedup.made_texts(2, documents, WORDS, copies=0.1)
    corpus = dedup.Corpus(folder, SHARDS)
    for shard in range(SHARDS):
        corpus.write(shard, list(islice(texts, documents // SHARDS)))


def commands(
    corpus: dedup.Corpus, settings: config.Config
) -> Iterator[tuple[str, int | None, list[object], list[Path]]]:
    """Yield the commands of a corpus: name, amount if not all documents, words and outputs."""
    sketch = settings.dedup
    for documents, table, output in zip(
        corpus.documents, corpus.links, corpus.signatures, strict=True
    ):
        words = [documents, "--links", table, "--output", output]
        words += ["--permutations", sketch.permutations]
        words += ["--miss-probability", sketch.miss_probability]
        yield "signatures", pq.read_metadata(documents).num_rows, words, [output]
    for part in range(sketch.parts):
        pairs = corpus.pairs.with_name(f"pairs-{part}.parquet")
        words = [*corpus.signatures, "--part", part, "--parts", sketch.parts, "--output", pairs]
        yield "buckets", None, words, [pairs]
    words = [*corpus.documents, "--output", corpus.kept, "--duplicates", corpus.duplicates]
    words += ["--test-fraction", TEST]
    words += [word for path in corpus.signatures for word in ("--signatures", path)]
    every = corpus.pairs.parent.glob("pairs-*.parquet")
    words += [word for path in every for word in ("--pairs", path)]
    yield "clusters", None, words, [corpus.kept, corpus.duplicates]
    words = [*corpus.documents, "--kept", corpus.kept, "--output", corpus.all]
    yield "dedup", None, words, [corpus.all]
    words = [corpus.all, "--train", corpus.train, "--test", corpus.test]
    words += ["--leaks", corpus.leaks, "--report", corpus.report]
    yield "split", None, words, [corpus.train, corpus.test]
    folder = corpus.all.parent
    tokenizer, tokens = folder / "tokenizer.json", folder / "train.bin"
    words = [corpus.train, "--output", tokenizer, "--vocab-size", VOCABULARY]
    yield "tokenizer", None, words, [tokenizer]
    words = [corpus.train, "--tokenizer-file", tokenizer, "--output", tokens]
    words += ["--summary", folder / "train.json", "--documents", folder / "train.documents.parquet"]
    yield "encode", None, words, [tokens]


HEAD = """\
# Scale

Written by `make scale`; do not edit. How it was measured stands at the top of
[benchmarks/scale.py](../benchmarks/scale.py).

"""


def main() -> int:
    """Measure, print, write the page if one is named, and return the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines, met = grids(folder)
        table = corpus_lines(stages(folder))
    text = "\n".join(
        [
            "## A grid of thousands of runs",
            "",
            f"config/paper.yaml with shapes of many seeds. A dry run of {max(RUNS):,} runs "
            f"shall take at most {SECONDS:.0f} CPU s and {GIGABYTES:.0f} GB, and CPU seconds a "
            f"job grow by at most {GROWTH} from the smallest grid: {'met' if met else 'not met'}. "
            "A bare dry run is that of as many jobs with nothing but names, in turns with ours; of "
            f"either the least of {REPEATS} is told.",
            "",
            *lines,
            "",
            f"## A corpus of {DOCUMENTS:,} documents",
            "",
            f"With the shards and parts of config/webtext.yaml, of {LINES:,} submissions in "
            f"{DUMPS} dumps and {LINKS:,} links. CPU hours are of one core of this machine; a "
            "crawl waits for servers besides. Peak memory is of a job's largest process. Lines go "
            f"through {AMOUNTS['documents'][0]:,} and {AMOUNTS['documents'][1]:,} documents at "
            "most: what takes minutes of 20 million is known roughly.",
            "",
            *table,
            "",
            f"Measured on {machine(PEERS)}.",
            "",
        ]
    )
    print(text)
    for page in sys.argv[1:]:
        Path(page).write_text(HEAD + text)
    return 0 if met else 1


def corpus_lines(found: Sequence[Stage]) -> list[str]:
    """Return the table of the stages."""
    lines = [
        "| stage | jobs | each of | CPU hours of a job | of all | peak memory | written by all |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage in found:
        hours = stage.job.seconds / 3600
        lines.append(
            f"| `{stage.name}` | {stage.jobs:,} | {stage.job.amount:,} {stage.of} | {hours:.3g} | "
            f"{hours * stage.jobs:.3g} | {stage.job.peak / 1e9:.1f} GB | "
            f"{stage.job.written * stage.jobs / 1e9:.3g} GB |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
