"""Token files as training and evaluation read them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.tokens.scratch import copy_of

HELD_BYTES = 2**28  # streams up to this size are read once; larger ones stay on disk, mapped


class TokenStream:
    """The first tokens of a corpus, its documents in a seeded order.

    Streams of one seed are nested: a shorter one is the beginning of a longer one. A large file is
    mapped, not read, so that a stream may be larger than memory.
    """

    _held: npt.NDArray[np.unsignedinteger] | None = None

    def __init__(
        self,
        path: Path,
        tokens: int | None = None,
        seed: int | None = None,
        scratch: Path | None = None,
    ) -> None:
        """Open the token file `path`.

        Args:
            path: Token file, with its `.json` and `.documents.parquet` beside it.
            tokens: Length of the stream; the whole corpus when None.
            seed: Seed of the documents' order; the order of the file when None.
            scratch: Folder on this machine's own disk, where a stream that is too large to be held
                is mapped from a copy of the file.

        Raises:
            InputError: When the corpus has fewer tokens, or the file is not as long as it says.
        """
        self.path = path
        self.facts = facts = json.loads(reading(path.with_suffix(".json")).read_text())
        self.vocab_size: int = facts["vocab_size"]
        dtype = np.dtype(facts["dtype"]).newbyteorder("<")
        size, wanted = reading(path).stat().st_size, facts["tokens"] * dtype.itemsize
        if size != wanted:
            raise InputError(
                f"{path}: {size} bytes, and its .json says {facts['tokens']} tokens of "
                f"{dtype.itemsize}; encode the corpus again"
            )
        self._tokens = np.memmap(path, dtype, mode="r")
        self.length = len(self._tokens) if tokens is None else tokens
        if self.length > len(self._tokens):
            raise InputError(
                f"{path}: {self.length} tokens wanted, the corpus has {len(self._tokens)}; "
                "lower the tokens of the run or add text"
            )
        table = pd.read_parquet(reading(path.with_suffix(".documents.parquet")))
        order = np.arange(len(table))
        if seed is not None:
            np.random.default_rng(seed).shuffle(order)
        self._offsets = table["offset"].to_numpy()[order]
        self._ends = np.cumsum(table["tokens"].to_numpy()[order])
        if self.length * self._tokens.itemsize <= HELD_BYTES:
            self._held = self.read(0, self.length)
        elif scratch:
            self._tokens = np.memmap(copy_of(path, facts["sha256"], scratch), dtype, mode="r")

    def read(self, start: int, stop: int) -> npt.NDArray[np.unsignedinteger]:
        """Return the tokens at positions [start, stop) of the stream."""
        if self._held is not None:
            return self._held[start:stop]
        pieces = []
        document = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            end = int(self._ends[document])
            begin = int(self._ends[document - 1]) if document else 0
            offset = int(self._offsets[document]) + start - begin
            take = min(stop, end) - start
            pieces.append(self._tokens[offset : offset + take])
            start += take
            document += 1
        return np.concatenate(pieces)

    def place(self, offset: int) -> int:
        """Return where in the stream the document at `offset` of the file begins.

        It may be beyond the stream's length: the stream is a beginning of the corpus.
        """
        number = self.number(offset)
        return int(self._ends[number - 1]) if number else 0

    def number(self, offset: int) -> int:
        """Return the number of the document at `offset` of the file, as `documents` gives it."""
        (found,) = np.flatnonzero(self._offsets == offset)
        return int(found)

    def count(self, n_ctx: int) -> int:
        """Return how many sequences of `n_ctx` tokens, each with a next token, the stream holds.

        Raises:
            InputError: When it is none.
        """
        sequences = (self.length - 1) // n_ctx
        if sequences == 0:
            raise InputError(
                f"{self.path}: {self.length} tokens hold no sequence of n_ctx = {n_ctx}; "
                "use more tokens"
            )
        return sequences

    def sequences(self, indices: npt.ArrayLike, n_ctx: int) -> npt.NDArray[np.int64]:
        """Return sequences by number, each with the token after it.

        Args:
            indices: Numbers of the sequences, shape (n,).
            n_ctx: Tokens of a sequence.

        Returns:
            Shape (n, n_ctx + 1).
        """
        starts = np.asarray(indices) * n_ctx
        if self._held is not None:
            return self._held[starts[:, None] + np.arange(n_ctx + 1)].astype(np.int64)
        return np.stack([self.read(start, start + n_ctx + 1) for start in starts]).astype(np.int64)

    def places(self, tokens: int, n_ctx: int) -> npt.NDArray[np.int64]:
        """Return the numbers of sequences of as many tokens, evenly spaced over the stream.

        One long document at the beginning of a corpus would outweigh all others in a sample that
        is taken from there.

        Args:
            tokens: Tokens of all sequences; all that there are where they are fewer.
            n_ctx: Tokens of a sequence.

        Returns:
            Shape (n,).
        """
        there = self.count(n_ctx)
        wanted = min(max(tokens // n_ctx, 1), there)
        return np.arange(wanted) * there // wanted

    def spread(self, tokens: int, n_ctx: int) -> npt.NDArray[np.int64]:
        """Return the sequences at `places`, each with the token after it, (n, n_ctx + 1)."""
        return self.sequences(self.places(tokens, n_ctx), n_ctx)

    def documents(self, indices: npt.ArrayLike, n_ctx: int) -> npt.NDArray[np.int64]:
        """Return the number of the document that each predicted token of sequences is from.

        Args:
            indices: Numbers of the sequences, shape (n,).
            n_ctx: Tokens of a sequence.

        Returns:
            Shape (n, n_ctx).
        """
        positions = np.asarray(indices)[:, None] * n_ctx + np.arange(1, n_ctx + 1)
        return np.searchsorted(self._ends, positions, side="right")


class Batches:
    """Training batches as a pure function of the step.

    An epoch is all sequences of the stream in an order of its own, drawn from the seed and the
    epoch's number.
    """

    def __init__(self, stream: TokenStream, n_ctx: int, batch_sequences: int, seed: int) -> None:
        """Cut `stream` into sequences of `n_ctx` tokens."""
        self._stream, self._n_ctx, self._size, self._seed = stream, n_ctx, batch_sequences, seed
        self._sequences = stream.count(n_ctx)

    def __call__(self, step: int) -> npt.NDArray[np.int64]:
        """Return the batch of `step` (from 0), shape (batch_sequences, n_ctx + 1)."""
        places = np.arange(step * self._size, (step + 1) * self._size)
        epochs, indices = np.divmod(places, self._sequences)
        for epoch in np.unique(epochs):
            order = _epoch_order(self._seed, int(epoch), self._sequences)
            indices[epochs == epoch] = order[indices[epochs == epoch]]
        return self._stream.sequences(indices, self._n_ctx)

    def times_read(self, start: int, tokens: int, steps: int) -> float:
        """Return how often a model has read a piece of the stream, as a mean over its tokens.

        Args:
            start: Place of its first token in the stream.
            tokens: How many there are.
            steps: Batches read.
        """
        stop = min(start + tokens, self._sequences * self._n_ctx)
        if start >= stop:
            return 0.0
        # What lies in a sequence in part counts by that part.
        first, last = start // self._n_ctx, (stop - 1) // self._n_ctx
        sequences = np.arange(first, last + 1)
        edges = np.clip(np.arange(first, last + 2) * self._n_ctx, start, stop)
        epochs, further = divmod(steps * self._size, self._sequences)
        begun = _epoch_order(self._seed, epochs, self._sequences)[:further]
        times = epochs + np.isin(sequences, begun)
        return float((times * np.diff(edges)).sum() / tokens)


@lru_cache(maxsize=2)  # a batch may reach into the next epoch
def _epoch_order(seed: int, epoch: int, sequences: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(sequences)
