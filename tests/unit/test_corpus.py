"""Extraction, deduplication, split and the other corpora."""

import bz2
import json
import random
from io import BytesIO

import pandas as pd
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from scaling_laws.corpus.dedup import choose_bands, dedup
from scaling_laws.corpus.extract import Document, document_id, extract_page
from scaling_laws.corpus.shingles import jaccard, shingles
from scaling_laws.corpus.sources import corpus
from scaling_laws.corpus.split import position, split
from scaling_laws.corpus.warc import Page, read_pages
from scaling_laws.errors import InputError

WORDS = [f"word{n}" for n in range(5000)]
PARAGRAPH = (
    "The committee met on Tuesday and agreed that the bridge over the river should be repaired "
    "before the winter, although two of its members had asked for a second opinion on the cost. "
)


def prose(seed, length=400):
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def edited(text, seed, edits):
    words = text.split()
    for place in random.Random(seed).sample(range(len(words)), edits):
        words[place] = f"edit{place}"
    return " ".join(words)


def write_documents(path, texts, scores=None):
    urls = [f"http://a.example/{n}" for n in range(len(texts))]
    table = pd.DataFrame(
        {
            "doc_id": [document_id(u, t) for u, t in zip(urls, texts, strict=True)],
            "url_id": [str(n) for n in range(len(texts))],
            "url": urls,
            "title": "",
            "text": texts,
            "language": "en",
            "words": [len(t.split()) for t in texts],
        }
    )
    table.to_parquet(path / "documents.parquet")
    links = pd.DataFrame({"url_id": table["url_id"], "score": scores or 5, "created_utc": 0})
    links.to_parquet(path / "links.parquet")
    return table


def run_dedup(path, **options):
    dedup(
        [path / "documents.parquet"],
        links=path / "links.parquet",
        output=path / "kept.parquet",
        duplicates=path / "duplicates.parquet",
        permutations=1024,
        **options,
    )
    return pd.read_parquet(path / "kept.parquet"), pd.read_parquet(path / "duplicates.parquet")


def test_a_page_becomes_its_article_without_the_navigation():
    html = (
        "<html><head><title>The bridge</title></head><body><nav><a href='/'>Home</a></nav>"
        f"<article><h1>The bridge</h1><p>{PARAGRAPH * 2}</p><p>{PARAGRAPH * 2}</p></article>"
        "<footer>Imprint</footer></body></html>"
    )
    page = Page("id", "http://a.example/", "text/html; charset=utf-8", html.encode())
    document = extract_page(page, "en", 50)
    assert isinstance(document, Document)
    assert document.title == "The bridge"
    assert PARAGRAPH.strip() in document.text
    assert "Home" not in document.text and "Imprint" not in document.text


def test_two_links_that_lead_to_one_page_are_two_documents():
    html = f"<html><body><article><p>{PARAGRAPH * 3}</p></article></body></html>".encode()
    pages = [Page(link, "http://a.example/", "text/html", html) for link in ("one", "two")]
    one, two = (extract_page(page, "en", 50) for page in pages)
    assert one.text == two.text and one.doc_id != two.doc_id


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<html><body></body></html>", "no_text"),
        (f"<html><body><article><p>{PARAGRAPH}</p></article></body></html>", "short"),
        ("", "no_text"),
        (
            "<html><body><article><p>"
            + "Der Ausschuss hat am Dienstag getagt und beschlossen, dass die Brücke über den "
            "Fluss vor dem Winter ausgebessert werden soll, obwohl zwei seiner Mitglieder eine "
            "zweite Meinung zu den Kosten verlangt hatten, die noch niemand eingeholt hat. "
            * 4
            + "</p></article></body></html>",
            "language: de",
        ),
    ],
)
def test_a_page_without_a_document_is_rejected_with_its_reason(body, reason):
    page = Page("id", "http://a.example/", "text/html; charset=utf-8", body.encode())
    assert extract_page(page, "en", 50).reason == reason


def test_shingles_give_the_jaccard_similarity_of_word_ngrams():
    a, b = prose(1, 300), edited(prose(1, 300), 2, 10)

    def ngrams(text):
        words = text.split()
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    exact = len(ngrams(a) & ngrams(b)) / len(ngrams(a) | ngrams(b))
    assert jaccard(shingles(a, 5), shingles(b, 5)) == pytest.approx(exact)
    assert 0.3 < exact < 0.9


def test_shingles_ignore_case_and_punctuation_but_not_order():
    assert (shingles("A b, c D e!", 5) == shingles("a B c d E", 5)).all()
    assert len(shingles("a b c d e e d c b a", 5)) == 6
    assert len(shingles("too short", 5)) == 1 and len(shingles("", 5)) == 0


def test_duplicates_are_dropped_and_named_with_what_was_kept(tmp_path):
    texts = [prose(n) for n in range(60)]
    texts += [texts[0], edited(texts[1], 7, 8), edited(texts[2], 7, 200)]
    table = write_documents(tmp_path, texts, scores=[5] * 60 + [4, 4, 4])
    kept, duplicates = run_dedup(tmp_path)
    assert len(kept) == 61
    pairs = {row.doc_id: row for row in duplicates.itertuples()}
    exact, near = pairs[table["doc_id"][60]], pairs[table["doc_id"][61]]
    assert (exact.kept_doc_id, exact.kind, exact.jaccard) == (table["doc_id"][0], "exact", 1.0)
    assert (near.kept_doc_id, near.kind) == (table["doc_id"][1], "near")
    true = jaccard(shingles(texts[1], 5), shingles(texts[61], 5))
    assert near.jaccard == pytest.approx(true) and 0.5 < true < 1


def test_the_document_with_the_higher_score_is_kept(tmp_path):
    table = write_documents(tmp_path, [prose(1), prose(2), edited(prose(1), 3, 5)], [3, 3, 8])
    kept, _ = run_dedup(tmp_path)
    assert set(kept["doc_id"]) == {table["doc_id"][1], table["doc_id"][2]}


def test_no_kept_pair_is_at_the_threshold_by_brute_force(tmp_path):
    rng = random.Random(0)
    texts = [prose(n, 200) for n in range(40)]
    texts += [edited(rng.choice(texts[:40]), n, rng.randrange(4, 40)) for n in range(160)]
    write_documents(tmp_path, texts)
    kept, duplicates = run_dedup(tmp_path, threshold=0.5)
    grams = [shingles(text, 5) for text in kept["text"]]
    worst = max(jaccard(a, b) for i, a in enumerate(grams) for b in grams[:i])
    assert worst < 0.5
    assert len(kept) + len(duplicates) == 200 and len(duplicates) > 60


def test_bands_miss_a_pair_at_the_threshold_seldom_enough():
    bands, rows = choose_bands(0.5, 1024, 1e-6)
    assert bands * rows <= 1024 and (1 - 0.5**rows) ** bands <= 1e-6
    assert (1 - 0.5 ** (rows + 1)) ** (1024 // (rows + 1)) > 1e-6
    with pytest.raises(InputError, match=r"dedup\.permutations = 4 are too few"):
        choose_bands(0.5, 4, 1e-6)


def test_an_empty_corpus_is_told(tmp_path):
    write_documents(tmp_path, [])
    with pytest.raises(InputError, match="no document is left after extraction"):
        run_dedup(tmp_path)


def test_a_document_keeps_its_side_when_others_come(tmp_path):
    texts = [prose(n, 60) for n in range(300)]
    sides = []
    for size in (300, 200):
        write_documents(tmp_path, texts[:size])
        split(
            tmp_path / "documents.parquet",
            train=tmp_path / "train.parquet",
            test=tmp_path / "test.parquet",
            test_fraction=0.2,
        )
        train = set(pd.read_parquet(tmp_path / "train.parquet")["doc_id"])
        test = set(pd.read_parquet(tmp_path / "test.parquet")["doc_id"])
        assert not train & test and len(train | test) == size
        assert 0.1 < len(test) / size < 0.3
        sides.append((train, test))
    assert sides[1][0] <= sides[0][0] and sides[1][1] <= sides[0][1]


def test_the_seed_moves_the_split():
    names = [str(n) for n in range(100)]
    assert [position(n, 0) for n in names] != [position(n, 1) for n in names]


def test_a_split_without_a_side_is_refused(tmp_path):
    write_documents(tmp_path, [prose(1)])
    with pytest.raises(InputError, match=r"split\.test_fraction = 0\.5 leave the \w+ split empty"):
        split(
            tmp_path / "documents.parquet",
            train=tmp_path / "a",
            test=tmp_path / "b",
            test_fraction=0.5,
        )


def read_corpus(tmp_path, source, format, **options):
    write_documents(tmp_path, [prose(n) for n in range(5)])
    corpus(
        "books",
        source=source,
        format=format,
        train=tmp_path / "documents.parquet",
        output=tmp_path / "o.parquet",
        rejected=tmp_path / "r.parquet",
        **options,
    )
    return pd.read_parquet(tmp_path / "o.parquet"), pd.read_parquet(tmp_path / "r.parquet")


def test_a_corpus_is_rid_of_what_the_training_split_holds(tmp_path):
    lines = [{"text": prose(99), "title": "new"}, {"text": edited(prose(1), 5, 3), "title": "seen"}]
    (tmp_path / "books.jsonl").write_text("\n".join(map(json.dumps, lines)))
    kept, dropped = read_corpus(tmp_path, tmp_path / "books.jsonl", "jsonl")
    assert list(kept["title"]) == ["new"]
    assert list(dropped["title"]) == ["seen"]
    assert dropped["reason"][0].startswith("in training split: 0.")


def test_articles_of_an_encyclopedia_lose_their_markup(tmp_path):
    page = (
        "<page><title>{}</title><ns>{}</ns><id>{}</id>{}"
        "<revision><id>1</id><text>{}</text></revision></page>"
    )
    text = "'''Bridge''' is a [[structure|built thing]] {{citation}} over a [[river]]. " * 12
    xml = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo>'
        "<sitename>W</sitename></siteinfo>"
        + page.format("Bridge", 0, 1, "", text)
        + page.format("Talk:Bridge", 1, 2, "", text)
        + page.format("Bridges", 0, 3, '<redirect title="Bridge" />', "#REDIRECT [[Bridge]]")
        + "</mediawiki>"
    )
    source = tmp_path / "wiki.xml.bz2"
    source.write_bytes(bz2.compress(xml.encode()))
    kept, _ = read_corpus(tmp_path, source, "wikipedia")
    assert list(kept["title"]) == ["Bridge"]
    assert kept["text"][0].startswith("Bridge is a built thing  over a river.")
    source.write_bytes(source.read_bytes()[:-40])
    with pytest.raises(InputError, match="not a whole MediaWiki dump"):
        read_corpus(tmp_path, source, "wikipedia")


def test_a_warc_file_that_is_cut_off_is_refused(tmp_path):
    source = tmp_path / "pages.warc.gz"
    with source.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for number in range(5):
            body = f"<html><body><p>{prose(number, 300)}</p></body></html>".encode()
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], "HTTP/1.1")
            url = f"http://a.example/{number}"
            writer.write_record(
                writer.create_warc_record(url, "response", BytesIO(body), http_headers=headers)
            )
    assert len(list(read_pages(source))) == 5
    source.write_bytes(source.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"pages\.warc\.gz: not a whole WARC file"):
        list(read_pages(source))
    source.write_bytes(b"")
    with pytest.raises(InputError, match="not a whole WARC file: it is empty"):
        list(read_pages(source))


def test_a_table_of_another_kind_is_named_with_what_it_lacks(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: no column doc_id, text, words; found a"):
        split(tmp_path / "a.parquet", train=tmp_path / "t", test=tmp_path / "u")
    (tmp_path / "a.parquet").write_text("text")
    with pytest.raises(InputError, match=r"a\.parquet: not a Parquet file"):
        split(tmp_path / "a.parquet", train=tmp_path / "t", test=tmp_path / "u")


def test_a_text_that_is_no_string_is_refused(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"text": 5}')
    with pytest.raises(InputError, match=r"b\.jsonl:1: text is 5, expected a string"):
        read_corpus(tmp_path, tmp_path / "b.jsonl", "jsonl")


@pytest.mark.parametrize("line", ["{", "[]", '{"title": "no text"}'])
def test_a_broken_line_of_a_corpus_is_named(tmp_path, line):
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": prose(1)}) + "\n" + line)
    with pytest.raises(InputError, match=r"b\.jsonl:2: expected a JSON object with the key text"):
        read_corpus(tmp_path, tmp_path / "b.jsonl", "jsonl")
