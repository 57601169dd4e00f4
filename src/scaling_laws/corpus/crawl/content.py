"""What a server sent, without what it was wrapped in for the way (RFC 9110, RFC 9112)."""

from __future__ import annotations

import re
import zlib

HTML_TYPES = {"text/html", "application/xhtml+xml"}
CODINGS = {"gzip", "x-gzip", "deflate"}
AUTO, RAW = 47, -15  # window bits: zlib or gzip by its header; deflate without one


class BodyError(ValueError):
    """A body that cannot be had, and the outcome of a link that ends so."""

    def __init__(self, outcome: str, detail: str) -> None:
        """Keep the outcome beside the words."""
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


def is_html(content_type: str) -> bool:
    """Tell whether a Content-Type names HTML."""
    return content_type.partition(";")[0].strip().lower() in HTML_TYPES


def decoded(body: bytes, content_encoding: str, limit: int, cut: bool = False) -> bytes:
    """Return `body` without its content encodings, which never take more than `limit` bytes.

    Args:
        body: What was sent.
        content_encoding: The header: gzip, deflate, both or none.
        limit: Most bytes at any stage.
        cut: Whether the beginning is enough, where there is more or the rest is missing.

    Raises:
        BodyError: It grows too large, is cut off, has another encoding or not the one it names.
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    for coding in reversed([coding for coding in codings if coding not in ("", "identity")]):
        if coding not in CODINGS:
            raise BodyError("wrong_type", f"Content-Encoding {coding[:40]}")
        body = _inflated(body, coding, limit, cut)
    if len(body) > limit and not cut:
        raise BodyError("too_large", "larger than crawl.maximum_bytes")
    return body[:limit]


def _inflated(body: bytes, coding: str, limit: int, cut: bool) -> bytes:
    """Return `body` decompressed; gzip may have several members, deflate comes in two forms."""
    pieces: list[bytes] = []
    size = 0
    while body and (not pieces or body[:2] == b"\x1f\x8b"):  # servers pad; browsers ignore it
        raw = coding == "deflate" and not _has_zlib_header(body)
        member = zlib.decompressobj(RAW if raw else AUTO)
        try:
            pieces.append(member.decompress(body, limit + 1 - size))
        except zlib.error:
            raise BodyError("wrong_type", f"Content-Encoding {coding}, but not so sent") from None
        size += len(pieces[-1])
        if cut and (size > limit or not member.eof):
            return b"".join(pieces)[:limit]
        if size > limit:
            raise BodyError("too_large", "larger than crawl.maximum_bytes when it is decompressed")
        if not member.eof:
            raise BodyError("truncated", f"{coding} data ends early")
        body = member.unused_data
    return b"".join(pieces)


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0


def dechunked(body: bytes) -> bytes:
    """Return `body` without the chunks of its transfer.

    Raises:
        BodyError: They are broken or have no end.
    """
    pieces: list[bytes] = []
    start = 0
    while True:
        line = body.find(b"\n", start)
        size = re.match(rb"\s*([0-9a-fA-F]{1,15})\s*(;|$)", body[start : max(line, start)].strip())
        if line < 0 or not size:
            raise BodyError("truncated", "broken chunks")
        length = int(size[1], 16)
        if length == 0:
            return b"".join(pieces)
        piece = body[line + 1 : line + 1 + length]
        if len(piece) < length:
            raise BodyError("truncated", "broken chunks")
        pieces.append(piece)
        start = line + 1 + length
        start += 2 if body[start : start + 2] == b"\r\n" else 1
