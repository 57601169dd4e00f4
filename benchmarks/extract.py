"""Pages that the extract command does per CPU second, against Newspaper3k alone.

Usage: python benchmarks/extract.py

Both have the same pages: news articles of the sample packages in the layout of the sample web if
`resources/packages` is there, and else made-up ones. Newspaper3k's `Article.set_html` and `parse`
run in this process on pages that were decoded beforehand. The command is run as a user runs it:
its CPU seconds are those of all its processes, from the start of the interpreter to the end.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from newspaper import Article
from w3lib.encoding import html_to_unicode

from bars import Bar, show
from scaling_laws.corpus.crawl.warc import page_record
from scaling_laws.corpus.links.urls import url_id
from scaling_laws.sample import pages as sample

PACKAGES = Path("resources/packages")
PAGES, REPEATS, WORKERS, LEAST = 2000, 3, (1, 2), 0.9
PR_SET_CHILD_SUBREAPER = 36  # of prctl(2)


def measure() -> list[Bar]:
    """Return the rates of the command, with one worker and with two, over Newspaper3k's."""
    # The server that forks the workers outlives the command by a moment; it is waited for here.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    pages = news()
    html = [html_to_unicode(page.content_type, page.body)[1] for page in pages]
    alone: list[float] = []
    command: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    start_up: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        full, single = folder / "pages.warc.gz", folder / "page.warc.gz"
        write(full, pages)
        write(single, pages[:1])
        for _ in range(REPEATS):
            alone.append(newspaper(pages, html))
            for workers in WORKERS:
                command[workers].append(extract(full, workers))
            start_up.append(extract(single, 1))
    theirs = PAGES / median(alone)
    bars = []
    for workers, seconds in command.items():
        ours = PAGES / median(seconds)
        without = PAGES / (median(seconds) - median(start_up))
        detail = (
            f"{ours:.0f} of {theirs:.0f} pages per CPU second on {PAGES} pages; start-up takes "
            f"{median(start_up):.1f} CPU seconds, and without it there are {without:.0f}"
        )
        what = f"pages per CPU second, of newspaper3k's, workers {workers}"
        ratio = ours / theirs
        bars.append(Bar("extract", what, ratio, f">= {LEAST}", ratio >= LEAST, detail))
    return bars


def newspaper(pages: list[sample.Page], html: list[str]) -> float:
    """Return the CPU seconds that Newspaper3k takes."""
    started = time.process_time()
    for page, text in zip(pages, html, strict=True):
        article = Article(page.url, language="en", fetch_images=False)
        article.set_html(text)
        article.parse()
    return time.process_time() - started


def extract(warc: Path, workers: int) -> float:
    """Return the CPU seconds that the command takes, with all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [Path(sys.executable).with_name("scaling-laws"), "extract", warc]
    outputs = ["--output", warc.with_name("o.parquet"), "--rejected", warc.with_name("r.parquet")]
    subprocess.run([*command, *outputs, "--workers", str(workers)], check=True, capture_output=True)
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def news() -> list[sample.Page]:
    """Return pages of news."""
    chance = random.Random(0)
    if PACKAGES.is_dir():
        return sample.article_pages(sample.news(PACKAGES, PAGES, chance), chance)
    words = ["the", "of", "and", "to", "in", "a", "is", "that", "it", "was", "for", "on", "are"]
    words += [f"{chance.choice('bdfgklmnprst')}{chance.choice('aeiou')}ta{n}" for n in range(3000)]
    articles = [
        sample.Article(
            f"http://www.news.example/{number}",
            " ".join(chance.choices(words, k=8)).title(),
            "2017-11-01",
            tuple(
                " ".join(chance.choices(words[:13], k=10) + chance.choices(words, k=10)) + "."
                for _ in range(chance.randrange(5, 60))
            ),
        )
        for number in range(PAGES)
    ]
    return sample.article_pages(articles, chance)


def write_news(path: Path, count: int) -> None:
    """Write the first pages of news, from a process that then has their memory no more."""
    write(path, news()[:count])


def write(path: Path, pages: list[sample.Page]) -> None:
    """Write pages as the crawl does."""
    date = datetime(2017, 11, 30, tzinfo=UTC)
    path.write_bytes(
        b"".join(
            page_record(
                url_id(page.url),
                page.url,
                date,
                "OK",
                [("Content-Type", page.content_type)],
                page.body,
            )
            for page in pages
        )
    )


if __name__ == "__main__":
    show(measure())
