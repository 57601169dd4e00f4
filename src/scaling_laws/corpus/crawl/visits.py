"""The polite crawl itself: whose turn it is, one request, and what follows from its answer."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import NamedTuple

from yarl import URL

from scaling_laws.corpus.crawl import robots
from scaling_laws.corpus.crawl.addresses import BlockedAddressError, Gate, parse
from scaling_laws.corpus.crawl.fetch import Answer, Client
from scaling_laws.corpus.crawl.frontier import Frontier, Host, Job
from scaling_laws.corpus.crawl.politeness import SharedHosts
from scaling_laws.corpus.crawl.shard import Shard
from scaling_laws.corpus.forgotten import OUTCOME, Forgotten

FIRST_RETRY = 0.5
"""Seconds before the first further attempt, about; each later one waits twice as long."""


class Limits(NamedTuple):
    """How much is done for a link: the options of `crawl` with these names."""

    maximum_delay: float
    retries: int
    redirects: int
    maximum_bytes: int


class Turn(NamedTuple):
    """A request that may be made now."""

    host: Host
    job: Job
    place: int | None  # among the requests of all processes to the host


class Visitor:
    """Takes every link of a shard to its outcome."""

    def __init__(
        self,
        shard: Shard,
        frontier: Frontier,
        client: Client,
        gate: Gate,
        shared: SharedHosts | None,
        user_agent: str,
        limits: Limits,
        forgotten: Forgotten,
    ) -> None:
        """Visit the links in `frontier`; `shared` is the pace of hosts among processes."""
        self._forgotten = forgotten
        self._shard, self._frontier, self._client, self._gate = shard, frontier, client, gate
        self._shared, self._user_agent, self._limits = shared, user_agent, limits
        # The rules of each site, or the jobs that wait for them.
        self._rules: dict[str, robots.Rules | list[Job]] = {}
        self._next = asyncio.Lock()
        self._changed = asyncio.Event()

    async def visit_all(self, concurrency: int) -> None:
        """Visit all links, with `concurrency` requests under way at once."""
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(concurrency):
                    workers.create_task(self._work())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _work(self) -> None:
        while turn := await self._next_turn():
            answer = await self._ask(turn)
            await self._follow(turn.job, answer)
            self._changed.set()

    async def _next_turn(self) -> Turn | None:
        """Wait for the next request that may be made; None when every link has its outcome."""
        async with self._next:  # one waits for the line, the others for the one
            while not self._shard.finished:
                if taken := self._frontier.take():
                    host, work = taken
                    job = work if isinstance(work, Job) else await self._begun(host, work)
                    prepared = job and await self._prepared(host, job)
                    if prepared and (turn := self._start(host, prepared)):
                        return turn
                    self._frontier.join(host)
                    await asyncio.sleep(0)  # a site may forbid many links, one after the other
                else:
                    await self._wait(self._frontier.seconds_to_next())
        return None

    async def _wait(self, seconds: float | None) -> None:
        """Wait until something has changed, `seconds` at most."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _begun(self, host: Host, link: int) -> Job | None:
        """Return the job that a link of `host` begins with, None if it has ended with that."""
        url = self._shard.url(link)
        there = self._checked(url)
        if url in self._forgotten:
            there = Answer(OUTCOME)
        if isinstance(there, Answer):
            await self._shard.finish(link, there, final_url=url, attempts=1, seconds=0.0)
            return None
        job = Job(there, link)
        if self._frontier.host(there) is host:
            return job
        self._frontier.add(job)  # an address that hides its host, in capitals for one
        return None

    async def _prepared(self, host: Host, job: Job) -> Job | None:
        """Return what to ask a host for on behalf of `job`; None where that is nothing for now.

        It is the job itself if the site's rules allow it, or its robots.txt if they are not known.
        """
        if job.site:
            return job
        site = str(job.url.origin())
        rules = self._rules.get(site)
        if rules is None:
            self._rules[site] = [job]
            host.asking += 1
            return Job(job.url.origin() / "robots.txt", site=site)
        if isinstance(rules, list):
            rules.append(job)
        elif rules.outcome != "ok":
            await self._end(job, Answer(rules.outcome, rules.detail))
        elif not rules.allows(job.url):
            await self._end(job, Answer("robots", "disallowed by robots.txt"))
        else:
            return job
        return None

    def _start(self, host: Host, job: Job) -> Turn | None:
        """Begin a request to `host`, or put the job back if other processes have its places."""
        pace, place = host.pace, None
        now = time.monotonic()
        if self._shared:
            longest = max(pace.delay, self._limits.maximum_delay)
            place, wait = self._shared.enter(host.name, pace.delay, longest)
            if place is None:
                host.jobs.append(job)
                self._frontier.join(host, not_before=now + wait)
                return None
        pace.start(now)
        job.began = job.began or now
        self._frontier.join(host)
        return Turn(host, job, place)

    async def _ask(self, turn: Turn) -> Answer:
        """Make a request, and learn from it how the host wants to be asked."""
        host, job, place = turn
        began = time.monotonic()
        on_its_way = False

        def sent() -> None:
            nonlocal on_its_way
            # One that failed at once was noted below before the client came to do so.
            if on_its_way:
                return
            on_its_way = True
            host.pace.sent()
            if self._shared:
                self._shared.sent(host.name, host.pace.delay)
            self._join(host)

        try:
            if job.site:
                answer = await self._client.robots(job.url, robots.MAXIMUM_BYTES, sent)
            else:
                answer = await self._client.page(job.url, self._limits.maximum_bytes, sent)
        finally:
            if not on_its_way:
                sent()
            host.pace.end()
            if self._shared and place is not None:
                self._shared.leave(place)
        pause = host.pace.adapt(began, answer.too_much, self._limits.maximum_delay)
        if (answer.retry_after or 0.0) <= self._limits.maximum_delay:
            pause = max(pause, answer.retry_after or 0.0)
        if pause:
            self._pause(host, pause)
        self._join(host)
        return answer

    async def _follow(self, job: Job, answer: Answer) -> None:
        """Try again, go where a redirect leads, or end."""
        limits = self._limits
        if (answer.retry_after or 0.0) > limits.maximum_delay:
            wish = f"Retry-After of {answer.retry_after:.0f} s is over crawl.maximum_delay"
            await self._end(job, answer._replace(detail=f"{answer.detail}, {wish}"))
        elif answer.may_pass and job.retries < limits.retries:
            wait = FIRST_RETRY * 2**job.retries * random.uniform(0.5, 1.5)
            job.retries += 1
            asyncio.get_running_loop().call_later(wait, self._add, job)
        elif answer.location is None:
            await self._end(job, answer)
        elif job.redirects == (robots.REDIRECTS if job.site else limits.redirects):
            detail = f"more than {job.redirects} redirects"
            await self._end(job, Answer("redirects", detail, answer.status))
        else:
            there = self._checked(answer.location, job.url, answer.status)
            if isinstance(there, Answer):
                await self._end(job, there)
            elif job.link is not None and str(there) in self._forgotten:  # rules are not kept
                detail = "redirects to a page that is forgotten"
                await self._end(job, Answer(OUTCOME, detail, answer.status))
            else:
                job.redirects += 1
                job.url = there
                self._add(job)

    def _checked(
        self, url: str, base: URL | None = None, status: int | None = None
    ) -> URL | Answer:
        """Return an address that may be asked, or the answer that stands for one that may not."""
        try:
            there = parse(url, base)
            self._gate.check(there)
        except BlockedAddressError as error:
            return Answer("blocked_address", str(error), status)
        except ValueError as error:
            return Answer("http_error" if base else "dns", str(error), status)
        return there

    async def _end(self, job: Job, answer: Answer) -> None:
        """Keep the outcome of a link, or the rules of a site and what waits for them."""
        if job.link is not None:
            seconds = time.monotonic() - job.began if job.began else 0.0
            await self._shard.finish(
                job.link, answer, final_url=str(job.url), attempts=1 + job.retries, seconds=seconds
            )
            return
        rules = robots.rules(answer, self._user_agent, self._limits.maximum_delay)
        waiting = self._rules[job.site]
        assert isinstance(waiting, list)
        self._rules[job.site] = rules
        host = self._frontier.host(URL(job.site))
        host.asking -= 1
        if rules.delay:
            host.pace.slow_to(rules.delay)
            self._pause(host, rules.delay)
        for link in waiting:
            self._add(link)
        self._join(host)

    def _pause(self, host: Host, seconds: float) -> None:
        host.pace.pause(seconds)
        if self._shared:
            self._shared.postpone(host.name, seconds)

    def _add(self, job: Job) -> None:
        self._frontier.add(job)
        self._changed.set()

    def _join(self, host: Host) -> None:
        self._frontier.join(host)
        self._changed.set()
