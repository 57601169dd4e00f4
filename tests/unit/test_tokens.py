"""Tokens: a reversible encoding, whole token files, nested data and reproducible batches."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_laws import ledger
from scaling_laws.errors import InputError
from scaling_laws.ledger import sha256
from scaling_laws.tokens import reader, tokenizer
from scaling_laws.tokens.encode import encode
from scaling_laws.tokens.reader import Batches, TokenStream
from scaling_laws.tokens.scratch import expanded

TEXTS = [
    f"Document {n}: the quick brown fox\njumps over the lazy dog {n * n} times, naïve 東京 🦊.\n"
    * 9
    for n in range(40)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of 40 documents with a tokenizer of 300 entries and its token file."""
    folder = tmp_path_factory.mktemp("tokens")
    texts = [*TEXTS[:-1], "A document that says <|endoftext|> in its text."]
    table = pd.DataFrame({"doc_id": [f"{n:02d}" for n in range(40)], "text": texts})
    table.to_parquet(folder / "train.parquet")
    tokenizer.tokenizer(folder / "train.parquet", output=folder / "tokenizer.json", vocab_size=300)
    run_encode(folder)
    return folder


def run_encode(folder):
    return encode(
        folder / "train.parquet",
        tokenizer_file=folder / "tokenizer.json",
        output=folder / "train.bin",
        summary=folder / "train.json",
        documents=folder / "train.documents.parquet",
    )


def test_every_document_stands_in_the_token_file_and_decodes_to_itself(folder):
    bpe = tokenizer.load(folder / "tokenizer.json")
    tokens = np.fromfile(folder / "train.bin", "<u2")
    end = bpe.token_to_id(tokenizer.END_OF_TEXT)
    texts = pd.read_parquet(folder / "train.parquet")["text"]
    rows = pd.read_parquet(folder / "train.documents.parquet")
    for text, row in zip(texts, rows.itertuples(), strict=True):
        piece = tokens[row.offset : row.offset + row.tokens]
        assert piece[-1] == end
        assert end not in piece[:-1]  # also not where the text spells the token
        assert bpe.decode(piece[:-1].tolist(), skip_special_tokens=False) == text
    assert rows["tokens"].sum() == len(tokens)


def test_the_summary_says_what_the_file_holds(folder):
    facts = json.loads((folder / "train.json").read_text())
    assert facts["tokens"] == len(np.fromfile(folder / "train.bin", "<u2"))
    assert facts["documents"] == 40
    assert facts["vocab_size"] == 300
    assert facts["dtype"] == "uint16"
    assert facts["tokenizer_sha256"] == sha256(folder / "tokenizer.json")
    data = (folder / "train.bin").read_bytes()
    assert facts["sha256"] == hashlib.sha256(data).hexdigest()
    assert run_encode(folder)["decode(encode(document)) == document"] == "40 of 40 documents"


SPELLED = st.lists(st.one_of(st.text(), st.just("<|endoftext|>"))).map("".join)


@given(text=SPELLED)
@settings(max_examples=300, deadline=None)
def test_any_text_decodes_to_itself_and_never_holds_the_end_of_text_token(folder, text):
    bpe = tokenizer.load(folder / "tokenizer.json")
    ids = bpe.encode(text).ids
    assert bpe.decode(ids, skip_special_tokens=False) == text
    assert bpe.token_to_id(tokenizer.END_OF_TEXT) not in ids


def test_the_same_text_gives_the_same_tokenizer(folder, tmp_path):
    tokenizer.tokenizer(folder / "train.parquet", output=tmp_path / "t.json", vocab_size=300)
    assert (tmp_path / "t.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_a_vocabulary_that_the_text_does_not_give_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"\(tokenizer\.vocab_size\) asks for 60000"):
        tokenizer.tokenizer(folder / "train.parquet", output=tmp_path / "t", vocab_size=60000)


def test_a_tokenizer_that_loses_text_is_refused(folder, tmp_path):
    lossy = json.loads((folder / "tokenizer.json").read_text())
    lossy["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(lossy))
    with pytest.raises(InputError, match="document 00 does not decode to itself"):
        encode(
            folder / "train.parquet",
            tokenizer_file=tmp_path / "tokenizer.json",
            output=tmp_path / "o.bin",
            summary=tmp_path / "o.json",
            documents=tmp_path / "o.parquet",
        )
    assert not list(tmp_path.glob("*o.*"))


def test_a_tokenizer_that_is_there_is_taken_as_it_is(folder, tmp_path):
    options = {"output": tmp_path / "t.json", "file": folder / "tokenizer.json"}
    tokenizer.tokenizer(folder / "train.parquet", vocab_size=300, **options)
    assert (tmp_path / "t.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    with pytest.raises(InputError, match=r"has 300 entries, .*tokenizer\.vocab_size\) says 301"):
        tokenizer.tokenizer(folder / "train.parquet", vocab_size=301, **options)
    with pytest.raises(InputError, match=r"has no special token .</s>., which"):
        tokenizer.tokenizer(folder / "train.parquet", vocab_size=300, end_of_text="</s>", **options)
    with pytest.raises(InputError, match="has no special token 'e'"):
        tokenizer.load(folder / "tokenizer.json", "e")


def test_another_token_may_close_documents_and_nothing_else_is_added(folder, tmp_path):
    foreign = json.loads((folder / "tokenizer.json").read_text())
    for place in (foreign["added_tokens"][0], foreign["model"]["vocab"]):
        if "content" in place:
            place["content"] = "</s>"
        else:
            place["</s>"] = place.pop(tokenizer.END_OF_TEXT)
    # A tokenizer that begins every text with a special token, as some do.
    foreign["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "</s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [0], "tokens": ["</s>"]}},
    }
    (tmp_path / "t.json").write_text(json.dumps(foreign))
    facts = encode(
        folder / "train.parquet",
        tokenizer_file=tmp_path / "t.json",
        output=tmp_path / "o.bin",
        summary=tmp_path / "o.json",
        documents=tmp_path / "o.documents.parquet",
        end_of_text="</s>",
    )
    tokens = np.fromfile(tmp_path / "o.bin", "<u2")
    assert (tokens == 0).sum() == facts["documents"] == 40
    assert tokens[-1] == 0 and tokens[0] != 0


def test_a_part_of_the_text_can_train_the_tokenizer(tmp_path):
    texts = ["aab " * 200] * 300 + ["xyyz " * 200] * 900
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "t.parquet")
    merges = {}
    for size in (100_000, None):
        tokenizer.tokenizer(
            tmp_path / "t.parquet", output=tmp_path / "o", vocab_size=259, training_bytes=size
        )
        merges[size] = json.loads((tmp_path / "o").read_text())["model"]["merges"]
    assert "".join(map("".join, merges[100_000])).strip("ab\u0120") == ""
    assert set("".join(map("".join, merges[None]))) <= set("xyz\u0120")


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(InputError, match=r"t\.json: not a tokenizer\.json"):
        tokenizer.load(tmp_path / "t.json")


def test_streams_of_one_seed_are_nested_and_made_of_whole_documents_in_its_order(folder):
    whole = TokenStream(folder / "train.bin", seed=3)
    short = TokenStream(folder / "train.bin", 2000, seed=3)
    assert (short.read(0, 2000) == whole.read(0, 2000)).all()
    in_order = TokenStream(folder / "train.bin")
    assert (in_order.read(0, 2000) != whole.read(0, 2000)).any()
    everything = whole.read(0, whole.length)
    assert (np.sort(everything) == np.sort(in_order.read(0, in_order.length))).all()
    assert (everything[500:900] == whole.read(500, 900)).all()


def test_a_stream_too_large_to_hold_is_read_from_a_copy_that_is_made_once(
    folder, tmp_path, monkeypatch, caplog
):
    held = TokenStream(folder / "train.bin", seed=3, scratch=tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
    monkeypatch.setattr(reader, "HELD_BYTES", 0)
    ledger.clear()
    near = TokenStream(folder / "train.bin", seed=3, scratch=tmp_path / "scratch")
    (copy,) = (tmp_path / "scratch").glob("*.bin")
    assert Path(near._tokens.filename) == copy
    assert (near.read(0, near.length) == held.read(0, held.length)).all()
    # What was read is the token file, and nothing was written that a manifest would name.
    assert ledger.place(folder / "train.bin") in ledger.files_read()
    assert copy not in ledger.files_read() and ledger.files_written() == []
    before = copy.stat().st_mtime_ns
    TokenStream(folder / "train.bin", scratch=tmp_path / "scratch")
    assert copy.stat().st_mtime_ns == before
    copy.write_bytes(copy.read_bytes()[:-2])  # cut off, as where a disk was cleared
    again = TokenStream(folder / "train.bin", seed=3, scratch=tmp_path / "scratch")
    assert (again.read(0, again.length) == held.read(0, held.length)).all()
    (tmp_path / "file").touch()
    far = TokenStream(folder / "train.bin", scratch=tmp_path / "file")
    assert Path(far._tokens.filename) == folder / "train.bin"
    assert "is read from where it lies" in caplog.text


def test_a_folder_for_copies_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("JOB_DISK", "/local/7")
    assert expanded("$JOB_DISK/tokens") == Path("/local/7/tokens")
    monkeypatch.delenv("JOB_DISK")
    with pytest.raises(InputError, match=r"no variable \$\{JOB_DISK\} in the environment"):
        expanded("${JOB_DISK}/tokens")


def test_a_stream_longer_than_the_corpus_is_refused(folder):
    with pytest.raises(InputError, match="1000000 tokens wanted, the corpus has"):
        TokenStream(folder / "train.bin", 1_000_000)


@pytest.mark.parametrize("lost", [10, 3])  # bytes; three leave half a token
def test_a_token_file_that_is_cut_off_is_refused(folder, tmp_path, lost):
    for name in ("train.json", "train.documents.parquet"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "train.bin").write_bytes((folder / "train.bin").read_bytes()[:-lost])
    with pytest.raises(InputError, match=r"its \.json says"):
        TokenStream(tmp_path / "train.bin")


def test_an_epoch_has_every_sequence_once_and_each_epoch_another_order(folder):
    stream = TokenStream(folder / "train.bin", 1601, seed=0)
    batches = Batches(stream, n_ctx=16, batch_sequences=10, seed=0)
    first = np.concatenate([batches(step) for step in range(10)])
    second = np.concatenate([batches(step) for step in range(10, 20)])
    everything = set(map(tuple, stream.sequences(range(100), 16)))
    assert {tuple(row) for row in first} == everything == {tuple(row) for row in second}
    assert (first != second).any()
    assert (first[:, 1:-1] == first[:, :-1][:, 1:]).all()


def test_a_batch_is_a_function_of_seed_and_step_alone(folder):
    stream = TokenStream(folder / "train.bin", 1000, seed=0)
    one, other = (Batches(stream, 16, 7, seed=5) for _ in range(2))
    ahead = [one(step) for step in range(30)]
    assert all((other(step) == ahead[step]).all() for step in (29, 3, 17))
    assert (Batches(stream, 16, 7, seed=6)(3) != ahead[3]).any()
