"""Reversible byte-level byte-pair encoding, as GPT-2's (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.output import atomic
from scaling_laws.progress import track
from scaling_laws.tables import read_batches

END_OF_TEXT = "<|endoftext|>"
DOCUMENTS_PER_BATCH = 256


def tokenizer(
    train: Path,
    *,
    output: Path,
    vocab_size: int = 1024,
    training_bytes: int | None = None,
    file: Path | None = None,
    end_of_text: str = END_OF_TEXT,
) -> dict[str, object]:
    """Train the byte-pair encoding on the training split alone, or take one that is there.

    Text is cut by GPT-2's regular expression before pairs are joined. Documents stand in the order
    of their hashes, so the first bytes of the split are a random sample of it.

    Args:
        train: Parquet file of the training split.
        output: `tokenizer.json` to write.
        vocab_size: Entries, the 256 bytes and the end-of-text token included; those of `file`.
        training_bytes: Bytes of text to learn from; all when absent.
        file: A `tokenizer.json` to take as it is; absent to train one.
        end_of_text: The token that closes every document.

    Raises:
        InputError: When the text has too few pairs for that many entries, or the file is no
            tokenizer or has another number of entries.
    """
    if file is not None:
        found = entries(load(file, end_of_text))
        if found != vocab_size:
            raise InputError(
                f"{file}: has {found} entries, --vocab-size (tokenizer.vocab_size) says "
                f"{vocab_size}; set it so"
            )
        with atomic(output) as partial:
            partial.write_bytes(file.read_bytes())
        return {"vocab_size": found, "taken from": str(file)}
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[end_of_text],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(train, training_bytes), trainer)
    if bpe.get_vocab_size() != vocab_size:
        raise InputError(
            f"{train}: its text gives {bpe.get_vocab_size()} entries, "
            f"--vocab-size (tokenizer.vocab_size) asks for {vocab_size}; lower it or add text"
        )
    with atomic(output) as partial:
        bpe.save(str(partial))
    return {"vocab_size": bpe.get_vocab_size()}


def load(path: Path, end_of_text: str = END_OF_TEXT) -> Tokenizer:
    """Return the tokenizer in a `tokenizer.json`, with special tokens in documents read as text.

    Raises:
        InputError: When the file is no tokenizer or has no end-of-text token.
    """
    try:
        bpe = Tokenizer.from_file(str(reading(path)))
    except Exception as error:  # the library raises a bare Exception
        raise InputError(f"{path}: not a tokenizer.json: {error}") from None
    special = {token.content for token in bpe.get_added_tokens_decoder().values() if token.special}
    if end_of_text not in special:
        raise InputError(
            f"{path}: has no special token {end_of_text!r}, which closes every document; found "
            f"{', '.join(sorted(special)) or 'none'}; name it by --end-of-text "
            "(tokenizer.end_of_text)"
        )
    bpe.encode_special_tokens = True
    bpe.no_truncation()
    bpe.no_padding()
    return bpe


def entries(bpe: Tokenizer) -> int:
    """Return how many numbers a model must know: the greatest token's and zero."""
    return int(max(bpe.get_vocab().values())) + 1


def _texts(corpus: Path, limit: int | None) -> Iterator[list[str]]:
    """Yield the texts of a corpus, a batch at a time, up to `limit` bytes."""
    size = 0
    batches = read_batches(corpus, ("text",), DOCUMENTS_PER_BATCH)
    for batch in track(batches, "tokenizer: batches of documents"):
        texts = batch.column("text").to_pylist()
        yield texts
        size += sum(len(text.encode()) for text in texts)
        if limit is not None and size >= limit:
            return
