"""What became of the links of all shards: by reason, and host by host."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd

from scaling_laws.corpus.crawl.addresses import hosts_of
from scaling_laws.output import atomic
from scaling_laws.tables import read_batches

WORDS = (
    *("ok", "robots", "http_error", "timeout", "too_large", "wrong_type", "blocked_address"),
    *("dns", "tls", "redirects", "connection", "truncated", "forgotten"),
)
"""All outcomes that a link can have."""

COLUMNS = ("url", "outcome", "detail", "bytes", "seconds")


def outcomes(tables: list[Path], *, reasons: Path, hosts: Path) -> dict[str, object]:
    """Count the outcomes of crawled links by reason and by host.

    Args:
        tables: Parquet files of outcomes, one a shard.
        reasons: CSV file of the reasons: outcome, detail with its quantities written N, number and
            share of the links; the most frequent first.
        hosts: CSV file of the hosts that links lead to: host, number of links, number with each
            outcome, bytes kept and mean seconds of a link; the host with most links first.

    Raises:
        InputError: When a table is missing or is none of outcomes.
    """
    by_reason: Counter[tuple[str, str]] = Counter()
    by_host: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path in tables:
        for batch in read_batches(path, COLUMNS, nullable=["detail"]):
            found = batch.to_pydict()
            found_hosts = hosts_of(batch["url"]).to_pylist()
            by_reason.update(zip(found["outcome"], map(grouped, found["detail"]), strict=True))
            rows = zip(found_hosts, found["outcome"], found["bytes"], found["seconds"], strict=True)
            for host, outcome, kept, seconds in rows:
                by_host[host].update({"links": 1, outcome: 1, "bytes": kept, "seconds": seconds})
    links = by_reason.total()
    shares = [
        (outcome, detail, count, count / links)
        for (outcome, detail), count in sorted(by_reason.items(), key=lambda row: (-row[1], row[0]))
    ]
    _write_csv(pd.DataFrame(shares, columns=["outcome", "detail", "links", "share"]), reasons)
    counts = [
        (
            host,
            found["links"],
            *(found[word] for word in WORDS),
            found["bytes"],
            found["seconds"] / found["links"],
        )
        for host, found in sorted(by_host.items(), key=lambda row: (-row[1]["links"], row[0]))
    ]
    columns = ["host", "links", *WORDS, "bytes", "seconds"]
    _write_csv(pd.DataFrame(counts, columns=columns), hosts)
    totals = Counter({outcome: 0 for outcome, _ in by_reason})
    for (outcome, _), count in by_reason.items():
        totals[outcome] += count
    return {"links": links, "hosts": len(by_host), "outcomes": dict(totals.most_common())}


def grouped(detail: str | None) -> str:
    """Return a reason with its quantities written N, so that equal ones count as one.

    The status in "HTTP 404" is no quantity.
    """
    return re.sub(r"(?<!HTTP )\b\d+(\.\d+)?(e[+-]?\d+)?\b", "N", detail or "")


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6g")
