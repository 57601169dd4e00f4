"""How often and how many at once: the load that a crawl may be to one host."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST_DELAY = 0.5
"""Seconds between requests to a host after it was first found too slow or too busy."""
POLL_SECONDS = 0.02

CELLS = 2**20
TIME = struct.Struct("<d")
MOST_AT_ONCE = 4095
"""Requests under way to one host that a hosts file can tell apart."""


class Pace:
    """The pace of the requests to one host, as this process sees it.

    The delay between the starts of two requests is the largest of the configured one, the host's
    Crawl-delay and one that doubles when the host is slow or busy and is halved when it is not.
    Times are those of `time.monotonic`.
    """

    __slots__ = ("_changed", "_extra", "_floor", "next_start", "running", "sending")

    def __init__(self, delay: float) -> None:
        """Begin with the configured delay."""
        self._floor = delay
        self._extra = 0.0
        self._changed = 0.0
        self.next_start = 0.0
        self.running = 0
        self.sending = False

    @property
    def delay(self) -> float:
        """Seconds from the start of a request to that of the next."""
        return max(self._floor, self._extra)

    def start(self, now: float) -> None:
        """Note that a request begins."""
        self.running += 1
        self.sending = True
        self.next_start = now + self.delay

    def sent(self) -> None:
        """Note that a request has left: the delay counts from now, when the host sees it."""
        self.sending = False
        if self.delay:
            self.pause(self.delay)

    def end(self) -> None:
        """Note that a request is over."""
        self.running -= 1
        self.sending = False

    def slow_to(self, delay: float) -> None:
        """Obey a Crawl-delay."""
        self._floor = max(self._floor, delay)

    def adapt(self, began: float, too_much: bool, maximum: float) -> float:
        """Learn from a request that began at `began`; return for how long to pause.

        Those that were under way together are one lesson, so that eight of them that fail do not
        double the delay eight times.
        """
        if not too_much:
            self._extra = self._extra / 2 if self._extra > FIRST_DELAY else 0.0
        elif began >= self._changed:
            self._extra = min(max(FIRST_DELAY, 2 * self._extra), maximum)
            self._changed = time.monotonic()
            return self._extra
        return 0.0

    def pause(self, seconds: float) -> None:
        """Begin no request for so long."""
        self.next_start = max(self.next_start, time.monotonic() + seconds)


class SharedHosts:
    """The pace of hosts among processes: one sparse file of cells, a host's by its hash.

    A cell has the time (Unix, seconds) from which on a request may start, a byte for each request
    that may be under way, locked while it is, and one for the process that is next. The locks end
    with the process.
    """

    def __init__(self, file: int, at_once: int) -> None:
        """Use an open file, in which `at_once` requests to a host may be under way."""
        self._file = file
        self._at_once = at_once
        self._held: set[int] = set()  # POSIX locks do not exclude the process that holds them

    def enter(self, host: str, delay: float, longest: float) -> tuple[int | None, float]:
        """Take a place among the requests to `host`, for one that is to be sent now.

        Who has to wait is next: a process that ends one request and begins another at once would
        otherwise leave no gap for the others. Where there is a delay, nobody is next until the
        request has been `sent`.

        Args:
            host: Name of the host.
            delay: Seconds until the start that follows.
            longest: Most seconds that a start can be away; more is of a clock that was set back.

        Returns:
            The place, to be given to `leave`, and zero; or None and the seconds until it is worth
            to try again.
        """
        cell = _cell(host)
        first = _first_place(cell)
        if first not in self._held and not self._lock(first):
            return None, POLL_SECONDS
        places = range(first + 1, first + 1 + self._at_once)
        place = next((place for place in places if self._lock(place)), None)
        if place is None:
            return None, POLL_SECONDS
        with self._time(cell) as start:
            now = time.time()
            if now < start <= now + longest:
                self.leave(place)
                return None, start - now
            os.pwrite(self._file, TIME.pack(now + delay), cell * TIME.size)
        if not delay:
            self.leave(first)
        return place, 0.0

    def sent(self, host: str, delay: float) -> None:
        """Let the delay until the next start count from now."""
        first = _first_place(_cell(host))
        if delay:
            self.postpone(host, delay)
        if first in self._held:
            self.leave(first)

    def leave(self, place: int) -> None:
        """Give back a place."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        self._held.remove(place)

    def postpone(self, host: str, seconds: float) -> None:
        """Let no process start a request to `host` for so long."""
        cell = _cell(host)
        with self._time(cell) as start:
            later = max(start, time.time() + seconds)
            os.pwrite(self._file, TIME.pack(later), cell * TIME.size)

    def _lock(self, place: int) -> bool:
        """Lock a byte, unless it is locked."""
        if place in self._held:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        self._held.add(place)
        return True

    @contextmanager
    def _time(self, cell: int) -> Iterator[float]:
        """Hold the lock of a cell's time, and yield it."""
        offset = cell * TIME.size
        fcntl.lockf(self._file, fcntl.LOCK_EX, TIME.size, offset)
        try:
            data = os.pread(self._file, TIME.size, offset)
            yield TIME.unpack(data)[0] if len(data) == TIME.size else 0.0
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, TIME.size, offset)


@contextmanager
def shared_hosts(path: Path | None, at_once: int) -> Iterator[SharedHosts | None]:
    """Open the file through which processes share the pace of hosts, if there is one."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield SharedHosts(file, at_once)
    finally:
        os.close(file)


def _first_place(cell: int) -> int:
    """Return the byte of the process that is next; those of the requests follow."""
    return CELLS * TIME.size + cell * (MOST_AT_ONCE + 1)


def _cell(host: str) -> int:
    return int.from_bytes(hashlib.sha256(host.encode()).digest()[:4], "big") % CELLS
