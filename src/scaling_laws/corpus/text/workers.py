"""Work on items in processes of their own, each item within limits of time and memory.

What the items are made of comes from strangers, and so do the parsers that read them. An item that
hangs, explodes or crashes its process costs that item, and nothing else.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import resource
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

OUT_OF_MEMORY = 77  # exit code of a worker, other than those of Python and shells
HELD_BYTES = 2**26  # of outcomes that wait for an earlier one


def within_limits(
    function: Callable[[T], R],
    items: Iterable[T],
    lost: Callable[[T, str], R],
    *,
    workers: int,
    seconds: float,
    megabytes: int,
    modules: Sequence[str] = (),
) -> Iterator[R]:
    """Yield `function(item)` of each item, in the order of the items.

    Items are read as workers ask for them. Beside an item a worker and one more, memory holds the
    outcomes that wait for a slow earlier one, up to `HELD_BYTES`; then the other workers pause.

    Args:
        function: What to do with an item; picklable, as are items and outcomes.
        items: What to work on.
        lost: Outcome of an item that gave none, from the item and the reason: "timeout", "memory",
            "crashed", or "failed: " and the name of the exception. Picklable.
        workers: Processes.
        seconds: Time that an item may take.
        megabytes: Memory (MiB) that an item may take, beside what its process has at the start. An
            item that takes more than half of it is lost as well: parsers hide that an allocation
            has failed, so an outcome near the limit may lack a part.
        modules: Modules to import once for all processes, before they start and outside the limits.

    Raises:
        RuntimeError: A process ended before it could take an item.
    """
    # A fork of this process would copy locks that threads of Arrow or a progress bar hold, and a
    # spawned process imports everything anew; a server that has imported and has no threads forks
    # fast and safely.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", *modules])
    start = partial(_Worker, context, function, lost, seconds, megabytes, modules)
    queue = enumerate(items)
    upcoming = next(queue, None)
    idle: list[_Worker] = []
    busy: dict[Connection, tuple[_Worker, int, T]] = {}
    done: dict[int, bytes] = {}  # pickled
    turn = held = 0
    try:
        while upcoming or busy:
            while upcoming and len(busy) < workers and held < HELD_BYTES:
                worker = idle.pop() if idle else start()
                if worker.give(upcoming[1]):
                    busy[worker.connection] = (worker, *upcoming)
                    upcoming = next(queue, None)
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker, number, item = busy.pop(connection)
                outcome = worker.take()
                if outcome is not None:
                    idle.append(worker)
                else:
                    outcome = pickle.dumps(lost(item, worker.end()))
                done[number] = outcome
                held += len(outcome)
            while turn in done:
                outcome = done.pop(turn)
                held -= len(outcome)
                turn += 1
                yield pickle.loads(outcome)
    finally:
        for worker in [*idle, *(worker for worker, _, _ in busy.values())]:
            worker.kill()


class _Worker:
    """A process, and the connection to it."""

    def __init__(self, context: ForkServerContext, function: Any, *options: Any) -> None:
        """Start the process and wait until it is ready.

        Raises:
            RuntimeError: It ended instead.
        """
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, function, *options), daemon=True
        )
        self._process.start()
        theirs.close()  # so that this side sees the end of a process that dies
        if self.take() is None:
            raise RuntimeError(f"a worker process could not start: {self.end()}")

    def give(self, item: object) -> bool:
        """Send an item; False if the process is no more."""
        try:
            self.connection.send(item)
        except OSError:
            self.kill()
            return False
        return True

    def take(self) -> bytes | None:
        """Return the pickled outcome, or None if the process has ended."""
        try:
            return self.connection.recv_bytes()
        except (EOFError, OSError):
            return None

    def end(self) -> str:
        """Return why the process has ended."""
        self._process.join()
        self.connection.close()
        reasons = {-signal.SIGALRM: "timeout", OUT_OF_MEMORY: "memory"}
        return reasons.get(self._process.exitcode or 0, "crashed")

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self.end()


def _work(
    connection: Connection,
    function: Callable[[T], R],
    lost: Callable[[T, str], R],
    seconds: float,
    megabytes: int,
    modules: Sequence[str],
) -> None:
    """Answer each item that comes with its outcome, until the connection or a limit ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends its workers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, wherever it is
    logging.disable()
    for module in modules:  # in case that the server was started for something else
        import_module(module)
    kibibytes_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _limit_address_space(megabytes * 2**20)
    connection.send("ready")
    try:
        while True:
            item = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                outcome = function(item)
            except MemoryError:
                raise
            except Exception as error:
                outcome = lost(item, f"failed: {type(error).__name__}")
            signal.setitimer(signal.ITIMER_REAL, 0)
            taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kibibytes_before
            if taken > megabytes * 1024 / 2:
                raise MemoryError
            connection.send(outcome)
    except (EOFError, BrokenPipeError):
        return
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _limit_address_space(allowance: int) -> None:
    """Let this process take no more than `allowance` bytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + allowance
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
