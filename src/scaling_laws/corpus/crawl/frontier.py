"""What is still to be asked for, host by host, and whose turn it is."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from yarl import URL

from scaling_laws.corpus.crawl.politeness import Pace


@dataclass(slots=True)
class Job:
    """A link, or the robots.txt of a site, on its way through redirects and retries.

    Attributes:
        url: What to ask for next.
        link: Number of the link; None for a robots.txt.
        site: The site whose robots.txt it is.
        redirects: Followed so far.
        retries: Made so far.
        began: Time of the first request.
    """

    url: URL
    link: int | None = None
    site: str = ""
    redirects: int = 0
    retries: int = 0
    began: float | None = None


class Host:
    """A host: its links, what came back to it, and the pace that it is asked at."""

    __slots__ = ("_links", "asking", "in_line", "jobs", "name", "pace")

    def __init__(self, name: str, links: Iterable[int], delay: float) -> None:
        """Begin with the links, by number."""
        self.name = name
        self.pace = Pace(delay)
        self.jobs: list[Job] = []
        self.asking = 0  # requests for robots.txt, which the links wait for
        self.in_line = False
        self._links = array("q", links)[::-1]

    @property
    def has_work(self) -> bool:
        """Whether there is something to ask for."""
        return bool(self.jobs) or bool(self._links and not self.asking)

    def take(self) -> Job | int:
        """Return what comes next: what has begun, or else the number of a link."""
        return self.jobs.pop() if self.jobs else self._links.pop()


class Frontier:
    """The hosts with something to ask for, in the order of the times when they may be asked.

    A host stands in the line at most once. It leaves while it has nothing to ask for or as many
    requests under way as it may, and joins again when that changes, so that a host which has to
    wait costs the others nothing.
    """

    def __init__(self, at_once: int, delay: float) -> None:
        """Allow each host `at_once` requests under way, `delay` seconds apart at least."""
        self._at_once = at_once
        self._delay = delay
        self._hosts: dict[str, Host] = {}
        self._line: list[tuple[float, int, Host]] = []
        self._number = count()

    def add_links(self, host: str, links: Iterable[int]) -> None:
        """Add the links of a host, by number."""
        self._hosts[host] = Host(host, links, self._delay)
        self.join(self._hosts[host])

    def host(self, url: URL) -> Host:
        """Return the host of an address."""
        name = (url.raw_host or "").rstrip(".")
        if name not in self._hosts:
            self._hosts[name] = Host(name, (), self._delay)
        return self._hosts[name]

    def add(self, job: Job) -> None:
        """Put something to ask for into the line of its host."""
        host = self.host(job.url)
        host.jobs.append(job)
        self.join(host)

    def join(self, host: Host, not_before: float = 0.0) -> None:
        """Let a host stand in line, if it has something to ask for and may."""
        if not host.in_line and self._may_ask(host):
            host.in_line = True
            when = max(host.pace.next_start, not_before)
            heappush(self._line, (when, next(self._number), host))

    def take(self) -> tuple[Host, Job | int] | None:
        """Return the host whose turn it is and what it has next, if one may be asked now."""
        now = time.monotonic()
        while self._line and self._line[0][0] <= now:
            _, _, host = heappop(self._line)
            host.in_line = False
            if host.pace.next_start > now:
                self.join(host)
            elif self._may_ask(host):
                return host, host.take()
        return None

    def seconds_to_next(self) -> float | None:
        """Return how long the line has to wait, None if nobody stands in it."""
        return max(0.0, self._line[0][0] - time.monotonic()) if self._line else None

    def _may_ask(self, host: Host) -> bool:
        pace = host.pace
        # The delay counts from the moment when a request is sent.
        held_up = pace.running >= self._at_once or (pace.sending and pace.delay > 0)
        return host.has_work and not held_up
