"""Token files as training and evaluation read them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling_laws.errors import InputError


class TokenStream:
    """The first tokens of a corpus, its documents in a seeded order.

    Streams of one seed are nested: a shorter one is the beginning of a longer one. The file is
    mapped, not read, so that a stream may be larger than memory.
    """

    def __init__(self, path: Path, tokens: int | None = None, seed: int | None = None) -> None:
        """Open the token file `path`.

        Args:
            path: Token file, with its `.json` and `.documents.parquet` beside it.
            tokens: Length of the stream; the whole corpus when None.
            seed: Seed of the documents' order; the order of the file when None.

        Raises:
            InputError: When the corpus has fewer tokens, or the file is not as long as it says.
        """
        self.path = path
        facts = json.loads(path.with_suffix(".json").read_text())
        self.vocab_size: int = facts["vocab_size"]
        self._tokens = np.memmap(path, np.dtype(facts["dtype"]).newbyteorder("<"), mode="r")
        if len(self._tokens) != facts["tokens"]:
            raise InputError(
                f"{path}: holds {len(self._tokens)} tokens, its .json says {facts['tokens']}; "
                "encode the corpus again"
            )
        self.length = len(self._tokens) if tokens is None else tokens
        if self.length > len(self._tokens):
            raise InputError(
                f"{path}: {self.length} tokens wanted, the corpus has {len(self._tokens)}; "
                "lower the tokens of the run or add text"
            )
        table = pd.read_parquet(path.with_suffix(".documents.parquet"))
        order = np.arange(len(table))
        if seed is not None:
            np.random.default_rng(seed).shuffle(order)
        self._offsets = table["offset"].to_numpy()[order]
        self._ends = np.cumsum(table["tokens"].to_numpy()[order])

    def read(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Return the tokens at positions [start, stop) of the stream."""
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
        return np.concatenate(pieces).astype(np.int64)

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

    def sequence(self, index: int, n_ctx: int) -> npt.NDArray[np.int64]:
        """Return sequence `index` and the token after it, shape (n_ctx + 1,)."""
        return self.read(index * n_ctx, (index + 1) * n_ctx + 1)

    def sequences(self, n_ctx: int) -> npt.NDArray[np.int64]:
        """Return all sequences, shape (count, n_ctx + 1)."""
        return np.stack([self.sequence(index, n_ctx) for index in range(self.count(n_ctx))])


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
        places = range(step * self._size, (step + 1) * self._size)
        return np.stack([self._sequence(place) for place in places])

    def _sequence(self, place: int) -> npt.NDArray[np.int64]:
        epoch, index = divmod(place, self._sequences)
        order = _epoch_order(self._seed, epoch, self._sequences)
        return self._stream.sequence(int(order[index]), self._n_ctx)


@lru_cache(maxsize=2)  # a batch may reach into the next epoch
def _epoch_order(seed: int, epoch: int, sequences: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(sequences)
