"""Token files: a corpus as one array of token numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.output import atomic
from scaling_laws.progress import track
from scaling_laws.tables import open_table, write_table
from scaling_laws.tokens import tokenizer

DOCUMENTS_PER_BATCH = 64


def encode(
    corpus: Path, *, tokenizer_file: Path, output: Path, summary: Path, documents: Path
) -> dict[str, object]:
    """Encode a corpus and check that every document decodes to itself.

    Args:
        corpus: Parquet file of documents with `doc_id` and `text`.
        tokenizer_file: `tokenizer.json`.
        output: Little-endian array of token numbers, each document closed by the end-of-text
            token; uint16 for up to 65,536 entries, else uint32.
        summary: JSON file: dtype, tokens, documents, vocab_size, tokenizer_sha256, bytes.
        documents: Parquet file: doc_id, offset and tokens (its end-of-text token included).

    Raises:
        InputError: When a document does not decode to itself, or there is none.
    """
    bpe = tokenizer.load(tokenizer_file)
    end = bpe.token_to_id(tokenizer.END_OF_TEXT)
    dtype = np.dtype("<u2" if bpe.get_vocab_size() <= 2**16 else "<u4")
    parquet = open_table(corpus, ("doc_id", "text"))
    batches = parquet.iter_batches(DOCUMENTS_PER_BATCH, columns=["doc_id", "text"])
    total = -(-parquet.metadata.num_rows // DOCUMENTS_PER_BATCH)
    names: list[str] = []
    lengths: list[int] = []
    size = 0
    with atomic(output) as partial, partial.open("wb") as stream:
        for batch in track(batches, f"encode: batches of {corpus.name}", total):
            texts = batch.column("text").to_pylist()
            ids = batch.column("doc_id").to_pylist()
            encoded = [encoding.ids for encoding in bpe.encode_batch_fast(texts)]
            decoded = bpe.decode_batch(encoded, skip_special_tokens=False)
            for name, text, back, numbers in zip(ids, texts, decoded, encoded, strict=True):
                if back != text:
                    raise InputError(
                        f"{corpus}: document {name} does not decode to itself with "
                        f"{tokenizer_file}; the encoding must be reversible"
                    )
                stream.write(np.array([*numbers, end], dtype).tobytes())
                names.append(name)
                lengths.append(len(numbers) + 1)
                size += len(text.encode())
        if not names:
            raise InputError(f"{corpus}: has no document")
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    write_table(pd.DataFrame({"doc_id": names, "offset": offsets, "tokens": lengths}), documents)
    facts = {
        "dtype": dtype.name,
        "tokens": int(sum(lengths)),
        "documents": len(names),
        "vocab_size": bpe.get_vocab_size(),
        "tokenizer_sha256": tokenizer.sha256(tokenizer_file),
        "bytes": size,
    }
    with atomic(summary) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")
    return facts | {
        "decode(encode(document)) == document": f"{len(names)} of {len(names)} documents"
    }
