"""What an interrupted run needs to go on as if it had never stopped.

A run draws no random numbers that depend on its past: batches and dropout are functions of seed
and step. So weights, optimizer, step and what has been measured are all there is to keep.
"""

from __future__ import annotations

import pickle
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from scaling_laws.errors import InputError
from scaling_laws.output import atomic

REQUEUE = 75  # exit code of a run that was told to end and has saved (EX_TEMPFAIL of sysexits.h)
FORMAT = 1


def save(state: dict[str, Any], path: Path, identity: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        state: Tensors, numbers, texts, and lists and dictionaries of them.
        path: File.
        identity: What the run is and what it reads, to be found again by `load`.
    """
    with atomic(path) as partial:
        torch.save({"format": FORMAT, "identity": identity, "state": state}, partial)


def load(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state of a checkpoint, on the CPU; None when there is none.

    Raises:
        InputError: When the file is damaged, or of another run or other tokens. It is left alone.
    """
    if not path.exists():
        return None
    remedy = "keep it elsewhere or remove it, and the run begins anew"
    try:
        with ZipFile(path) as archive:  # PyTorch does not look at the checksums that it writes
            if changed := archive.testzip():
                raise BadZipFile(f"{changed} has changed")
        # Mapped, so that the processes of a machine hold it once.
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        kind, one, state = found["format"], found["identity"], found["state"]
    except (RuntimeError, OSError, KeyError, TypeError, EOFError, ValueError) as error:
        raise _damaged(path, error, remedy) from None
    except (pickle.UnpicklingError, BadZipFile) as error:
        raise _damaged(path, error, remedy) from None
    if kind != FORMAT:
        raise InputError(f"{path}: a checkpoint of format {kind}, expected {FORMAT}; {remedy}")
    for key, value in identity.items():
        if one.get(key) != value:
            raise InputError(
                f"{path}: a checkpoint of {key} = {one.get(key)}, the run has {value}; {remedy}"
            )
    return dict(state)


def _damaged(path: Path, error: Exception, remedy: str) -> InputError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return InputError(f"{path}: not a whole checkpoint ({reason}); {remedy}")


class Signals:
    """Whether the process has been asked to end, and how it says so when it does."""

    def __init__(self) -> None:
        """Not asked yet."""
        self.received: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """`REQUEUE` after SIGTERM, as from a scheduler; 130 after Ctrl-C."""
        return REQUEUE if self.received == signal.SIGTERM else 128 + signal.SIGINT


@contextmanager
def deferred_signals() -> Iterator[Signals]:
    """Let the first SIGTERM or SIGINT be noted, so that the step under way can be ended.

    A second one ends the process as if there had been no block.
    """
    signals = Signals()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, _: object) -> None:
        signals.received = signal.Signals(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
