"""Extraction and encoding may be killed at any moment: run again, they give the same files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from scaling_laws.tokens.tokenizer import tokenizer

KILLS = 20
WORDS = (
    *("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "with", "as"),
    *("by", "at", "from", "this", "but", "they", "have", "not", "are", "which", "harbour", "year"),
    *("council", "water", "night", "morning", "road", "bridge", "winter", "school", "people"),
)


def extraction(folder: Path) -> list[str]:
    """Write a shard of pages and return the command that extracts them."""
    chance = random.Random(1)
    with (folder / "pages.warc.gz").open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number in range(32):
            paragraphs = "".join(
                f"<p>{' '.join(chance.choices(WORDS, k=60))}.</p>" for _ in range(1 + number % 8)
            )
            title = f"<head><title>Page {number}</title></head>"
            html = f"<html>{title}<body><article>{paragraphs}</article></body></html>"
            head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            name = hashlib.sha256(b"%d" % number).hexdigest()[:32]
            record = writer.create_warc_record(
                f"http://news.example/{number}.html",
                "response",
                payload=io.BytesIO(html.encode()),
                http_headers=head,
                warc_headers_dict={"X-Url-Id": name},
            )
            writer.write_record(record)
    options = ["--language", "en", "--minimum-words", "50", "--workers", "2"]
    outputs = ["--output", "out/documents.parquet", "--rejected", "out/rejected.parquet"]
    return ["extract", "pages.warc.gz", *outputs, *options]


def encoding(folder: Path) -> list[str]:
    """Write a corpus and a tokenizer and return the command that encodes it."""
    chance = random.Random(1)
    texts = [" ".join(chance.choices(WORDS, k=chance.randrange(20, 1500))) for _ in range(400)]
    rows = {"doc_id": [f"{number:05d}" for number in range(len(texts))], "text": texts}
    pd.DataFrame(rows).to_parquet(folder / "corpus.parquet")
    tokenizer(folder / "corpus.parquet", output=folder / "tokenizer.json", vocab_size=300)
    outputs = ["--output", "out/c.bin", "--summary", "out/c.json", "--documents", "out/c.parquet"]
    return ["encode", "corpus.parquet", "--tokenizer-file", "tokenizer.json", *outputs]


def start(folder: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a group, so that its workers can be found."""
    program = [sys.executable, "-c", "from scaling_laws.cli import main; main()", *command]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(program, cwd=folder, stderr=log, start_new_session=True)


def run(folder: Path, command: list[str]) -> float:
    """Run a command to its end and return the seconds that it took."""
    began = time.monotonic()
    process = start(folder, command)
    assert process.wait(timeout=60) == 0, (folder / "log").read_text()
    return time.monotonic() - began


def files(folder: Path) -> dict[str, bytes]:
    """Return all files of the outputs' folder."""
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def all_end(group: int, seconds: float = 30) -> bool:
    """Tell whether all processes of a group end in time; end those that do not.

    A worker that is still importing sees only after that, on a busy machine seconds later, that who
    started it is gone.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(of_group(status, group) for status in Path("/proc").glob("[0-9]*/stat")):
            return True
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)
    return False


def of_group(status: Path, group: int) -> bool:
    """Tell whether a process is one of a group and runs."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        state, _, its_group = status.read_text().rpartition(")")[2].split()[:3]
        return int(its_group) == group and state not in "ZX"
    return False


class Killed(NamedTuple):
    """What came of a stage that was killed again and again, and then was not.

    Attributes:
        whole: The files that an undisturbed run gives.
        found: The files at the end.
        caught: Kills that left a partial file.
        damaged: Files under their final names that were not whole after a kill.
        orphaned: Kills that left a process behind.
    """

    whole: dict[str, bytes]
    found: dict[str, bytes]
    caught: int
    damaged: list[str]
    orphaned: int


def kill_again_and_again(stage: Callable[[Path], list[str]], folder: Path) -> Killed:
    """Run a stage undisturbed, then kill it at random moments of its time, and run it again."""
    chance = random.Random(5)
    folder.mkdir()
    command = stage(folder)
    seconds = min(run(folder, command) for _ in range(2))
    whole = files(folder)
    for path in (folder / "out").iterdir():
        path.unlink()
    caught = orphaned = 0
    damaged = []
    for _ in range(KILLS):
        process = start(folder, command)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0.3, 1.0) * seconds)
        process.kill()
        process.wait()
        orphaned += not all_end(process.pid)
        found = files(folder)
        caught += bool(set(found) - set(whole))
        damaged += [name for name in set(found) & set(whole) if found[name] != whole[name]]
    run(folder, command)
    return Killed(whole, files(folder), caught, damaged, orphaned)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Killed]:
    """Both stages, killed at the same time."""
    folder = tmp_path_factory.mktemp("kills")
    stages = {"extract": extraction, "encode": encoding}
    with ThreadPoolExecutor() as pool:
        results = {
            name: pool.submit(kill_again_and_again, stage, folder / name)
            for name, stage in stages.items()
        }
        return {name: result.result() for name, result in results.items()}


each_stage = pytest.mark.parametrize("stage", ["extract", "encode"])


@each_stage
def test_a_stage_that_is_killed_twenty_times_gives_the_same_files(
    killed: dict[str, Killed], stage: str
) -> None:
    assert killed[stage].found == killed[stage].whole
    assert min(map(len, killed[stage].whole.values())) > 100


@each_stage
def test_some_kills_catch_a_stage_while_it_writes(killed: dict[str, Killed], stage: str) -> None:
    assert killed[stage].caught > 0


@each_stage
def test_a_file_that_is_there_is_whole(killed: dict[str, Killed], stage: str) -> None:
    assert killed[stage].damaged == []


@each_stage
def test_no_process_outlives_the_one_that_is_killed(killed: dict[str, Killed], stage: str) -> None:
    assert killed[stage].orphaned == 0
