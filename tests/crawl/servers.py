"""Servers on loopback that keep a log of all that is asked of them, and canaries."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

ADDRESS = "127.8.0.1"
"""Where the servers listen; a crawl may go there with --allowed-networks 127.8.0.0/16."""
SEND_BUFFER = 2**16
"""Bytes that the kernel takes ahead of the client, so that `sent` says what it has read."""


BEAT = 0.005
"""Seconds between the moments when a server looks whether the machine has kept it waiting."""


@dataclass
class Request:
    """A request as its server saw it, and the way to answer it.

    It was there between `earliest` and `arrived`: the same moment, unless the server had to wait
    for the machine. It was answered at `ended`; `sent` counts the bytes.
    """

    number: int
    method: str
    host: str
    path: str
    headers: list[tuple[str, str]]
    writer: asyncio.StreamWriter = field(repr=False)
    arrived: float
    earliest: float
    arrived_at: float = field(default_factory=time.time)
    ended: float | None = None
    sent: int = 0
    closes: bool = False

    def __post_init__(self) -> None:
        """Note where the request came to, which a lost connection no longer knows."""
        self.port: int = self.writer.get_extra_info("sockname")[1]

    async def send(self, data: bytes) -> None:
        """Send bytes as they are, as soon as the client takes them."""
        for start in range(0, len(data), SEND_BUFFER):
            self.writer.write(data[start : start + SEND_BUFFER])
            self.sent += len(data[start : start + SEND_BUFFER])
            await self.writer.drain()

    async def page(
        self,
        body: bytes,
        content_type: str | None = "text/html",
        status: str = "200 OK",
        headers: Iterable[str] = (),
    ) -> None:
        """Send a whole response, and be done with it before its last byte can be answered to."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        if content_type is not None:
            lines.append(f"Content-Type: {content_type}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self.ended = time.monotonic()
        await self.send(head if self.method == "HEAD" else head + body)

    async def redirect(self, location: str, status: str = "302 Found") -> None:
        """Send a redirect."""
        await self.page(b"", None, status, [f"Location: {location}"])

    def close(self) -> None:
        """Hang up after what has been sent."""
        self.closes = True

    def reset(self) -> None:
        """Hang up with a reset (RST), which the client sees as an error."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()
        self.closes = True


Answer = Callable[[Request], Awaitable[None]]


class Server:
    """An HTTP server with a thread of its own; `log` has its requests as they came."""

    def __init__(self, answer: Answer) -> None:
        """Answer each request with `answer`."""
        self.log: list[Request] = []
        self.connections = 0
        self._answer = answer
        self._numbers = itertools.count()
        self._stall = (0.0, 0.0)

    def asked(self, host: str, path: str | None = None) -> list[Request]:
        """Return the requests to a host, or for one of its paths."""
        return [r for r in self.log if r.host == host and path in (None, r.path)]

    @contextlib.contextmanager
    def running(
        self, listener: socket.socket, context: ssl.SSLContext | None = None
    ) -> Iterator[Server]:
        """Serve on `listener` while the block runs."""
        ready, loop = threading.Event(), asyncio.new_event_loop()
        stop = asyncio.Event()

        async def serve() -> None:
            loop.set_exception_handler(lambda *_: None)  # clients that hang up are what we are for
            server = await asyncio.start_server(
                self._connection, sock=listener, ssl=context, backlog=1000
            )
            self._beat(loop, loop.time())
            ready.set()
            await stop.wait()
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        if now - due > BEAT / 2:
            self._stall = (due, now)
        loop.call_at(now + BEAT, self._beat, loop, now + BEAT)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip("\r\n").split("\r\n")
                method, path, _ = first.split(" ", 2)
                pairs = [line.partition(":") for line in lines]
                headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
                host = dict(headers).get("host", "").partition(":")[0]
                arrived = time.monotonic()
                stalled = arrived - self._stall[1] < BEAT
                times = (arrived, self._stall[0] if stalled else arrived)
                request = Request(next(self._numbers), method, host, path, headers, writer, *times)
                self.log.append(request)
                try:
                    await self._answer(request)
                finally:
                    request.ended = request.ended or time.monotonic()
                if request.closes:
                    break
        writer.close()


def listen(address: str, port: int = 0) -> socket.socket:
    """Return a socket that listens, with a small buffer for what it sends."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listener.bind((address, port))
    listener.listen(1000)
    return listener


@contextlib.contextmanager
def canaries(port: int) -> Iterator[list[str]]:
    """Listen at `port` where no crawl may go: yield a list of the connections that came.

    That is 127.0.0.1, and ::1 where the machine has it.
    """
    came: list[str] = []

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = listener.accept()
                came.append(f"{peer} at {listener.getsockname()}")
                connection.close()

    with contextlib.ExitStack() as stack:
        for address in ("127.0.0.1", "::1"):
            try:
                listener = stack.enter_context(listen(address, port))
            except OSError:
                assert address == "::1"
                continue
            thread = threading.Thread(target=accept, args=(listener,), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
        yield came


def most_at_once(requests: Iterable[Request]) -> int:
    """Return the largest number of requests that were under way at one moment."""
    moments = []
    for request in requests:
        assert request.ended is not None
        moments += [(request.arrived, 1), (request.ended, -1)]
    return max(itertools.accumulate(change for _, change in sorted(moments)), default=0)


def gaps(requests: Iterable[Request]) -> list[float]:
    """Return the seconds between one request and the next, no fewer than there were."""
    ordered = sorted(requests, key=lambda request: request.arrived)
    return [later.arrived - one.earliest for one, later in itertools.pairwise(ordered)]
