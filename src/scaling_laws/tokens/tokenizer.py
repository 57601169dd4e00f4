"""Reversible byte-level byte-pair encoding, as GPT-2's (paper, section 2.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from scaling_laws.errors import InputError
from scaling_laws.output import atomic
from scaling_laws.tables import open_table

END_OF_TEXT = "<|endoftext|>"
DOCUMENTS_PER_BATCH = 256


def tokenizer(train: Path, *, output: Path, vocab_size: int = 1024) -> dict[str, object]:
    """Train the byte-pair encoding on the training split alone.

    Args:
        train: Parquet file of the training split.
        output: `tokenizer.json` to write.
        vocab_size: Entries, the 256 bytes and the end-of-text token included.

    Raises:
        InputError: When the text has too few pairs for that many entries.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(train), trainer)
    if bpe.get_vocab_size() != vocab_size:
        raise InputError(
            f"{train}: its text gives {bpe.get_vocab_size()} entries, "
            f"tokenizer.vocab_size asks for {vocab_size}; lower it or add text"
        )
    with atomic(output) as partial:
        bpe.save(str(partial))
    return {"vocab_size": bpe.get_vocab_size()}


def load(path: Path) -> Tokenizer:
    """Return the tokenizer in a `tokenizer.json`, with special tokens in documents read as text.

    Raises:
        InputError: When the file is no tokenizer or has no end-of-text token.
    """
    try:
        bpe = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise InputError(f"{path}: not a tokenizer.json: {error}") from None
    if bpe.token_to_id(END_OF_TEXT) is None:
        raise InputError(f"{path}: has no token {END_OF_TEXT}, which closes every document")
    bpe.encode_special_tokens = True
    return bpe


def sha256(path: Path) -> str:
    """Return the SHA-256 of a tokenizer file, by which token files name it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _texts(corpus: Path) -> Iterator[list[str]]:
    """Yield the texts of a corpus, a batch at a time."""
    batches = open_table(corpus, ("text",)).iter_batches(DOCUMENTS_PER_BATCH, columns=["text"])
    for batch in batches:
        yield batch.column("text").to_pylist()
