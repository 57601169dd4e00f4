"""Crawls as a user starts them, and what they leave behind."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from servers import ADDRESS, Answer, Server, listen
from warcio.archiveiterator import ArchiveIterator

NAMED = Path(__file__).with_name("named.py")
TOKEN = "scalingbot"
AGENT = f"{TOKEN}/1.0"
CONTACT = "https://scaling-laws.org/crawl"
OUTCOMES = {
    *("ok", "robots", "http_error", "timeout", "too_large", "wrong_type", "blocked_address"),
    *("dns", "tls", "redirects", "connection", "truncated", "forgotten"),
}


def url_id(url: str) -> str:
    """Return the name of a link."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


class Crawl:
    """A crawl of a table of links in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        urls: Sequence[str],
        *options: object,
        names: Mapping[str, list[list[str]]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Write the table; the options are added to what every crawl of these tests has."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.links = folder / "links.parquet"
        self.warc, self.outcomes = folder / "out" / "0.warc.gz", folder / "out" / "0.parquet"
        self.warc.parent.mkdir(exist_ok=True)
        self.options = list(map(str, options))
        self.agent = AGENT
        self.environment = {
            **os.environ,
            "CRAWL_NAMES": json.dumps(names or {}),
            "CRAWL_ADDRESS": ADDRESS,
            "CRAWL_PEAK": str(folder / "peak"),
            **(environment or {}),
        }
        self.write_links(urls)

    def write_links(self, urls: Sequence[str]) -> None:
        """Write the table of the links."""
        pd.DataFrame({"url_id": list(map(url_id, urls)), "url": urls}).to_parquet(self.links)

    def start(self) -> subprocess.Popen[str]:
        """Start the crawl."""
        line = [sys.executable, "-P", str(NAMED), "crawl", str(self.links)]
        line += ["--warc", str(self.warc), "--outcomes", str(self.outcomes)]
        line += ["--user-agent", self.agent, "--contact", CONTACT]
        line += ["--allowed-networks", "127.8.0.0/16", *self.options]
        return subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=self.environment)

    def run(self, seconds: float = 60) -> str:
        """Crawl to the end and return the log."""
        process = self.start()
        try:
            _, stderr = process.communicate(timeout=seconds)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, stderr
        return stderr

    def rows(self) -> pd.DataFrame:
        """Return the outcomes by address."""
        return pd.read_parquet(self.outcomes).set_index("url")

    def records(self) -> list[Record]:
        """Return the records of the WARC file, their digests checked."""
        return list(read_records(self.warc))

    def hidden(self) -> list[Path]:
        """Return the files beside the outputs."""
        return sorted(set(self.warc.parent.iterdir()) - {self.warc, self.outcomes})

    def has_ended(self) -> bool:
        """Tell whether there are the outputs and a journal with a hard link to the WARC file."""
        _, *records = self.hidden()
        return self.outcomes.exists() and sorted(p.samefile(self.warc) for p in records) == [0, 1]

    def peak(self) -> float:
        """Return the most memory that the last whole crawl had, in MB."""
        return int((self.folder / "peak").read_text()) * 1024 / 1e6


class Record(NamedTuple):
    """A record of a WARC file."""

    kind: str
    headers: tuple[tuple[str, str], ...]
    status: str
    http_headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header of the record."""
        return dict(self.headers).get(name)


def read_records(warc: Path) -> Iterator[Record]:
    """Yield the records of a whole WARC file, each with the digests that it says.

    warcio takes a file that is cut off for a shorter one, so it is read through first.
    """
    with gzip.open(warc) as stream:
        while stream.read(2**20):
            pass
    with warc.open("rb") as stream:
        for record in ArchiveIterator(stream, check_digests="raise"):
            http = record.http_headers
            body = record.raw_stream.read()
            yield Record(
                record.rec_type,
                tuple(record.rec_headers.headers),
                http.statusline if http else "",
                tuple(http.headers) if http else (),
                body,
            )


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[tuple[Server, int]]:
    """Serve on the tests' address while the block runs: yield the server and its port."""
    listener = listen(ADDRESS)
    with Server(answer).running(listener) as server:
        yield server, listener.getsockname()[1]


def as_dict(rows: pd.DataFrame, column: str) -> dict[str, Any]:
    """Return a column of the outcomes by address."""
    found: dict[str, Any] = rows[column].to_dict()
    return found
