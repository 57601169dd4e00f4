"""Other corpora: their formats, and what the training split holds of them."""

import bz2
import gzip
import json
import lzma
import multiprocessing
import random
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pandas as pd
import pytest
from backports import zstd
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from scaling_laws.corpus.dedup.shingles import shingles
from scaling_laws.corpus.text.sources import corpus
from scaling_laws.errors import InputError

WORDS = [f"word{n}" for n in range(5000)]
SENTENCE = (
    "The committee met on Tuesday and agreed that the bridge over the river should be repaired "
    "before the winter, although two of its members had asked for a second opinion. "
)
GERMAN = (
    "Der Ausschuss hat am Dienstag getagt und beschlossen, dass die Brücke über den Fluss vor dem "
    "Winter ausgebessert werden soll, obwohl zwei seiner Mitglieder dagegen waren. "
)
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}


def prose(seed, length=400):
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def edited(text, seed, edits):
    words = text.split()
    for place in random.Random(seed).sample(range(len(words)), edits):
        words[place] = f"edit{place}"
    return " ".join(words)


def read(folder, source, format, training=("nothing of the kind",), **options):
    pd.DataFrame({"text": list(training)}).to_parquet(folder / "train.parquet")
    statistics = corpus(
        "books",
        source=source,
        format=format,
        train=folder / "train.parquet",
        output=folder / "out" / "kept.parquet",
        rejected=folder / "out" / "rejected.parquet",
        **options,
    )
    kept = pd.read_parquet(folder / "out" / "kept.parquet")
    rejected = pd.read_parquet(folder / "out" / "rejected.parquet")
    assert statistics["documents"] == len(kept) and statistics["words"] == kept["words"].sum()
    assert sum(statistics["dropped"].values()) == len(rejected)
    return kept, rejected


def write_lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


# What the training split holds


def test_a_corpus_is_rid_of_what_the_training_split_holds(tmp_path):
    training = [prose(n) for n in range(5)]
    rows = [{"text": prose(99), "title": "new"}, {"text": edited(prose(1), 5, 3), "title": "seen"}]
    source = write_lines(tmp_path / "books.jsonl", rows)
    kept, rejected = read(tmp_path, source, "jsonl", training)
    assert list(kept["title"]) == ["new"]
    (row,) = rejected.itertuples()
    assert (row.title, row.url) == ("seen", "books.jsonl:2")
    assert row.reason == f"in training split: {row.overlap:.3f}"
    assert row.doc_id and 0.8 < row.overlap < 1


def test_the_overlap_is_the_share_of_ngrams_by_brute_force(tmp_path):
    chance = random.Random(0)
    training = [prose(n, chance.randrange(1, 300)) for n in range(1500)]
    texts = [edited(chance.choice(training), n, 0) + " " + prose(5000 + n, 150) for n in range(120)]
    texts += [prose(9000, 5), "Word1 WORD2, word3!"]
    training.append("word1 word2 word3")  # shorter than an n-gram: it is one
    source = write_lines(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    seen = {gram for text in training for gram in shingles(text, 13).tolist()}
    grams = [shingles(text, 13).tolist() for text in texts]
    shares = [len(seen.intersection(own)) / len(own) for own in grams]
    kept, rejected = read(tmp_path, source, "jsonl", training, maximum_overlap=0.5)
    assert list(kept["text"]) == [t for t, s in zip(texts, shares, strict=True) if s <= 0.5]
    assert list(rejected["overlap"]) == pytest.approx([s for s in shares if s > 0.5])
    assert 10 < len(rejected) < 110 and shares[-1] == 1


def test_a_corpus_that_the_training_split_holds_is_told(tmp_path):
    source = write_lines(tmp_path / "books.jsonl", [{"text": prose(1)}])
    message = r"no document of corpus books is left; dropped: \{'in training split': 1\}"
    with pytest.raises(InputError, match=message):
        read(tmp_path, source, "jsonl", [prose(1)])
    assert not list((tmp_path / "out").iterdir())


def test_reading_stops_when_there_are_words_enough(tmp_path):
    rows = [{"text": prose(n, 100)} for n in range(20)]
    source = write_lines(tmp_path / "books.jsonl", rows)
    assert len(read(tmp_path, source, "jsonl", maximum_words=250)[0]) == 3
    source.write_text(source.read_text() + "\n{")  # is not come to
    assert len(read(tmp_path, source, "jsonl", maximum_words=1000)[0]) == 10
    with pytest.raises(InputError, match=r"books\.jsonl:21: expected"):
        read(tmp_path, source, "jsonl")


def test_texts_are_brought_into_normal_form_and_empty_ones_listed(tmp_path):
    rows = [{"text": " Cafe\u0301\r\n\x07 It\u00e2\u0080\u0099s "}, {"text": " \n"}]
    kept, rejected = read(tmp_path, write_lines(tmp_path / "b.jsonl", rows), "jsonl")
    assert list(kept["text"]) == ["Café\n Itâs"]
    assert kept["mojibake"][0] == 2 and kept["control_characters"][0] == 3
    assert list(rejected["url"]) == ["b.jsonl:2"] and list(rejected["reason"]) == ["no_text"]


# JSON Lines and Parquet


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "not JSON: "),
        ("[]", "found []"),
        (f'"{"ü" * 40}"', 'found "ü'),
        ('{"title": "no text", "body": ""}', "found title, body"),
        ("{}", "found no key"),
    ],
)
def test_a_broken_line_of_a_corpus_is_named(tmp_path, line, found):
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": prose(1)}) + "\n" + line)
    with pytest.raises(InputError) as error:
        read(tmp_path, tmp_path / "b.jsonl", "jsonl")
    expected = "b.jsonl:2: expected a JSON object with the key text; "
    assert expected + found in str(error.value)


def test_a_text_that_is_no_string_is_refused(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"text": 5}')
    with pytest.raises(InputError, match=r"b\.jsonl:1: text is 5, expected a string"):
        read(tmp_path, tmp_path / "b.jsonl", "jsonl")


@pytest.mark.parametrize("suffix", list(COMPRESS))
def test_a_compressed_file_is_read_and_one_that_is_cut_off_refused(tmp_path, suffix):
    content = "\n".join(json.dumps({"text": prose(n)}) for n in range(50)).encode()
    source = tmp_path / f"b.jsonl{suffix}"
    source.write_bytes(COMPRESS[suffix](content))
    assert list(read(tmp_path, source, "jsonl")[0]["text"]) == [prose(n) for n in range(50)]
    source.write_bytes(source.read_bytes()[:-50])
    with pytest.raises(InputError, match=rf"b\.jsonl{suffix}:"):
        read(tmp_path, source, "jsonl")
    if suffix:
        source.write_bytes(b"something else")
        with pytest.raises(InputError, match=rf"b\.jsonl{suffix}: not a whole \{suffix} file"):
            read(tmp_path, source, "jsonl")


def test_all_files_of_a_folder_are_read_by_name(tmp_path):
    folder = tmp_path / "books"
    (folder / "b").mkdir(parents=True)
    for name in ("b/2.jsonl", "a.jsonl", "c.jsonl.gz", "b/1.ndjson"):
        content = json.dumps({"text": f"{prose(1, 60)} {name}"}).encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for name in ("notes.md", ".partial-1-d.jsonl"):
        (folder / name).write_text("other")
    kept, _ = read(tmp_path, folder, "jsonl")
    assert list(kept["url"]) == ["a.jsonl:1", "b/1.ndjson:1", "b/2.jsonl:1", "c.jsonl.gz:1"]
    with pytest.raises(InputError, match=r"books: no file \*\.epub in it"):
        read(tmp_path, folder, "epub")
    with pytest.raises(InputError, match=r"nowhere: no such file; .*corpora\.books\.path"):
        read(tmp_path, tmp_path / "nowhere", "jsonl")


def test_parquet_files_are_read_with_and_without_titles(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    texts = [prose(n, 50) for n in range(700)]
    pd.DataFrame({"text": texts, "title": [f"t{n}" for n in range(700)]}).to_parquet(
        folder / "a.parquet", row_group_size=300
    )
    pd.DataFrame({"id": [1], "text": ["Some words."]}).to_parquet(folder / "b.parquet")
    kept, _ = read(tmp_path, folder, "parquet")
    assert list(kept["text"]) == [*texts, "Some words."]
    assert list(kept["title"]) == [*(f"t{n}" for n in range(700)), ""]
    assert kept["url"][699] == "a.parquet:700"


def test_a_parquet_file_that_cannot_be_used_is_named(tmp_path):
    source = tmp_path / "in.parquet"
    pd.DataFrame({"text": ["a", None]}).to_parquet(source)
    with pytest.raises(InputError, match=r"in\.parquet: row 2: text is None, expected a string"):
        read(tmp_path, source, "parquet")
    pd.DataFrame({"content": ["a"]}).to_parquet(source)
    with pytest.raises(InputError, match=r"in\.parquet: no column text; found content"):
        read(tmp_path, source, "parquet")
    pd.DataFrame({"text": [prose(n) for n in range(500)]}).to_parquet(source)
    content = bytearray(source.read_bytes())
    content[100:5000] = bytes(4900)
    source.write_bytes(content)
    with pytest.raises(InputError, match=r"in\.parquet: damaged after row 0"):
        read(tmp_path, source, "parquet")


# Plain text and EPUB

GUTENBERG = """The Project Gutenberg EBook of The Bridge, by A. Nobody

Title: The Bridge

Character set encoding: ISO-8859-1

*** START OF THIS PROJECT GUTENBERG EBOOK
THE BRIDGE ***


Chapter I. The café by the bridge.

The end.

End of the Project Gutenberg EBook of The Bridge

*** END OF THIS PROJECT GUTENBERG EBOOK THE BRIDGE ***
Section 1. General Terms of Use
"""


def test_a_text_file_is_a_document_without_what_project_gutenberg_writes_around_it(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "1.txt").write_bytes(GUTENBERG.encode("latin-1"))
    (folder / "2.txt").write_bytes(b"\xef\xbb\xbfNo START OF THIS here.")
    (folder / "3.txt.gz").write_bytes(gzip.compress(b"Third."))
    kept, _ = read(tmp_path, folder, "text")
    assert list(kept["title"]) == ["The Bridge", "2", "3"]
    own = "Chapter I. The café by the bridge.\n\nThe end."
    assert list(kept["text"]) == [own, "No START OF THIS here.", "Third."]
    assert list(kept["url"]) == ["1.txt", "2.txt", "3.txt.gz"]


def test_a_text_in_an_unknown_encoding_is_refused(tmp_path):
    (tmp_path / "1.txt").write_bytes("Ein schöner Tag".encode("latin-1"))
    with pytest.raises(InputError, match=r"1\.txt: expected text in UTF-8: .*position 7"):
        read(tmp_path, tmp_path / "1.txt", "text")


def write_epub(path, chapters, encrypted=(), linear="yes"):
    names = [f"text/chapter {n}.xhtml" for n in range(len(chapters))]
    items = "".join(
        f'<item id="i{n}" href="{name.replace(" ", "%20")}" media-type="application/xhtml+xml"/>'
        for n, name in enumerate(names)
    )
    spine = "".join(f'<itemref idref="i{n}"/>' for n in reversed(range(len(chapters))))
    with ZipFile(path, "w", ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        )
        if encrypted:
            references = "".join(f'<CipherReference URI="{name}"/>' for name in encrypted)
            book.writestr("META-INF/encryption.xml", f"<encryption>{references}</encryption>")
        book.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><metadata '
            'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Bridge</dc:title></metadata>'
            '<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" '
            f'properties="nav"/><item id="svg" href="a.svg" media-type="image/svg+xml"/>{items}'
            f'</manifest><spine><itemref idref="nav"/><itemref idref="svg"/>{spine}'
            f'<itemref idref="i0" linear="no"/></spine></package>',
        )
        book.writestr("OPS/nav.xhtml", "<html><body><p>Contents</p></body></html>")
        for name, chapter in zip(names, chapters, strict=True):
            book.writestr(f"OPS/{name}", chapter)
    return path


XHTML = (
    '<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "xhtml11.dtd">'
    '<html xmlns="http://www.w3.org/1999/xhtml"><head><title/><style>p {{}}</style></head>'
    "<body>{}</body></html>"
)


def test_a_book_is_its_chapters_in_the_order_of_the_spine(tmp_path):
    first = XHTML.format(
        "<h1>One</h1><p>The <i>old</i>\n bridge&nbsp;&mdash; it<!-- c --> stood.</p><p>Roses<br/>"
        "  are red</p><pre>a\n  b</pre><div>Loose <span>text</span><p>inside</p> and after</div>"
    )
    second = "<html><body><p>Two & more<br>of it<p>not closed</body></html>"  # HTML, no XML
    book = write_epub(tmp_path / "b.epub", [first, second])
    (row,) = read(tmp_path, book, "epub")[0].itertuples()
    assert row.title == "The Bridge" and row.url == "b.epub"
    assert row.text == (
        "Two & more\nof it\n\nnot closed\n\nOne\n\nThe old bridge\xa0— it stood.\n\nRoses\nare red"
        "\n\na\nb\n\nLoose text\n\ninside\n\nand after"
    )


def test_a_book_that_cannot_be_read_is_named(tmp_path):
    chapter = XHTML.format(f"<p>{prose(1)}</p>")
    book = write_epub(tmp_path / "b.epub", [chapter], encrypted=["OPS/text/chapter 0.xhtml"])
    with pytest.raises(InputError, match=r"b\.epub: OPS/text/chapter 0\.xhtml is encrypted"):
        read(tmp_path, book, "epub")
    content = write_epub(book, [chapter]).read_bytes()
    book.write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"b\.epub: not a whole EPUB"):
        read(tmp_path, book, "epub")
    middle = content.index(b"chapter 0.xhtml") + 200
    book.write_bytes(content[:middle] + bytes(50) + content[middle + 50 :])
    with pytest.raises(InputError, match=r"b\.epub: not a whole EPUB"):
        read(tmp_path, book, "epub")
    with ZipFile(book, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container>")
    with pytest.raises(InputError, match=r"b\.epub: META-INF/container\.xml: "):
        read(tmp_path, book, "epub")
    with ZipFile(book, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
    with pytest.raises(InputError, match=r"not a whole EPUB: .*META-INF/container\.xml"):
        read(tmp_path, book, "epub")


# Wikipedia

ARTICLE = "'''Bridge''' is a [[structure|built thing]] {{citation}} over a [[river]]. " * 12


def dump(*pages):
    page = (
        "<page><title>{}</title><ns>{}</ns><id>{}</id>{}"
        "<revision><id>1</id><text>{}</text></revision></page>"
    )
    return (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo>'
        f"<sitename>W</sitename></siteinfo>{''.join(page.format(*p) for p in pages)}</mediawiki>"
    ).encode()


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
def test_articles_of_an_encyclopedia_lose_their_markup(tmp_path, suffix):
    content = dump(
        ("Bridge", 0, 1, "", ARTICLE),
        ("Talk:Bridge", 1, 2, "", ARTICLE),
        ("Bridges", 0, 3, '<redirect title="Bridge" />', "#REDIRECT [[Bridge]]"),
        ("Stub", 0, 4, "", "'''Stub''' is short."),
        *((f"Item {n}", 0, n, "", f"{ARTICLE} {n}") for n in range(5, 30)),
    )
    source = tmp_path / f"wiki.xml{suffix}"
    source.write_bytes(COMPRESS[suffix](content))
    kept, rejected = read(tmp_path, source, "wikipedia", workers=2)
    assert list(kept["title"]) == ["Bridge", *(f"Item {n}" for n in range(5, 30))]
    assert kept["text"][0].startswith("Bridge is a built thing  over a river.")
    assert list(rejected["url"]) == ["wikipedia:4"] and list(rejected["reason"]) == ["short"]
    source.write_bytes(source.read_bytes()[:-40])
    with pytest.raises(InputError, match=rf"wiki\.xml{suffix}: not a whole"):
        read(tmp_path, source, "wikipedia")
    assert not multiprocessing.active_children()


def test_another_xml_file_is_no_dump(tmp_path):
    (tmp_path / "a.xml").write_text("<feed><entry/></feed>")
    with pytest.raises(InputError, match=r"a\.xml: not a MediaWiki dump: found <feed>"):
        read(tmp_path, tmp_path / "a.xml", "wikipedia")


# Web pages


def write_warc(path, kind, payloads):
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for number, payload in enumerate(payloads):
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], "HTTP/1.1")
            record = writer.create_warc_record(
                f"http://a.example/{number}",
                kind,
                BytesIO(payload.encode()),
                http_headers=headers if kind == "response" else None,
                warc_content_type="text/plain" if kind == "conversion" else "",
            )
            writer.write_record(record)
    return path


def test_pages_of_a_crawl_are_extracted_and_each_loss_listed(tmp_path):
    folder = tmp_path / "crawl"
    folder.mkdir()
    texts = [SENTENCE * 3, SENTENCE, GERMAN * 4, SENTENCE * 4]
    pages = [f"<html><body><article><p>{text}</p></article></body></html>" for text in texts]
    write_warc(folder / "1.warc.gz", "response", pages)
    write_warc(folder / "2.warc.gz", "response", pages[:1])
    kept, rejected = read(tmp_path, folder, "warc", workers=2)
    assert list(kept["url"]) == ["http://a.example/0", "http://a.example/3"]
    assert list(kept["text"]) == [texts[0].strip(), texts[3].strip()]
    assert list(zip(rejected["url"], rejected["reason"], strict=True)) == [
        ("http://a.example/1", "short"),
        ("http://a.example/2", "language: de"),
        ("http://a.example/0", "duplicate"),
    ]


def test_the_text_of_pages_is_taken_as_it_is(tmp_path):
    texts = [f"Menu\nHome\n{SENTENCE * 3}", SENTENCE, GERMAN * 4]
    source = write_warc(tmp_path / "a.warc.wet.gz", "conversion", texts)
    kept, rejected = read(tmp_path, source, "wet")
    assert list(kept["text"]) == [texts[0].strip()]
    assert list(rejected["reason"]) == ["short", "language: de"]
    source.write_bytes(source.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"a\.warc\.wet\.gz: not a whole WARC file"):
        read(tmp_path, source, "wet")
