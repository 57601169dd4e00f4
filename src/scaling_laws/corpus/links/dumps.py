"""Submissions in Reddit dumps of every year, in every compression that Pushshift has used."""

from __future__ import annotations

import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol, get_type_hints

import msgspec
from backports import zstd

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading

ZSTANDARD_OPTIONS: dict[int, int] = {
    zstd.DecompressionParameter.window_log_max: 31
}  # Pushshift's are of 2 GiB
READ = 2**18  # bytes that are read from the file at once
BLOCK = 2**20  # bytes that are decompressed at once
LONGEST_LINE = 2**26  # bytes; the longest submissions have some 2**20

ZSTANDARD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one to skip
HALF_OF_PAIR = re.compile("[\ud800-\udfff]")
JSON_LINE = re.compile(rb'^\s*\{\s*"', re.MULTILINE)


class DamagedDumpError(InputError):
    """A dump that ends too early or cannot be decompressed to its end."""


class Post(msgspec.Struct, gc=False):
    """What is read of a submission: karma, address and time in Unix seconds."""

    id: str | None = None
    url: str | None = None
    url_overridden_by_dest: str | None = None
    author: str | None = None
    subreddit: str | None = None
    created_utc: int | float | None = None
    score: int | None = None
    ups: int | None = None
    downs: int | None = None
    is_self: bool | None = None
    over_18: bool | None = None


FIELDS = get_type_hints(Post)
_decode = msgspec.json.Decoder(Post, strict=False).decode  # numbers as text, flags as numbers


class Decompressor(Protocol):
    """What the decompressors of bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream has been reached."""

    @property
    def needs_input(self) -> bool:
        """Whether there is no more output without more input."""

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Take `data` and return at most `max_length` bytes of output."""


def read_lines(dump: Path) -> Iterator[bytes]:
    """Yield the lines of a dump without their ends.

    The compression (zstd, xz, bzip2, gzip or none) is told by the first bytes, not by the name.
    Of an archive that is damaged, all lines that can be read come first, the last maybe torn.
    A line longer than `LONGEST_LINE` is cut, so that memory is bounded: by the window of a zstd
    archive, which is 2 GiB for Pushshift's, and little more.

    Raises:
        InputError: When the file is missing, empty or no dump.
        DamagedDumpError: When the archive is cut off or damaged, with how far it could be read.
    """
    torn = b""
    lines = 0
    try:
        for block in _blocks(dump):
            first, *others = block.split(b"\n")
            torn += first[: LONGEST_LINE - len(torn)]
            if others:
                yield torn
                *whole, torn = others
                yield from whole
                lines += len(others)
    except DamagedDumpError as damage:
        if torn:
            yield torn
        raise DamagedDumpError(f"{dump}: {damage}, {lines:,} whole lines") from None
    if torn:
        yield torn


def read_post(line: bytes) -> Post | None:
    """Return the submission on a line, or nothing where it is no JSON object.

    Its `url` is the one that it links to, without the escapes of HTML that Reddit's interface
    puts on three signs, and its `score` that of the votes where it has none of its own.
    """
    post: Post | None
    try:
        post = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        post = _with_what_can_be_read(line)
    if post is None:
        return None
    if post.url_overridden_by_dest:
        post.url = post.url_overridden_by_dest
    if post.url and "&" in post.url:
        post.url = post.url.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    if post.score is None and post.ups is not None:
        post.score = post.ups - (post.downs or 0)
    return post


def _with_what_can_be_read(line: bytes) -> Post | None:
    """Return a submission without the fields whose types no dump should have.

    Halves of surrogate pairs, which the other decoder refuses in any field, are U+FFFD.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    post = Post()
    for name, kind in FIELDS.items():
        value = found.get(name)
        if isinstance(value, str):
            value = HALF_OF_PAIR.sub("\ufffd", value)
        with suppress(msgspec.ValidationError):
            setattr(post, name, msgspec.convert(value, kind, strict=False))
    return post


def _blocks(dump: Path) -> Iterator[bytes]:
    """Yield the decompressed content of a dump in blocks."""
    try:
        file = reading(dump).open("rb")
    except FileNotFoundError:
        raise InputError(f"{dump}: no such dump") from None
    with file:
        data = file.read(READ)
        start = _compression(dump, data)
        if start is None:
            while data:
                yield data
                data = file.read(READ)
            return
        stream, size = start(), 0
        while True:
            try:
                block = stream.decompress(data, BLOCK)
            except (EOFError, OSError, lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
                raise DamagedDumpError(_where("damaged", file.tell(), size, str(error))) from None
            size += len(block)
            if block:
                yield block
            data = b""
            if stream.eof:
                # Frames follow one another; xz and gzip files may be padded with zeros.
                data = stream.unused_data.lstrip(b"\0")
                while not data:
                    if not (data := file.read(READ)):
                        return
                    data = data.lstrip(b"\0")
                stream = start()
            elif stream.needs_input and not (data := file.read(READ)):
                raise DamagedDumpError(_where("cut off", file.tell(), size))


def _compression(dump: Path, head: bytes) -> Callable[[], Decompressor] | None:
    """Return what decompresses a file that begins with `head`; none for plain text."""
    if ZSTANDARD.match(head):
        return partial(zstd.ZstdDecompressor, options=ZSTANDARD_OPTIONS)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor
    if head.startswith(b"\x1f\x8b"):
        return _Gzip
    if JSON_LINE.search(head):
        return None
    found = f"it begins with {head[:16]!r}" if head else "it is empty"
    raise InputError(
        f"{dump}: {found}; expected JSON lines, plain or compressed with zstd, xz, bzip2 or gzip"
    )


def _where(what: str, compressed: int, decompressed: int, error: str = "") -> str:
    reason = f" ({error.strip().rstrip('.')})" if error else ""
    gave = f"its first {compressed:,} bytes gave {decompressed:,} bytes of text"
    return f"the archive is {what}{reason}; {gave}"


class _Gzip:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
