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
from typing import Any

ADDRESS = "127.8.0.1"
"""Where the servers listen; a crawl may go there with --allowed-networks 127.8.0.0/16."""
SEND_BUFFER = 2**16
"""Bytes that the kernel takes ahead of the client, so that `sent` says what it has read."""


SO_TIMESTAMPNS = 35
"""Linux's option of sockets, and type of message, for when the kernel got the bytes."""
TIMESTAMP = struct.Struct("@ll")
"""Seconds and nanoseconds of a Unix time, as they lie in that message."""
MESSAGE_SPACE = socket.CMSG_SPACE(TIMESTAMP.size)


@dataclass
class Request:
    """A request as its server saw it, and the way to answer it.

    It `arrived` at the machine, at `arrived_at` in Unix time, however late the server read it. It
    was answered at `ended`; `sent` counts the bytes.
    """

    number: int
    method: str
    host: str
    path: str
    headers: list[tuple[str, str]]
    writer: asyncio.StreamWriter = field(repr=False)
    arrived: float
    arrived_at: float
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

    def asked(self, host: str, path: str | None = None) -> list[Request]:
        """Return the requests to a host, or for one of its paths."""
        return [r for r in self.log if r.host == host and path in (None, r.path)]

    @contextlib.contextmanager
    def running(
        self, listener: Listener, context: ssl.SSLContext | None = None
    ) -> Iterator[Server]:
        """Serve on `listener` while the block runs."""
        self._came = listener.came
        ready, loop = threading.Event(), asyncio.new_event_loop()
        stop = asyncio.Event()

        async def serve() -> None:
            loop.set_exception_handler(lambda *_: None)  # clients that hang up are what we are for
            server = await asyncio.start_server(
                self._connection, sock=listener, ssl=context, backlog=1000
            )
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
                arrived_at = self._came[writer.get_extra_info("peername")]
                times = (time.monotonic() - (time.time() - arrived_at), arrived_at)
                request = Request(next(self._numbers), method, host, path, headers, writer, *times)
                self.log.append(request)
                try:
                    await self._answer(request)
                finally:
                    request.ended = request.ended or time.monotonic()
                if request.closes:
                    break
        writer.close()


class Connection(socket.socket):
    """A connection that notes when the kernel got what is received.

    A busy machine's server reads some requests late: by its own clock two that were sent one after
    the other could have come together.
    """

    def __init__(self, connection: socket.socket, peer: object, came: dict[object, float]) -> None:
        """Take a connection over; `came` gets the Unix time of the last bytes of its peer."""
        super().__init__(fileno=connection.detach())
        self._peer, self._came = peer, came

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive, and note the time."""
        data, messages, *_ = self.recvmsg(size, MESSAGE_SPACE, flags)
        self._note(messages)
        return data

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        """Receive as TLS does, and note the time."""
        count, messages, *_ = self.recvmsg_into([buffer], MESSAGE_SPACE, flags)
        self._note(messages)
        return count

    def _note(self, messages: Iterable[tuple[int, int, bytes]]) -> None:
        for level, kind, stamp in messages:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = TIMESTAMP.unpack(stamp)
                self._came[self._peer] = seconds + nanoseconds / 1e9


class Listener(socket.socket):
    """A socket that listens, and knows when the kernel got the last bytes of each peer."""

    def __init__(self, *arguments: Any) -> None:
        """Open a socket."""
        super().__init__(*arguments)
        self.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.came: dict[object, float] = {}

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, peer = super().accept()
        return Connection(connection, peer, self.came), peer


def listen(address: str, port: int = 0) -> Listener:
    """Return a socket that listens, with a small buffer for what it sends."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = Listener(family, socket.SOCK_STREAM)
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
    """Return the seconds between one request and the next."""
    arrivals = sorted(request.arrived for request in requests)
    return [later - one for one, later in itertools.pairwise(arrivals)]
