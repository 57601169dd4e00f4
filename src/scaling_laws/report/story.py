"""The story of the data: how many links, pages, documents and tokens each stage left."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from scaling_laws.errors import InputError


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


def data_story(results: Path) -> Story:
    """Count rows and tokens in the files of the corpus stages.

    A user who brings only training runs has none of these files: what is absent is listed, not
    an error.
    """
    story = Story()
    _count(story, results, "Links selected", "links/links.parquet")
    _count(story, results, "Submissions rejected", "links/rejected.parquet", by="reason")
    _count(story, results, "Links crawled", "crawl/*.parquet", by="outcome")
    _count(story, results, "Documents extracted", "documents/*.parquet", without=".rejected.")
    _count(story, results, "Pages rejected", "documents/*.rejected.parquet", by="reason")
    _count(story, results, "Documents after deduplication", "corpus/documents.parquet")
    _count(story, results, "Duplicates dropped", "corpus/duplicates.parquet", by="kind")
    _count(story, results, "Documents for training", "corpus/train.parquet")
    _count(story, results, "Documents held out for testing", "corpus/test.parquet")
    for path in sorted((results / "corpora").glob("*.parquet")):
        if ".rejected." not in path.name:
            _count(story, results, f"Documents of {path.stem}", f"corpora/{path.name}")
    found = sorted((results / "tokens").glob("*.json"))
    for path in found:
        counts = json.loads(path.read_text())
        # The tokenizer's own file stands in the same folder.
        if "tokens" in counts and "documents" in counts:
            story.tokens.append((path.stem, counts["documents"], counts["tokens"]))
    if not story.tokens:
        story.absent.append("tokens/*.json")
    return story


def _count(
    story: Story, results: Path, what: str, pattern: str, *, by: str = "", without: str = "\0"
) -> None:
    """Add the number of rows of the Parquet files that match, and the counts of a column."""
    paths = [path for path in sorted(results.glob(pattern)) if without not in path.name]
    if not paths:
        story.absent.append(pattern)
        return
    rows, values = 0, Counter[str]()
    for path in paths:
        file = pq.ParquetFile(path)
        rows += file.metadata.num_rows
        if by and by not in file.schema_arrow.names:
            raise InputError(f"{path}: no column {by}; found {', '.join(file.schema_arrow.names)}")
        if by:
            values.update(map(str, file.read(columns=[by])[by].to_pylist()))
    parts = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    story.stages.append((what, rows, ", ".join(f"{value}: {n:,}" for value, n in parts)))
