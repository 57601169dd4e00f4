"""What each stage of the corpus kept and what it dropped, counted for report and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.json_files import TokenFacts, read_object
from scaling_laws.output import atomic
from scaling_laws.tables import open_table, read_batches, shown

BINS = 20  # of similarities
COLUMNS = ("stage", "unit", "outcome", "reason", "count")


def flow(
    results: Path,
    *,
    shards: int,
    corpora: list[str] | None = None,
    threshold: float,
    output: Path,
    duplicates: Path,
) -> dict[str, object]:
    """Count what the stages from links to tokens kept and dropped, and why.

    Args:
        results: Folder of everything computed.
        shards: Number of crawl shards.
        corpora: Evaluation corpora beside the test split.
        threshold: Least similarity of near duplicates.
        output: CSV file: stage, unit of what is counted, outcome (kept, held out, dropped), reason,
            count.
        duplicates: CSV file: series (chance, found, threshold), similarity, value. The chance of a
            pair to become a candidate, and how many dropped documents were that similar to the one
            that was kept.

    Raises:
        InputError: When a file is missing, or is not what it should be.
    """
    numbers = [str(shard) for shard in range(shards)]
    rows: list[tuple[str, str, str, str, int]] = []

    def kept(stage: str, unit: str, count: int, outcome: str = "kept") -> None:
        rows.append((stage, unit, outcome, "", count))

    def dropped(stage: str, unit: str, paths: Sequence[Path], column: str) -> Counter[str]:
        reasons = _values(paths, column)
        rows.extend(
            (stage, unit, "dropped", why, n) for why, n in reasons.most_common() if why != "ok"
        )
        return reasons

    corpus = results / "corpus"
    kept("links", "pages", _rows([results / "links/links.parquet"]))
    dropped("links", "submissions", [results / "links/rejected.parquet"], "reason")
    fetched = dropped(
        "crawl", "pages", [results / f"crawl/{shard}.parquet" for shard in numbers], "outcome"
    )
    kept("crawl", "pages", fetched["ok"])
    kept(
        "extract", "documents", _rows([results / f"documents/{shard}.parquet" for shard in numbers])
    )
    rejected = [results / f"documents/{shard}.rejected.parquet" for shard in numbers]
    dropped("extract", "documents", rejected, "reason")
    kept("dedup", "documents", _rows([corpus / "documents.parquet"]))
    dropped("dedup", "documents", [corpus / "duplicates.parquet"], "kind")
    kept("split", "documents", _rows([corpus / "train.parquet"]))
    kept("split", "documents", _rows([corpus / "test.parquet"]), "held out")
    if leaks := _rows([corpus / "leaks.parquet"]):
        rows.append(("split", "documents", "dropped", "near a test document", leaks))
    for name in corpora or []:
        rows.append(
            ("corpora", "documents", "kept", name, _rows([results / f"corpora/{name}.parquet"]))
        )
    for name in ["train", "test", *(corpora or [])]:
        facts = read_object(results / f"tokens/{name}.json", TokenFacts)
        rows.append(("tokens", "documents", "kept", name, facts["documents"]))
        rows.append(("tokens", "tokens", "kept", name, facts["tokens"]))
    signatures = results / f"dedup/signatures/{numbers[0]}.parquet"
    table = _duplicates(signatures, corpus / "duplicates.parquet", threshold)
    with atomic(output) as partial:
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(partial, index=False)
    with atomic(duplicates) as partial:
        table.to_csv(partial, index=False)
    return {"rows": len(rows)}


def _rows(paths: Sequence[Path]) -> int:
    return sum(open_table(path).metadata.num_rows for path in paths)


def _values(paths: Sequence[Path], column: str) -> Counter[str]:
    found = Counter[str]()
    for path in paths:
        for batch in read_batches(path, [column]):
            found.update(map(str, batch[column].to_pylist()))
    return found


def _duplicates(signatures: Path, dropped: Path, threshold: float) -> pd.DataFrame:
    """Return the S-curve of the candidates, 1 - (1 - s^rows)^bands, and what was found."""
    schema = open_table(signatures).schema_arrow
    bands = sum(name.startswith("band_") for name in schema.names)
    noted = (schema.metadata or {}).get(b"rows", b"")
    if not bands or not noted.isdigit():
        raise InputError(f"{signatures}: no bands of rows; expected what `signatures` writes")
    rows = int(noted)
    s = np.linspace(0, 1, 101)
    chance = pd.DataFrame(
        {"series": "chance", "similarity": s, "value": 1 - (1 - s**rows) ** bands}
    )
    near = [
        similarity
        for batch in read_batches(dropped, ["kind", "jaccard"], nullable=["jaccard"])
        for kind, similarity in zip(
            batch["kind"].to_pylist(), batch["jaccard"].to_pylist(), strict=True
        )
        if kind == "near" and similarity is not None
    ]
    if wrong := [similarity for similarity in near if not _is_share(similarity)]:
        raise InputError(f"{dropped}: jaccard is {shown(wrong[0])}; expected a number up to 1")
    counts, edges = np.histogram(near, bins=BINS, range=(0, 1))
    middle = (edges[:-1] + edges[1:]) / 2
    found = pd.DataFrame({"series": "found", "similarity": middle, "value": counts})
    least = pd.DataFrame({"series": ["threshold"], "similarity": [threshold], "value": [np.nan]})
    return pd.concat([chance, found, least], ignore_index=True)


def _is_share(value: object) -> bool:
    return isinstance(value, float) and 0 <= value <= 1
