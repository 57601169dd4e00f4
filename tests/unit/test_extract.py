"""Extraction of documents from pages, within limits."""

import multiprocessing
import os
import random
import signal
import time
from io import BytesIO
from threading import Thread

import pandas as pd
import pytest
from newspaper import Article
from w3lib.encoding import html_to_unicode
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from scaling_laws.corpus.crawl.warc import Page, read_pages
from scaling_laws.corpus.text.documents import Document, clean, document_id, judge, mojibake
from scaling_laws.corpus.text.extract import extract
from scaling_laws.corpus.text.language import language_of
from scaling_laws.corpus.text.pages import extract_page, newspaper3k
from scaling_laws.corpus.text.workers import HELD_BYTES, within_limits
from scaling_laws.errors import InputError
from scaling_laws.sample import pages as sample
from scaling_laws.sample.corpora import common_crawl

PARAGRAPH = (
    "The committee met on Tuesday and agreed that the bridge over the river should be repaired "
    "before the winter, although two of its members had asked for a second opinion on the cost. "
)
GERMAN = (
    "Der Ausschuss hat am Dienstag getagt und beschlossen, dass die Brücke über den Fluss vor dem "
    "Winter ausgebessert werden soll, obwohl zwei seiner Mitglieder eine zweite Meinung zu den "
    "Kosten verlangt hatten, die noch niemand eingeholt hat. "
)
# Newspaper3k looks at every paragraph before each paragraph: minutes for a page of 2 MB.
ENDLESS = "<html><body>" + "<p>it is the one and of" * 100_000
# The trees, lists and strings that a parser makes of these 3 MB take hundreds.
EXPLOSIVE = "<html><body>" + "<p>" * 1_000_000


def article(text, title="The bridge"):
    return (
        f"<html><head><title>{title}</title></head><body><nav><a href='/'>Home</a></nav>"
        f"<article><h1>{title}</h1><p>{text}</p></article><footer>Imprint</footer></body></html>"
    )


def page(body, content_type="text/html; charset=utf-8", url_id="id"):
    return Page(url_id, "http://a.example/", content_type, body.encode())


def document_of(page, engine="newspaper3k"):
    return extract_page(page, engine=engine, language="en", minimum_words=50)


def write_warc(path, bodies):
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for number, body in enumerate(bodies):
            headers = StatusAndHeaders(
                "200 OK", [("Content-Type", "text/html; charset=utf-8")], "HTTP/1.1"
            )
            record = writer.create_warc_record(
                f"http://a.example/{number}",
                "response",
                BytesIO(body.encode()),
                http_headers=headers,
                warc_headers_dict={"X-Url-Id": f"{number:032x}"},
            )
            writer.write_record(record)
    return path


def run(folder, bodies, **options):
    statistics = extract(
        write_warc(folder / "pages.warc.gz", bodies),
        output=folder / "documents.parquet",
        rejected=folder / "rejected.parquet",
        **options,
    )
    documents = pd.read_parquet(folder / "documents.parquet")
    return documents, pd.read_parquet(folder / "rejected.parquet"), statistics


def news(count, seed=0):
    chance = random.Random(seed)
    sentences = [
        "The committee agreed that the bridge should be repaired before the winter.",
        "Two of its members asked for a second opinion on what it would cost.",
        "The mayor said that “there is no time to lose” and left for the coast…",
        "A spokesman for the railway would not say when the trains will run again.",
    ]
    articles = [
        sample.Article(
            f"http://www.news.example/{number}",
            f"Story {number}: what was said on the day",
            "2017-11-01",
            tuple(chance.choices(sentences, k=chance.randrange(4, 60))),
        )
        for number in range(count)
    ]
    return [page.body.decode() for page in sample.article_pages(articles, chance)]


@pytest.mark.parametrize("engine", ["newspaper3k", "trafilatura"])
def test_a_page_becomes_its_article_without_the_navigation(engine):
    sentences = [f"{PARAGRAPH}This was said {n} times by the mayor of the town." for n in range(5)]
    document = document_of(page(article("</p><p>".join(sentences))), engine)
    assert isinstance(document, Document)
    assert document.title == "The bridge"
    assert all(sentence in document.text for sentence in sentences)
    assert "Home" not in document.text and "Imprint" not in document.text
    assert document.words == len(document.text.split()) and document.language == "en"


def test_two_links_that_lead_to_one_page_are_two_documents():
    one, two = (document_of(page(article(PARAGRAPH * 3), url_id=link)) for link in ("one", "two"))
    assert one.text == two.text and one.doc_id != two.doc_id
    assert one.doc_id == document_id("one", one.text)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<html><body></body></html>", "no_text"),
        ("", "no_text"),
        ("<!-- nothing -->", "no_text"),
        (article(PARAGRAPH), "short"),
        (article(GERMAN * 4), "language: de"),
    ],
)
def test_a_page_without_a_document_is_rejected_with_its_reason(body, reason):
    assert document_of(page(body)).reason == reason


def test_a_language_that_the_engine_does_not_know_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--language xx \(extract\.language\): expected .*'en'"):
        run(tmp_path, [article(PARAGRAPH)], language="xx")


def test_what_is_no_html_is_not_read_as_such():
    assert document_of(page(article(PARAGRAPH * 3), "application/pdf")).reason == "wrong_type"
    assert isinstance(document_of(page(article(PARAGRAPH * 3), "")), Document)


def test_title_and_text_are_those_of_newspapers_own_parse():
    table = "<table><tr><td>it is what the table of the town says</td><td>3</td></tr></table>"
    items = "<ul><li>first of the two</li><li>the second, it is <b>bold</b></li><li>3</li></ul>"
    bodies = [
        *news(20),
        article(PARAGRAPH + "<br>" + PARAGRAPH + items + table + PARAGRAPH),
        f"<div>{PARAGRAPH}<p>{PARAGRAPH}</p><em>{PARAGRAPH}</em><a href=x>{PARAGRAPH}</a></div>",
        '<?xml version="1.0" encoding="utf-8"?>' + article(PARAGRAPH * 2),
        f"<div><p>{'IT IS WHAT THE TOWN SAYS. ' * 9}</p></div><div><p>it is the one</p></div>",
        f"<div><p>{'the, (of) it!, ' * 9}</p></div><div><p>it is the one of all</p></div>",
        f"<div><p class='caption'>{PARAGRAPH}</p><p id='x'>{PARAGRAPH}</p></div>",
        "<title>a</title>",
        "no element at all",
    ]
    for html in bodies:
        assert newspaper3k(html, "en") == newspapers_own(html)


def test_title_and_text_of_crawled_pages_are_those_of_newspapers_own_parse(tmp_path, packages):
    (tmp_path / "pages.warc.gz").write_bytes(common_crawl(packages, 80, random.Random(1)))
    for page in read_pages(tmp_path / "pages.warc.gz"):
        _, html = html_to_unicode(page.content_type, page.body)
        assert newspaper3k(html, "en") == newspapers_own(html)


def newspapers_own(html):
    article = Article("http://a.example/", language="en", fetch_images=False)
    article.set_html(html)
    article.parse()
    return article.title, article.text


def test_a_long_page_keeps_its_end():
    document = document_of(page(article("</p><p>".join([PARAGRAPH] * 700) + " The end.")))
    assert len(document.text) > 120_000 and document.text.endswith("The end.")


def test_a_text_is_brought_into_normal_form():
    raw = "\ufeff Cafe\u0301\r\none\rtwo\x0cthree\u2028four\x00\x1b\x9d\u202e\tfive\ud800 \n"
    text, removed = clean(raw)
    assert text == "Café\none\ntwo\nthree\nfour\tfive"
    assert removed == 6
    assert clean(text) == (text, 0)


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("Plain text", 0),
        ("“Café” – naïve, Ünïcode… ÀÉ, 東京", 0),
        ("It\ufffds \ufffd", 2),
        ("Itâ€™s", 1),
        ("It\u00e2\u0080\u0099s fine\nCafÃ©", 3),
    ],
)
def test_signs_of_a_wrong_decoding_are_counted_and_left(text, signs):
    assert mojibake(text) == signs
    document = judge("id", "http://a.example/", "", text)
    assert document.mojibake == signs and document.text == clean(text)[0]


def test_the_language_is_told():
    assert language_of(PARAGRAPH) == "en" and language_of(GERMAN) == "de"


def test_documents_and_rejections_stand_in_the_order_of_the_pages_for_any_number_of_workers(
    tmp_path,
):
    bodies = news(60)
    bodies[7] = "<html><body></body></html>"
    bodies[30] = article(GERMAN * 4)
    bodies[31] = article(f"It\ufffds \x07 {PARAGRAPH * 3}")
    files = []
    for workers in (1, 3):
        documents, rejected, statistics = run(tmp_path, bodies, workers=workers)
        files.append([path.read_bytes() for path in sorted(tmp_path.glob("*.parquet"))])
    assert files[0] == files[1]
    assert list(rejected["reason"][rejected["reason"].str.startswith("lang")]) == ["language: de"]
    assert list(documents["url_id"]) == sorted(documents["url_id"])
    assert sorted([*documents["url_id"], *rejected["url_id"]]) == [f"{n:032x}" for n in range(60)]
    assert statistics["pages"] == 60 and statistics["documents"] == len(documents)
    assert statistics["rejected"] == rejected["reason"].value_counts().to_dict()
    assert statistics["words"] == documents["words"].sum()
    assert statistics["documents_with_mojibake"] == 1
    assert statistics["control_characters_removed"] == documents["control_characters"].sum()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_page_that_hangs_is_lost_and_the_shard_goes_on(tmp_path, workers):
    bodies = [article(PARAGRAPH * 3), ENDLESS, article(PARAGRAPH * 4), ENDLESS, news(1)[0]]
    documents, rejected, _ = run(tmp_path, bodies, page_seconds=1.0, workers=workers)
    assert [int(name, 16) for name in documents["url_id"]] == [0, 2, 4]
    assert [int(name, 16) for name in rejected["url_id"]] == [1, 3]
    assert list(rejected["reason"]) == ["timeout", "timeout"]


def test_a_page_that_takes_too_much_memory_is_lost_and_the_shard_goes_on(tmp_path):
    bodies = [article(PARAGRAPH * 3), EXPLOSIVE, article(PARAGRAPH * 4)]
    documents, rejected, _ = run(tmp_path, bodies, page_megabytes=96)
    assert [int(name, 16) for name in documents["url_id"]] == [0, 2]
    assert list(rejected["reason"]) == ["memory"]


def test_a_worker_that_is_killed_costs_its_page(tmp_path):
    def kill():
        while not (workers := multiprocessing.active_children()):
            time.sleep(0.05)
        time.sleep(1.5)  # until it is at the endless page
        os.kill(workers[0].pid, signal.SIGKILL)

    bodies = [article(PARAGRAPH * 3), ENDLESS, article(PARAGRAPH * 4)]
    killer = Thread(target=kill)
    killer.start()
    documents, _, statistics = run(tmp_path, bodies)
    killer.join()
    assert [int(name, 16) for name in documents["url_id"]] == [0, 2]
    assert statistics["rejected"] == {"crashed": 1}


def test_a_page_that_a_parser_fails_on_is_named_with_the_error(tmp_path):
    body = "<html><body><div>&#1;<script></script>\x01\x02</div></body></html>"
    _, rejected, _ = run(tmp_path, [body, article(PARAGRAPH)])
    assert list(rejected["reason"]) == ["failed: ValueError", "short"]


def test_a_damaged_warc_file_leaves_no_tables_and_no_workers(tmp_path):
    warc = write_warc(tmp_path / "pages.warc.gz", news(30))
    warc.write_bytes(warc.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"pages\.warc\.gz: not a whole WARC file"):
        extract(warc, output=tmp_path / "d.parquet", rejected=tmp_path / "r.parquet", workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["pages.warc.gz"]
    assert not multiprocessing.active_children()


def test_a_warc_file_that_is_cut_off_is_refused(tmp_path):
    source = write_warc(tmp_path / "pages.warc.gz", news(5))
    assert len(list(read_pages(source))) == 5
    source.write_bytes(source.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"pages\.warc\.gz: not a whole WARC file"):
        list(read_pages(source))
    source.write_bytes(b"")
    with pytest.raises(InputError, match="not a whole WARC file: it is empty"):
        list(read_pages(source))


# What workers do in the tests below; they import this module.


def double(number):
    return 2 * number


def lost(item, reason):
    return reason


def wait_then_fill(seconds):
    time.sleep(seconds)
    return bytes(2**23)


def hide_that_memory_is_out(megabytes):
    blocks = []
    try:
        while True:
            blocks.append(b"x" * (megabytes * 2**20))
    except MemoryError:
        return "fine"


def outcomes(function, items, workers=2, seconds=30.0):
    return within_limits(function, items, lost, workers=workers, seconds=seconds, megabytes=256)


def test_items_are_read_as_workers_ask_for_them():
    read = []

    def numbers():
        for number in range(1000):
            read.append(number)
            yield number

    results = outcomes(double, numbers(), workers=1)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert len(read) <= 12
    results.close()
    assert not multiprocessing.active_children()


def test_a_slow_item_does_not_let_outcomes_pile_up():
    read = []

    def seconds():
        for number in range(30):
            read.append(number)
            yield 4.0 if number == 0 else 0.0

    results = outcomes(wait_then_fill, seconds())
    next(results)
    assert HELD_BYTES // 2**23 <= len(read) < HELD_BYTES // 2**23 + 4
    assert sum(1 for _ in results) == 29


def test_a_worker_that_is_killed_while_it_is_idle_costs_nothing():
    results = outcomes(double, iter(range(20)), workers=1)
    found = []
    for result in results:
        found.append(result)
        if len(found) % 5 == 0:
            time.sleep(0.2)  # until the worker has done what it was given, and waits
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
    assert found == list(range(0, 40, 2))


def test_an_outcome_from_near_the_memory_limit_is_not_trusted():
    assert list(outcomes(hide_that_memory_is_out, [16, 1])) == ["memory", "memory"]
