"""Encoding a corpus against the tokenizers library alone, in one run.

Usage: python benchmarks/encode.py

Ours reads documents, encodes them, checks that each decodes to itself and writes the token file;
the other side calls `encode_batch` on the same texts, held in memory, and drops what comes.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import pandas as pd
from tokenizers import Tokenizer

from bars import Bar, cpu_seconds, peak_memory, show
from scaling_laws.tokens.encode import encode
from scaling_laws.tokens.tokenizer import tokenizer

THREADS, REPEATS, DOCUMENTS, VOCABULARY = 2, 5, 3000, 1024


def write_corpus(path: Path, documents: int) -> None:
    """Write documents of some 700 words of a made language, with numbers and names in it."""
    chance = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    texts = []
    for _ in range(documents):
        text = chance.choices(words, weights, k=700)
        for place in range(12, len(text), 13):
            text[place] = f"{text[place].capitalize()} {chance.randrange(10_000)}."
        texts.append(" ".join(text))
    names = [f"{number:032x}" for number in range(documents)]
    pd.DataFrame({"doc_id": names, "text": texts}).to_parquet(path, row_group_size=1000)


def run(folder: Path, side: str, corpus: str) -> tuple[float, int]:
    """Return CPU seconds and peak memory in bytes of one side in a process of its own."""
    line = [sys.executable, __file__, side, str(folder), corpus]
    environment = os.environ | {"RAYON_NUM_THREADS": str(THREADS)}
    done = subprocess.run(line, check=True, capture_output=True, text=True, env=environment)
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak)


def ours(folder: Path, corpus: str) -> None:
    """Encode a corpus by the command's function."""
    encode(
        folder / f"{corpus}.parquet",
        tokenizer_file=folder / "tokenizer.json",
        output=folder / "o.bin",
        summary=folder / "o.json",
        documents=folder / "o.parquet",
    )


def ceiling(folder: Path, corpus: str) -> None:
    """Encode the texts by the library alone."""
    bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = pd.read_parquet(folder / f"{corpus}.parquet")["text"].to_list()
    started = cpu_seconds()
    for first in range(0, len(texts), 256):
        bpe.encode_batch(texts[first : first + 256])
    print(cpu_seconds() - started, 0)


def measure() -> list[Bar]:
    """Return the rate against the library's, and the growth of memory with the corpus."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "once.parquet", DOCUMENTS)
        write_corpus(folder / "more.parquet", 8 * DOCUMENTS)
        tokenizer(folder / "once.parquet", output=folder / "tokenizer.json", vocab_size=VOCABULARY)
        pairs = [
            (run(folder, "ceiling", "once")[0], run(folder, "ours", "once")[0])
            for _ in range(REPEATS)
        ]
        rate = median(other / own for other, own in pairs)
        library, own = (median(seconds) for seconds in zip(*pairs, strict=True))
        peaks = [run(folder, "ours", corpus)[1] for corpus in ("once", "more")]
    growth = peaks[1] / peaks[0]
    return [
        Bar(
            "encode",
            "rate, of encode_batch's on the same text and threads",
            rate,
            ">= 0.9",
            rate >= 0.9,
            f"{DOCUMENTS / own:,.0f} documents per CPU second with decoding to check, "
            f"{DOCUMENTS / library:,.0f} by encode_batch alone, {THREADS} threads",
        ),
        Bar(
            "encode",
            "peak memory of 8 times the corpus, of once",
            growth,
            "<= 1.2",
            growth <= 1.2,
            f"{peaks[0] / 2**20:,.0f} and {peaks[1] / 2**20:,.0f} MiB",
        ),
    ]


if __name__ == "__main__":
    if len(sys.argv) == 1:
        show(measure())
    elif sys.argv[1] == "ceiling":
        ceiling(Path(sys.argv[2]), sys.argv[3])
    else:
        before = cpu_seconds()
        ours(Path(sys.argv[2]), sys.argv[3])
        print(cpu_seconds() - before, peak_memory())
