"""The story of the data: how many links, pages, documents and tokens each stage left."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from scaling_laws.report.contents import Contents
from scaling_laws.tables import open_table


@dataclass
class Story:
    """Counts along the road from links to tokens, and the files that were not there.

    Attributes:
        stages: Name of what is counted, count, and remark.
        tokens: Corpus, documents, tokens.
        absent: Files, relative to the results, that were looked for and not found.
    """

    stages: list[tuple[str, int, str]] = field(default_factory=list)
    tokens: list[tuple[str, int, int]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def data_story(results: Path, shown: Contents) -> Story:
    """Count rows and tokens in the files of the corpus stages.

    A user who brings only training runs has none of these files: what is absent is listed, not
    an error.
    """
    story = Story()

    def count(what: str, pattern: str, names: frozenset[str] | None = None, by: str = "") -> None:
        _count(story, results, what, pattern, names, by)

    count("Links selected", "links/links.parquet")
    count("Submissions rejected", "links/rejected.parquet", by="reason")
    count("Links crawled", "crawl/*.parquet", shown.shards, by="outcome")
    count("Documents extracted", "documents/*.parquet", shown.shards)
    count("Pages rejected", "documents/*.rejected.parquet", shown.shards, by="reason")
    count("Documents after deduplication", "corpus/documents.parquet")
    count("Duplicates dropped", "corpus/duplicates.parquet", by="kind")
    count("Near duplicates of test documents dropped from training", "corpus/leaks.parquet")
    count("Documents for training", "corpus/train.parquet")
    count("Documents held out for testing", "corpus/test.parquet")
    for path in _current(results, "corpora/*.parquet", shown.corpora):
        count(f"Documents of {path.stem}", f"corpora/{path.name}")
    for path in _current(results, "tokens/*.json", shown.corpora):
        counts = json.loads(path.read_text())
        # The tokenizer's own file stands in the same folder.
        if "tokens" in counts and "documents" in counts:
            story.tokens.append((path.stem, counts["documents"], counts["tokens"]))
    if not story.tokens:
        story.absent.append("tokens/*.json")
    return story


def _current(results: Path, pattern: str, names: frozenset[str] | None) -> list[Path]:
    """Return the files that match and belong to `names`; those of rejections only if asked for."""
    return [
        path
        for path in sorted(results.glob(pattern))
        if (".rejected." in pattern) == (".rejected." in path.name)
        and (names is None or path.name.partition(".")[0] in names)
    ]


def _count(
    story: Story, results: Path, what: str, pattern: str, names: frozenset[str] | None, by: str
) -> None:
    """Add the number of rows of the Parquet files that match, and the counts of a column."""
    paths = _current(results, pattern, names)
    if not paths:
        story.absent.append(pattern)
        return
    rows, values = 0, Counter[str]()
    for path in paths:
        table = open_table(path, [by] if by else [])
        rows += table.metadata.num_rows
        if by:
            values.update(map(str, table.read(columns=[by])[by].to_pylist()))
    parts = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    story.stages.append((what, rows, ", ".join(f"{value}: {n:,}" for value, n in parts)))
