"""What is done to any text, wherever it comes from, before it is a document."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import NamedTuple

from ftfy.badness import badness

LINE_END = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
# Controls other than tab and newline, C1 among them; the byte order mark; marks, embeddings,
# overrides and isolates that turn the direction of writing; halves of surrogate pairs, which no
# encoding holds. Joiners, soft hyphens and spaces of zero width stay: words are made with them.
CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
TITLE_CHARACTERS = 200
LANGUAGE = "scaling_laws.corpus.text.language"  # a module that is imported where it is needed


class Document(NamedTuple):
    """The text of a page, or of anything else.

    Attributes:
        doc_id: Its name, made of `url_id` and text.
        url_id: Name of the address.
        url: The address: of a page, or of a place in a file.
        title: Its title, or the empty string.
        text: The text, in normal form.
        language: What it is written in, ISO 639-1 where that has a code.
        words: Its words, that is runs of anything but blanks.
        mojibake: Signs of a wrong decoding; they are counted, not mended.
        control_characters: Control characters that were removed.
    """

    doc_id: str
    url_id: str
    url: str
    title: str
    text: str
    language: str
    words: int
    mojibake: int
    control_characters: int


class Rejection(NamedTuple):
    """An address that gives no document, and why."""

    url_id: str
    url: str
    reason: str


def judge(
    url_id: str,
    url: str,
    title: str,
    text: str,
    *,
    language: str | None = None,
    minimum_words: int = 1,
) -> Document | Rejection:
    """Return the document that a raw text is, or why it is none.

    The reasons are "no_text", "short", or "language: " and the one that it is in.

    Args:
        url_id: Name of the address.
        url: The address.
        title: The title.
        text: The text, in any form.
        language: Language that it must be in; absent for any.
        minimum_words: Words that it must have.
    """
    from scaling_laws.corpus.text.language import language_of  # it loads a model

    normal, control_characters = clean(text)
    words = len(normal.split())
    if words < minimum_words:
        return Rejection(url_id, url, "short" if words else "no_text")
    found = language_of(normal)
    if language not in (None, found):
        return Rejection(url_id, url, f"language: {found}")
    return Document(
        document_id(url_id, normal),
        url_id,
        url,
        " ".join(clean(title)[0].split())[:TITLE_CHARACTERS],
        normal,
        found,
        words,
        mojibake(text),
        control_characters,
    )


def clean(text: str) -> tuple[str, int]:
    """Return a text in normal form, and the number of control characters that were removed.

    Normal form is NFC, with newlines alone at line ends, without control characters and without
    blanks around the text.
    """
    without, removed = CONTROL.subn("", LINE_END.sub("\n", text))
    return unicodedata.normalize("NFC", without).strip(), removed


def mojibake(text: str) -> int:
    """Return the number of signs of a wrong decoding in a text.

    They are U+FFFD, and sequences such as "â€™" that come of UTF-8 that was read as another
    encoding, by ftfy's heuristic.
    """
    suspects = [line for line in text.split("\n") if not line.isascii()]
    return sum(badness(line.replace("\ufffd", " ")) + line.count("\ufffd") for line in suspects)


def document_id(source: str, text: str) -> str:
    """Return the name of a text from a link or file: 128 bits of SHA-256 in hexadecimal.

    It is made with the link, not the final address: two links that lead to one page are two
    documents, one of them an exact duplicate.
    """
    return hashlib.sha256(f"{source}\n{text}".encode()).hexdigest()[:32]
