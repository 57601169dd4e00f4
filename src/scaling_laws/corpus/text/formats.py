"""Texts in the formats that other corpora come in: a reader for each, of one file."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.entities import html5
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote
from zipfile import BadZipFile, ZipFile

import mwparserfromhell
import orjson
from backports import zstd
from lxml import etree

from scaling_laws.corpus.links.urls import url_id
from scaling_laws.corpus.text.documents import Document, Rejection, judge
from scaling_laws.errors import InputError
from scaling_laws.tables import open_table, read_batches

MINIMUM_WORDS = 50  # of web pages and articles
ROWS_PER_BATCH = 256
ARTICLES = "0"  # the namespace of encyclopedia articles in a MediaWiki dump
OPEN: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": zstd.open,
}

# Project Gutenberg writes about a book and its licence before and after these lines.
GUTENBERG_START = re.compile(
    r"^[* ]{0,9}START OF TH(?:E|IS) PROJECT GUTENBERG[^*]{0,500}\*\*\*.*$"
    r"|^\*END[* ]{1,9}THE SMALL PRINT!.*$",
    re.MULTILINE,
)
GUTENBERG_END = re.compile(
    r"^[* ]{0,9}END OF TH(?:E|IS) PROJECT GUTENBERG"
    r"|^[* ]{0,9}End of (?:[Tt]h(?:e|is) )?Project Gutenberg",
    re.MULTILINE,
)
GUTENBERG_TITLE = re.compile(r"^Title:\s*(.+)$", re.MULTILINE)
GUTENBERG_CHARSET = re.compile(rb"^Character set encoding:\s*([\w-]+)", re.MULTILINE)

LINE, PARAGRAPH = "\u2028", "\u2029"  # Unicode's separators of them
BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
    "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul",
}  # fmt: skip
UNSEEN = {"head", "script", "style", "template"}
ENTITY = re.compile(rb"&([A-Za-z][A-Za-z0-9]*;)")
CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"


class Text(NamedTuple):
    """A raw text.

    Attributes:
        address: Where it stands: name of the file, and row or page.
        title: Its title, or the empty string.
        text: The text.
    """

    address: str
    title: str
    text: str


def json_lines(path: Path, name: str) -> Iterator[Text]:
    """Yield the texts of a JSON Lines file: objects with `text` and optionally `title`.

    Raises:
        InputError: The file is damaged, or a line is no such object.
    """
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.strip():
                continue
            expected = f"{path}:{number}: expected a JSON object with the key text"
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise InputError(f"{expected}; not JSON: {error}") from None
            if not isinstance(row, dict):
                raise InputError(f"{expected}; found {line[:40].decode(errors='replace').strip()}")
            if "text" not in row:
                raise InputError(f"{expected}; found {', '.join(row) or 'no key'}")
            text = row["text"]
            if not isinstance(text, str):
                raise InputError(f"{path}:{number}: text is {text!r}, expected a string")
            yield Text(f"{name}:{number}", str(row.get("title") or ""), text)


def parquet(path: Path, name: str) -> Iterator[Text]:
    """Yield the texts of a Parquet file with the columns `text` and optionally `title`.

    Raises:
        InputError: The file is damaged, lacks the column, or a text is no string.
    """
    titled = "title" in open_table(path, ("text",)).schema_arrow.names
    columns = ["text", "title"] if titled else ["text"]
    number = 0
    for batch in read_batches(path, columns, ROWS_PER_BATCH, nullable=columns):
        for row in batch.to_pylist():
            number += 1
            if not isinstance(row["text"], str):
                found = row["text"]
                raise InputError(f"{path}: row {number}: text is {found!r}, expected a string")
            yield Text(f"{name}:{number}", str(row.get("title") or ""), row["text"])


def plain_text(path: Path, name: str) -> Iterator[Text]:
    """Yield the text of a file in UTF-8, or in the encoding that Project Gutenberg says.

    Raises:
        InputError: The file is damaged or in another encoding.
    """
    with opened(path) as file:
        content = file.read()
    declared = GUTENBERG_CHARSET.search(content)
    for encoding in ("utf-8-sig", declared[1].decode() if declared else "utf-8"):
        try:
            text = content.decode(encoding)
        except (UnicodeDecodeError, LookupError) as error:
            reason = error
        else:
            yield Text(name, *without_licence(text, path.name.partition(".")[0]))
            return
    raise InputError(f"{path}: expected text in UTF-8: {reason}")


def without_licence(text: str, title: str) -> tuple[str, str]:
    """Return title and text of a book without what Project Gutenberg writes around it.

    Args:
        text: The book.
        title: Its title, where Project Gutenberg does not say it.
    """
    start = GUTENBERG_START.search(text)
    if not start:
        return title, text
    end = GUTENBERG_END.search(text, start.end())
    said = GUTENBERG_TITLE.search(text, 0, start.start())
    return said[1] if said else title, text[start.end() : end.start() if end else len(text)]


def epub(path: Path, name: str) -> Iterator[Text]:
    """Yield the text of an EPUB book: its chapters in the order of the spine.

    Raises:
        InputError: The file is damaged or encrypted.
    """
    try:
        with ZipFile(path) as book:
            package_name = _xml(path, book, CONTAINER).xpath("string(//@full-path)")
            package = _xml(path, book, package_name)
            encrypted = set()
            if ENCRYPTION in book.namelist():
                encrypted = set(_xml(path, book, ENCRYPTION).xpath("//@URI"))
            chapters = []
            for chapter in _spine(package, posixpath.dirname(package_name)):
                if chapter in encrypted:
                    raise InputError(f"{path}: {chapter} is encrypted")
                chapters.append(prose(book.read(chapter)))
    except (BadZipFile, KeyError, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"{path}: not a whole EPUB: {error}") from None
    title = package.findtext(".//{http://purl.org/dc/elements/1.1/}title") or path.stem
    yield Text(name, *without_licence("\n\n".join(chapters), title))


def prose(page: bytes) -> str:
    """Return the text of an XHTML page, paragraphs set apart by an empty line."""
    page = ENTITY.sub(_character, page)
    try:
        root = etree.fromstring(page, _parser())
    except etree.XMLSyntaxError:  # not well-formed, as HTML need not be
        root = etree.fromstring(page, etree.HTMLParser(remove_comments=True, remove_pis=True))
    if root is None:
        return ""
    for element in root.iter("{*}pre"):
        for inner in element.iter():
            inner.text = (inner.text or "").replace("\n", LINE)
            if inner is not element:
                inner.tail = (inner.tail or "").replace("\n", LINE)
    for element in list(root.iter(etree.Element)):  # a list, since some lose their children
        tag = etree.QName(element).localname
        if tag in UNSEEN:
            element.clear(keep_tail=True)
        elif tag == "br":
            element.tail = LINE + (element.tail or "")
        elif tag in BLOCKS:
            element.text = PARAGRAPH + (element.text or "")
            element.tail = PARAGRAPH + (element.tail or "")
    text = re.sub(r"[ \t\r\n]+", " ", "".join(root.itertext()))
    text = re.sub(rf"[ {LINE}]*{PARAGRAPH}[ {LINE}{PARAGRAPH}]*", "\n\n", text)
    return re.sub(rf" *{LINE} *", "\n", text).strip()


class Article(NamedTuple):
    """An article of an encyclopedia, in wiki markup."""

    address: str
    title: str
    markup: str


def wikipedia(path: Path) -> Iterator[Article]:
    """Yield the articles of a MediaWiki XML dump, redirects left out.

    Raises:
        InputError: The file is damaged or no such dump.
    """
    with opened(path) as file:
        pages = etree.iterparse(file, tag="{*}page", resolve_entities=False)
        try:
            for _, page in pages:
                if page.findtext("{*}ns") == ARTICLES and page.find("{*}redirect") is None:
                    number, title = page.findtext("{*}id"), page.findtext("{*}title") or ""
                    markup = page.findtext("{*}revision/{*}text") or ""
                    yield Article(f"wikipedia:{number}", title, markup)
                page.clear()
                while page.getprevious() is not None:  # what has been read
                    del page.getparent()[0]
        except etree.XMLSyntaxError as error:
            raise InputError(f"{path}: not a whole MediaWiki dump: {error}") from None
        if etree.QName(pages.root).localname != "mediawiki":
            raise InputError(f"{path}: not a MediaWiki dump: found <{pages.root.tag}>")


def article(raw: Article) -> Document | Rejection:
    """Return the document that an article is, without its markup."""
    text = mwparserfromhell.parse(raw.markup).strip_code()
    return judge(url_id(raw.address), raw.address, raw.title, text, minimum_words=MINIMUM_WORDS)


def lost_article(raw: Article, reason: str) -> Rejection:
    """Return the rejection of an article."""
    return Rejection(url_id(raw.address), raw.address, reason)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to read from, decompressed as the end of its name says.

    Raises:
        InputError: When it proves to be damaged.
    """
    damaged = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, gzip.BadGzipFile)
    try:
        with OPEN.get(path.suffix.lower(), open)(path, "rb") as file:
            yield file
    except damaged as error:
        raise InputError(f"{path}: not a whole {path.suffix} file: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise InputError(f"{path}: not a whole {path.suffix} file: {error}") from None


def _parser() -> etree.XMLParser:
    return etree.XMLParser(no_network=True, remove_comments=True, remove_pis=True)


def _xml(path: Path, book: ZipFile, member: str) -> Any:
    try:
        return etree.fromstring(book.read(member), _parser())
    except etree.XMLSyntaxError as error:
        raise InputError(f"{path}: {member}: {error}") from None


def _spine(package: Any, folder: str) -> Iterator[str]:
    """Yield the members of the archive that hold the chapters, the table of contents left out."""
    items = {item.get("id"): item for item in package.findall(".//{*}manifest/{*}item")}
    for reference in package.findall(".//{*}spine/{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None:
            raise KeyError(f"the spine names {reference.get('idref')!r}, which is no item")
        is_text = "html" in item.get("media-type", "")
        is_contents = "nav" in item.get("properties", "").split()
        if is_text and not is_contents and reference.get("linear") != "no":
            yield posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))


def _character(entity: re.Match[bytes]) -> bytes:
    """Return a character that has a name in HTML alone by its number, which XML knows as well."""
    name = entity[1].decode()
    if name in {"amp;", "lt;", "gt;", "quot;", "apos;"} or name not in html5:
        return entity[0]
    return b"".join(b"&#%d;" % ord(character) for character in html5[name])
