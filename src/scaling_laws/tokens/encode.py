"""Token files: a corpus as one array of token numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from scaling_laws.errors import InputError
from scaling_laws.ledger import sha256
from scaling_laws.output import atomic
from scaling_laws.progress import track
from scaling_laws.tables import open_table, read_batches, stream_table
from scaling_laws.tokens import tokenizer

CHARACTERS_PER_BATCH = 2**20
DOCUMENTS = pa.schema({"doc_id": pa.string(), "offset": pa.int64(), "tokens": pa.int64()})


def encode(
    corpus: Path,
    *,
    tokenizer_file: Path,
    output: Path,
    summary: Path,
    documents: Path,
    end_of_text: str = tokenizer.END_OF_TEXT,
) -> dict[str, object]:
    """Encode a corpus and check that every document decodes to itself.

    It holds a batch of documents at a time, whatever the size of the corpus, and encodes them on
    as many threads as RAYON_NUM_THREADS says, or all.

    Args:
        corpus: Parquet file of documents with `doc_id` and `text`.
        tokenizer_file: `tokenizer.json`.
        output: Little-endian array of token numbers, each document closed by the end-of-text
            token; uint16 for up to 65,536 entries, else uint32.
        summary: JSON file: dtype, tokens, documents, vocab_size, tokenizer_sha256, bytes of
            text, and sha256 of `output`.
        documents: Parquet file: doc_id, offset and tokens (its end-of-text token included).
        end_of_text: The token that closes every document.

    Raises:
        InputError: When a document does not decode to itself, or there is none.
    """
    bpe = tokenizer.load(tokenizer_file, end_of_text)
    end, entries = bpe.token_to_id(end_of_text), tokenizer.entries(bpe)
    dtype = np.dtype("<u2" if entries <= 2**16 else "<u4")
    total = open_table(corpus, ("doc_id", "text")).metadata.num_rows
    digest = hashlib.sha256()
    offset = size = 0
    with ExitStack() as files:
        stream = files.enter_context(files.enter_context(atomic(output)).open("wb"))
        table = files.enter_context(stream_table(documents, DOCUMENTS))
        read = track(_documents(corpus), f"encode: documents of {corpus.name}", total)
        for batch in _batches(read):
            texts = [text for _, text in batch]
            encodings = bpe.encode_batch_fast(texts, add_special_tokens=False)
            numbers = [encoding.ids for encoding in encodings]
            decoded = bpe.decode_batch(numbers, skip_special_tokens=False)
            for (name, text), ids, back in zip(batch, numbers, decoded, strict=True):
                if back != text:
                    raise InputError(
                        f"{corpus}: document {name} does not decode to itself with "
                        f"{tokenizer_file}; the encoding must be reversible"
                    )
                data = np.array([*ids, end], dtype).tobytes()
                stream.write(data)
                digest.update(data)
                table.append((name, offset, len(ids) + 1))
                offset += len(ids) + 1
                size += len(text.encode())
        if not table.rows:
            raise InputError(f"{corpus}: has no document")
    facts = {
        "dtype": dtype.name,
        "tokens": offset,
        "documents": table.rows,
        "vocab_size": entries,
        "tokenizer_sha256": sha256(tokenizer_file),
        "bytes": size,
        "sha256": digest.hexdigest(),
    }
    with atomic(summary) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")
    return facts | {
        "decode(encode(document)) == document": f"{table.rows} of {table.rows} documents"
    }


def _documents(corpus: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of each document."""
    for batch in read_batches(corpus, ("doc_id", "text"), 64):
        columns = (batch.column(name).to_pylist() for name in ("doc_id", "text"))
        yield from zip(*columns, strict=True)


def _batches(documents: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yield documents in lists of CHARACTERS_PER_BATCH or a little more."""
    held: list[tuple[str, str]] = []
    characters = 0
    for document in documents:
        held.append(document)
        characters += len(document[1])
        if characters >= CHARACTERS_PER_BATCH:
            yield held
            held, characters = [], 0
    if held:
        yield held
