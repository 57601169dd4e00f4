"""Web pages in WARC files (ISO 28500)."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from scaling_laws.corpus.crawl.content import BodyError, dechunked, decoded
from scaling_laws.corpus.links.urls import url_id
from scaling_laws.errors import InputError
from scaling_laws.ledger import reading

READ_BYTES = 2**15  # which gzip makes 32 MiB of at most
HEADER_BYTES = 2**20
LARGEST_BODY = 2**28  # of a page, decompressed
GZIP_LEVEL = 4
HTTP = "application/http"
GZIP = 31  # zlib's window bits for a gzip member

Headers = Sequence[tuple[str, str]]


class Page(NamedTuple):
    """A fetched HTML page."""

    url_id: str
    url: str
    content_type: str
    body: bytes


class Record(NamedTuple):
    """A record of a WARC file.

    Attributes:
        headers: Its own headers, with names in lower case.
        block: What it holds.
        offset: Where it begins in the file.
        length: Bytes that it takes there; 0 if its end is inside a gzip member.
    """

    headers: dict[str, str]
    block: bytes
    offset: int
    length: int


class Response(NamedTuple):
    """A server's answer as it stands in a record."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a header, in lower case here, or the empty string."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def content(self, limit: int) -> bytes:
        """Return the body without transfer and content encodings.

        Raises:
            BodyError: It has another encoding than its headers say, or takes more than `limit`.
        """
        chunked = "chunked" in self.header("transfer-encoding").lower()
        body = dechunked(self.body) if chunked else self.body
        return decoded(body, self.header("content-encoding"), limit)


def read_pages(warc: Path) -> Iterator[Page]:
    """Yield the pages of a WARC file's response records.

    What is no HTTP in a record, as other crawls leave some, gives a page without content.

    Raises:
        InputError: When the file is no WARC file or is cut off.
    """
    for record in read_records(warc, "response"):
        if not record.headers.get("content-type", "application/http").startswith(HTTP):
            continue  # an answer of the DNS, say
        url = target(record)
        name = record.headers.get("x-url-id") or url_id(url)
        try:
            response = parse_response(record.block)
        except ValueError:
            yield Page(name, url, "", b"")
            continue
        body = response.body
        with suppress(BodyError):  # archives keep such headers beside bodies that have been decoded
            body = response.content(LARGEST_BODY)
        yield Page(name, url, response.header("content-type"), body)


def read_conversions(warc: Path) -> Iterator[tuple[str, str]]:
    """Yield address and text of the plain text records of a WET file.

    Raises:
        InputError: When the file is no WARC file or is cut off.
    """
    for record in read_records(warc, "conversion"):
        if record.headers.get("content-type", "text/plain").startswith("text/plain"):
            yield target(record), record.block.decode("utf-8", "replace")


def read_records(warc: Path, kind: str) -> Iterator[Record]:
    """Yield the records of one type in a WARC file, plain or gzip.

    The file is read once; what gzip says of its end is checked on the way.

    Raises:
        InputError: When the file is no WARC file or is cut off.
    """
    with reading(warc).open("rb") as file:
        try:
            source = _Source(file)
            while source.begin():
                record = _read_record(source, kind)
                if record.headers.get("warc-type") == kind:
                    yield record
        except (EOFError, ValueError, zlib.error) as error:
            raise InputError(f"{warc}: not a whole WARC file: {error}") from None


def read_record_at(file: BinaryIO, offset: int, length: int) -> Record:
    """Return the record that stands at `offset`.

    Raises:
        ValueError: There is none.
    """
    file.seek(offset)
    try:
        source = _Source(file)
        source.begin()
        record = _read_record(source, "response")
    except (EOFError, zlib.error) as error:
        raise ValueError(str(error)) from None
    if record.length != length:
        raise ValueError(f"found a record of {record.length} bytes, expected {length}")
    return record


def target(record: Record) -> str:
    """Return the address that a record is of; some writers put it into angle brackets."""
    url = record.headers.get("warc-target-uri", "")
    return url[1:-1] if url[:1] == "<" and url[-1:] == ">" else url


def parse_response(block: bytes) -> Response:
    """Return the HTTP response in a record's block.

    Raises:
        ValueError: It has no status line.
    """
    head, separator, body = block.partition(b"\r\n\r\n")
    if not separator:
        head, _, body = block.partition(b"\n\n")
    status_line, *lines = head.decode("utf-8", "surrogateescape").split("\n")
    words = status_line.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        raise ValueError(f"found {status_line[:80]!r}, expected a status line such as HTTP/1.1 200")
    pairs = (line.partition(":") for line in lines)
    headers = [(name.strip(), value.strip()) for name, colon, value in pairs if colon]
    return Response(int(words[1]), headers, body)


def page_record(
    url_id: str, url: str, date: datetime, reason: str, headers: Headers, body: bytes
) -> bytes:
    """Return the response record of a page, a gzip member.

    Args:
        url_id: Of the link.
        url: Where the page was, after redirects.
        date: When it was fetched.
        reason: What the status line has after the 200.
        headers: Of the answer; those on encodings and length are left out.
        body: Without encodings.
    """
    dropped = {"transfer-encoding", "content-encoding", "content-length"}
    lines = [f"HTTP/1.1 200 {reason}".rstrip()]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in dropped]
    lines += [f"Content-Length: {len(body)}", "", ""]
    head = "\r\n".join(re.sub(r"[\r\n]", " ", line) for line in lines)
    fields = {
        "WARC-Type": "response",
        "WARC-Record-ID": record_id(url_id),
        "WARC-Date": warc_date(date),
        "WARC-Target-URI": url,
        "X-Url-Id": url_id,
        "WARC-Payload-Digest": _digest(body),
        "Content-Type": "application/http; msgtype=response",
    }
    return _member(fields, head.encode("utf-8", "surrogateescape") + body)


def about_record(user_agent: str, date: datetime) -> bytes:
    """Return the record that begins a WARC file of pages, a gzip member."""
    about = {"software": "scaling-laws", "robots": "obey", "http-header-user-agent": user_agent}
    fields = {
        "WARC-Type": "warcinfo",
        "WARC-Record-ID": record_id("warcinfo"),
        "WARC-Date": warc_date(date),
        "Content-Type": "application/warc-fields",
    }
    return _member(
        fields, "".join(f"{name}: {value}\r\n" for name, value in about.items()).encode()
    )


def record_id(name: str) -> str:
    """Return the identifier of the record of a link: the same whenever it is fetched."""
    return f"<{uuid5(NAMESPACE_URL, name).urn}>"


def warc_date(date: datetime) -> str:
    """Return a time as WARC headers have it."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _member(fields: dict[str, str], block: bytes) -> bytes:
    fields |= {"WARC-Block-Digest": _digest(block), "Content-Length": str(len(block))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    deflate = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP)
    pieces = (f"WARC/1.1\r\n{head}\r\n".encode(), block, b"\r\n\r\n")
    return b"".join(map(deflate.compress, pieces)) + deflate.flush()


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def _read_record(source: _Source, kind: str) -> Record:
    offset = source.offset
    version = source.line()
    if not version.startswith(b"WARC/"):
        raise ValueError(f"found {version[:40]!r} at byte {offset}, expected WARC/1.0 or WARC/1.1")
    headers: dict[str, str] = {}
    while line := source.line():
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    length = headers.get("content-length", "")
    if not length.isdecimal():
        raise ValueError(f"the record at byte {offset} has no Content-Length")
    wanted = headers.get("warc-type") == kind
    block = b"".join(source.take(int(length), keep=wanted))
    return Record(headers, block, offset, source.end())


class _Source:
    """The bytes of a file, decompressed if it is gzip, and where its members begin."""

    def __init__(self, file: BinaryIO) -> None:
        """Read `file` from where it stands.

        Raises:
            EOFError: When nothing is there.
        """
        self._file = file
        self._position = file.tell()  # of the first byte of `_raw` in the file
        self._raw = file.read(READ_BYTES)  # not yet decompressed
        self._gzip = self._raw[:2] == b"\x1f\x8b"
        self._member: Any = None  # the decompressor, inside a gzip member
        self._held, self._next = b"", 0  # decompressed, and the first byte that is not yet taken
        if not self._raw:
            raise EOFError("it is empty")

    def begin(self) -> bool:
        """Go to the next record; False at the end of the file."""
        while True:
            self._own_member = self._next == len(self._held) and self._member is None
            self.offset = self._place()
            if not self._holds():
                return False
            if self._held[self._next] not in b"\r\n":
                return True
            self._next += 1

    def line(self) -> bytes:
        """Return the next line without its end."""
        line = b""
        while self._holds():
            end = self._held.find(b"\n", self._next) + 1 or len(self._held)
            line += self._held[self._next : end]
            self._next = end
            if line.endswith(b"\n"):
                return line.rstrip(b"\r\n")
            if len(line) > HEADER_BYTES:
                raise ValueError("a header line has no end")
        raise EOFError("it is cut off")

    def take(self, count: int, keep: bool) -> Iterator[bytes]:
        """Go over `count` bytes and yield them if they are to be kept."""
        while count:
            if not self._holds():
                raise EOFError("it is cut off")
            piece = self._held[self._next : self._next + count]
            self._next += len(piece)
            count -= len(piece)
            if keep:
                yield piece

    def end(self) -> int:
        """Go over the empty lines after a record and return the bytes that it took in the file.

        That is 0 for a record that is not alone in its gzip member.
        """
        for byte in b"\r\n\r\n":
            if self._holds(across=False) and self._held[self._next] == byte:
                self._next += 1
        if self._gzip and (self._holds(across=False) or not self._own_member):
            return 0
        return self._place() - self.offset

    def _place(self) -> int:
        """Return the place in the file of the next byte; in a member, that of what follows."""
        return self._position - (0 if self._gzip else len(self._held) - self._next)

    def _holds(self, across: bool = True) -> bool:
        """Hold a byte that is not yet taken, from the next member too if `across` is true.

        False at the end of the file.
        """
        while self._next == len(self._held):
            if self._gzip and self._member is None and not across:
                return False
            if not self._raw:
                self._raw = self._file.read(READ_BYTES)
            if not self._raw:
                if self._member is not None:
                    raise EOFError("it is cut off")
                return False
            self._held, self._next = self._decompress(), 0
        return True

    def _decompress(self) -> bytes:
        """Return what follows from the bytes that were read, at most to the end of the member."""
        raw, self._raw = self._raw, b""
        self._position += len(raw)
        if not self._gzip:
            return raw
        member = self._member or zlib.decompressobj(GZIP)
        piece: bytes = member.decompress(raw)
        self._raw = member.unused_data
        self._position -= len(self._raw)
        self._member = None if member.eof else member
        return piece
