"""The sample web, the link dump that points to it, and the other corpora."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scaling_laws.output import atomic
from scaling_laws.sample import corpora, dump, faults, pages

DEAD_LINKS = 60

SITE = pa.schema(
    {
        "url": pa.string(),
        "status": pa.int16(),
        "content_type": pa.string(),
        "location": pa.string(),
        "body": pa.binary(),
        "fault": pa.string(),
    }
)


def build(
    packages: Path,
    *,
    site: Path,
    dump_2017: Path,
    dump_2018: Path,
    books: Path,
    internet_books: Path,
    wikipedia: Path,
    common_crawl: Path,
    news: int = 3779,
    sqlalchemy: int = 217,
    django: int = 644,
    salt: int = 515,
    exact_copies: int = 40,
    near_copies: int = 60,
    crawled_pages: int = 954,
    seed: int = 0,
) -> dict[str, object]:
    """Build the sample web, the dump that links to it, and the other corpora.

    The same packages, numbers and seed give the same bytes.

    Args:
        packages: Folder of the downloaded packages.
        site: Parquet file of the pages that the replay server answers with.
        dump_2017: Submissions of November 2017 in Pushshift's format.
        dump_2018: Submissions of March 2018, and some past the paper's last day.
        books: JSON Lines of books.
        internet_books: JSON Lines of long speeches.
        wikipedia: MediaWiki XML dump, compressed with bzip2.
        common_crawl: WARC file of real crawled pages.
        news: News articles, at most 3,779.
        sqlalchemy: Pages of the SQLAlchemy documentation, at most 217.
        django: Documents of the Django documentation, at most 644.
        salt: Documents of the Salt documentation, at most 515.
        exact_copies: Pages served again, unchanged, under another address.
        near_copies: Articles syndicated to another site and edited.
        crawled_pages: Pages of the WARC file, at most 954.
        seed: Seed of every choice.

    Raises:
        InputError: A package is missing or damaged, or a number is larger than what it holds.
    """

    def chance(purpose: str) -> random.Random:
        # One stream a purpose: more copies do not choose other articles.
        return random.Random(f"{seed} {purpose}")

    articles = pages.news(packages, news, chance("news"))
    syndicated = pages.near_copies(articles, near_copies, chance("near copies"))
    originals = [
        *pages.article_pages(articles, chance("headlines")),
        *pages.sqlalchemy(packages, sqlalchemy, chance("sqlalchemy")),
        *pages.django(packages, django, chance("django")),
        *pages.salt(packages, salt, chance("salt")),
    ]
    copies = [
        *pages.exact_copies(originals, exact_copies, chance("exact copies")),
        *pages.article_pages(syndicated, chance("syndicated headlines")),
    ]
    good = originals + copies
    served = good + faults.faulty_pages()
    _write_site(served + faults.robots(served), site)

    dead = faults.dead_links(originals, DEAD_LINKS, chance("dead links"))
    failing = [link.url for link in faults.faulty_links() + dead]
    in_2017, in_2018 = dump.submissions(good, failing, chance("submissions"))
    _write(dump.dump(in_2017, chance("damage in 2017")), dump_2017)
    _write(dump.dump(in_2018, chance("damage in 2018")), dump_2018)

    _write(corpora.books(packages), books)
    _write(corpora.internet_books(packages), internet_books)
    _write(corpora.wikipedia(packages), wikipedia)
    crawled = corpora.common_crawl(packages, crawled_pages, chance("crawled pages"))
    _write(crawled, common_crawl)
    return {
        "pages": len(good),
        "page_bytes": sum(len(page.body) for page in good),
        "failing_links": len(failing),
        "submissions": len(in_2017) + len(in_2018),
    }


def _write_site(served: Sequence[pages.Page], path: Path) -> None:
    """Write the archive of the replay server: one row an address."""
    rows = [{name: asdict(page)[name] for name in SITE.names} for page in served]
    with atomic(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema=SITE), partial, compression="zstd")


def _write(content: bytes, path: Path) -> None:
    with atomic(path) as partial:
        partial.write_bytes(content)
