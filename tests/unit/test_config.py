"""The configuration refuses what cannot work, and says where and why."""

import gzip
import json
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from scaling_laws.config import dump_files, load, require_files, resolve, schema, validate
from scaling_laws.errors import InputError
from scaling_laws.studies.grid import runs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def default():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.fixture
def live(default):
    """The default, for dumps and a crawl of one's own."""
    default["crawl"] |= {"proxy": None, "contact": "me@university.edu"}
    return default


def put(settings, path, value):
    *sections, key = path.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
    settings[key] = value


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("split.test_fraction", 3, "less than 1"),
        ("split.test_fraction", "a", "valid number"),
        ("crawl.timeout", "fast", "valid number"),
        ("crawl.retries", -1, "greater than or equal to 0"),
        ("links.dumps", "RS.zst", "'sample'"),
        ("links.last_day", "2018-13-01", "valid date"),
        ("tokenizer.vocab_size", 100, "greater than or equal to 257"),
        ("results", "/elsewhere", "expected a folder here whose name begins with results"),
        ("results", "results/../src", "it may be a symbolic link to another disk"),
        ("crawl.proxy", "loopback", "'sample'"),
        ("training.learning_rate.exponent", 1e9, "less than or equal to 2"),
        ("training.learning_rate", "papers", "expected a number above 0, paper, porian, or {peak"),
        ("training.learning_rate", -0.1, "expected a number above 0, paper, porian, or {peak"),
        ("training.learning_rate", "inf", "expected a number above 0, paper, porian, or {peak"),
        (
            "studies.data_size.training.learning_rate",
            [0.1],
            "expected a number above 0, paper, porian",
        ),
        ("training.warmup", "some steps", "expected the like of 10%, 3000 steps, 5e8 tokens or N"),
        ("training.warmup", "N steps", "expected the like of 10%"),
        ("training.warmup", 3000, "expected the like of 10%"),
        ("training.optimizer", "sgd", "'auto', 'adam', 'adamw' or 'adafactor'"),
        ("training.schedule", "step", "'wsd' or 'inverse_sqrt'"),
        ("training.final_lr", 2, "less than or equal to 1"),
        ("training.checkpoint_minutes", 0, "greater than 0"),
        ("sample.news", 99999, "less than or equal to 3779"),
        ("links.dumps", [], "at least 1 item"),
        ("fits.laws.L_N", [], "at least 1 item"),
        ("studies.data_size.vary.data_tokens", [], "at least 1 item"),
        ("studies.model_size.training.tokens", "3e13 FLOPS", "the like of 3e13 FLOP or 20 N"),
        ("fits.bootstrap", 0, "greater than or equal to 2"),
    ],
)
def test_an_impossible_value_is_named_with_its_path_and_what_is_allowed(
    default, path, value, allowed
):
    put(default, path, value)
    with pytest.raises(InputError) as error:
        validate(default)
    message = str(error.value)
    assert f"{path} = {json.dumps(value)}: " in message
    assert allowed in message


def test_numbers_that_are_none_are_refused(default):
    put(default, "training.gradient_clip", float("inf"))
    with pytest.raises(InputError, match=r"training\.gradient_clip = .* finite number"):
        validate(default)


def test_null_takes_away_a_corpus_or_law_as_an_overlay_must(default):
    default["corpora"]["books"] = None
    default["fits"]["laws"]["N_opt"] = None
    config = validate(default)
    assert "books" not in config.corpora and "N_opt" not in config.fits.laws


def test_a_study_that_is_off_takes_its_laws_along(default):
    default["studies"] |= {"data_size": None, "batch_size": None}
    assert set(validate(default).fits.laws) == {"L_N", "L_C", "N_C"}


def test_files_that_are_named_and_not_there_are_refused(live, tmp_path):
    require_files(validate(live))
    here, gone = tmp_path / "here.jsonl", tmp_path / "gone.jsonl"
    here.touch()
    corpus = {"format": "jsonl", "title": "T"}
    live["corpora"] |= {"a": corpus | {"path": str(here)}, "b": corpus | {"path": str(gone)}}
    put(live, "links.dumps", [str(tmp_path / "none.zst")])
    with pytest.raises(InputError) as error:
        require_files(validate(live))
    dump, other = str(error.value).splitlines()
    assert dump == f"config: links.dumps.0 = {tmp_path}/none.zst: no such file"
    assert other == f"config: corpora.b.path = {gone}: no such file or folder"


def test_files_that_are_not_what_they_should_be_are_refused(default, tmp_path):
    whole, packed = tmp_path / "0.warc", tmp_path / "1.warc.gz"
    whole.write_bytes(b"WARC/1.0\r\nWARC-Type: warcinfo\r\n")
    packed.write_bytes(gzip.compress(whole.read_bytes()))
    bpe = tmp_path / "tokenizer.json"
    bpe.write_text('{"model": {"vocab": {}}}')
    texts = tmp_path / "texts"
    (texts / "one").mkdir(parents=True)
    (texts / "one/a.TXT").write_text("a")
    default["corpora"]["mine"] = {"format": "text", "path": str(texts), "title": "T"}
    put(default, "crawl.archives", [str(whole), str(packed)])
    put(default, "tokenizer.file", str(bpe))
    require_files(validate(default))

    whole.write_bytes(b"<html>")
    packed.write_bytes(b"\x1f\x8b" + bytes(40))
    (texts / "one/a.TXT").rename(texts / "one/.a.txt")
    for content in ('["model"]', "{}", "# Readme", ""):
        bpe.write_text(content)
        with pytest.raises(InputError) as error:
            require_files(validate(default))
        assert str(error.value).splitlines() == [
            f"config: crawl.archives.0 = {whole}: not a WARC file",
            f"config: crawl.archives.1 = {packed}: not a WARC file",
            f"config: tokenizer.file = {bpe}: not a tokenizer.json, which has a model",
            f"config: corpora.mine.path = {texts}: no file *.txt in it, for the format text",
        ]


def test_dumps_of_ones_own_are_not_crawled_through_the_proxy_of_the_sample(default):
    put(default, "links.dumps", ["RS_2017-11.zst"])
    with pytest.raises(InputError, match=r"^config: crawl\.proxy = sample: it has none of the .*$"):
        validate(default)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("links.dumps", "RS.zst", "Input should be 'sample' or a valid array"),
        ("crawl.proxy", "loopback", "Input should be 'sample' or a URL that begins with http"),
        ("extract.language", "english", "expected two letters (ISO 639-1) such as en"),
        ("crawl.archives", ["a/0.warc", "b/0.warc"], "two archives are named 0.warc; rename one"),
    ],
)
def test_a_wrong_value_costs_one_line(default, path, value, message):
    put(default, path, value)
    with pytest.raises(InputError) as error:
        validate(default)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"config: {path} = {json.dumps(value)}: {message}")


def test_of_a_list_that_may_be_a_word_the_wrong_entry_is_named(default):
    put(default, "links.dumps", ["a", 5])
    with pytest.raises(InputError) as error:
        validate(default)
    assert str(error.value) == "config: links.dumps.1 = 5: Input should be a valid string"


def test_of_keys_that_do_not_go_together_the_section_is_not_printed(default):
    put(default, "links.first_day", "2019-01-01")
    with pytest.raises(InputError) as error:
        validate(default)
    assert str(error.value) == (
        "config: links.first_day = 2019-01-01 is after last_day = 2018-10-31"
    )


def test_a_corpus_with_an_odd_name_is_refused_in_words(default):
    default["corpora"]["my corpus"] = default["corpora"]["books"]
    with pytest.raises(InputError) as error:
        validate(default)
    assert str(error.value) == (
        "config: corpora.my corpus: expected a name of small letters, digits and _ that begins "
        "with a letter"
    )


def test_of_a_long_value_the_beginning_is_printed(default):
    put(default, "split.seed", ["x" * 1000])
    with pytest.raises(InputError) as error:
        validate(default)
    assert len(str(error.value)) < 150 and 'split.seed = ["xxx' in str(error.value)


def test_dumps_may_be_named_by_a_pattern_and_each_has_a_name_of_its_own(live, tmp_path):
    for name in ("RS_2017-11.zst", "RS_2005-12.bz2", "a/RS_2005-12.xz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    put(live, "links.dumps", [f"{tmp_path}/RS_*"])
    found = dump_files(validate(live))
    assert found == {
        "RS_2005-12": tmp_path / "RS_2005-12.bz2",
        "RS_2017-11": tmp_path / "RS_2017-11.zst",
    }
    put(live, "links.dumps", [f"{tmp_path}/RS_*", f"{tmp_path}/a/*"])
    with pytest.raises(InputError, match=r"links\.dumps\.1 .*RS_2005-12\.bz2 have one name"):
        require_files(validate(live))


@pytest.mark.parametrize(
    "contact", [None, "me", "me@sample.invalid", "http://www.crawler.example/about", "a@b"]
)
def test_the_live_web_is_not_crawled_without_a_contact(default, contact):
    put(default, "crawl.contact", contact)
    put(default, "crawl.proxy", None)
    with pytest.raises(InputError, match="off the sample web, expected an e-mail or web address"):
        validate(default)


@pytest.mark.parametrize("user_agent", ["", " ", "/1.0", "(bot)", "bot\n", "b\u00f6t"])
def test_a_user_agent_must_have_a_name_and_be_sendable(default, user_agent):
    put(default, "crawl.user_agent", user_agent)
    with pytest.raises(InputError, match=r"crawl\.user_agent"):
        validate(default)


@pytest.mark.parametrize("contact", ["me@university.edu", "https://lab.org/crawler?a=b"])
def test_a_contact_is_an_address_that_can_be_reached(default, contact):
    put(default, "crawl.contact", contact)
    put(default, "crawl.proxy", "http://proxy:3128")
    assert validate(default).crawl.contact == contact


def test_a_law_cannot_be_fitted_to_an_unknown_study(default):
    put(default, "fits.laws.L_N", ["data"])
    with pytest.raises(InputError, match=r"fits\.laws\.L_N: no study 'data'; there is model_size"):
        validate(default)


def test_heads_that_do_not_divide_the_width_are_refused(default):
    default["studies"]["model_size"]["shapes"][3]["n_head"] = 7
    with pytest.raises(InputError, match=r"shapes\.3\.n_head = 7 .* allowed: 1, 2, 3, 4, 6, 8"):
        validate(default)


def test_heads_are_asked_for_where_there_must_be_some(default):
    del default["studies"]["model_size"]["shapes"][3]["n_head"]
    with pytest.raises(InputError, match=r"shapes\.3\.n_head is missing; allowed: 1, 2, 3"):
        validate(default)


def test_parts_that_do_not_divide_the_batch_are_refused(default):
    put(default, "training.micro_batches", 3)
    with pytest.raises(InputError, match=r"micro_batches = 3 does not divide .* 1, 2, 4, 8, 16$"):
        validate(default)


def test_every_overlay_is_named_where_one_of_them_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    wrong, right = tmp_path / "wrong.yaml", tmp_path / "right.yaml"
    wrong.write_text("training: {tokns: 3}\n")
    right.write_text("training: {tokens: 3000000}\n")
    with pytest.raises(InputError, match=f"^{wrong} \\+ {right}: training.tokns is no known key"):
        load([wrong, right])


@pytest.mark.parametrize("one", ["paper", "porian", 0.001, "3e-4", {"peak": 0.02}])
@pytest.mark.parametrize("other", ["paper", "porian", 0.001, "3e-4", {"peak": 0.02}])
def test_an_overlay_may_replace_any_learning_rate_by_any_other(default, one, other):
    for rule in (one, other):
        update_config(default, {"training": {"learning_rate": rule}})
    config = validate(default)
    rule = config.training.learning_rate
    if isinstance(other, dict):
        assert rule.peak == 0.02
    else:
        assert rule == {"3e-4": 3e-4}.get(other, other)
    assert validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    "path", ["splt", "split.fraction", "corpora.books.titel", "training.learning_rate.peek"]
)
def test_an_unknown_key_is_refused_with_the_known_ones(default, path):
    put(default, path, 1)
    with pytest.raises(InputError, match=f"{path} is no known key; known here: .*"):
        validate(default)


def test_names_that_lead_nowhere_are_refused(default):
    corpus = default["corpora"]["books"]
    put(default, "corpora.poems", corpus)
    with pytest.raises(InputError, match=r"corpora\.poems\.path: the sample has books, "):
        validate(default)
    del default["corpora"]["poems"]
    put(default, "corpora.test", corpus)
    with pytest.raises(InputError, match=r"corpora\.test: the name is taken"):
        validate(default)
    del default["corpora"]["test"]


def test_a_missing_key_is_named(default):
    del default["corpora"]["books"]["title"]
    with pytest.raises(InputError, match=r"corpora\.books\.title is missing"):
        validate(default)


def test_numbers_may_come_as_text_as_from_snakemakes_command_line(default):
    put(default, "split.test_fraction", "0.25")
    assert validate(default).split.test_fraction == 0.25


def test_null_may_come_as_text_too(default):
    put(default, "crawl.proxy", "null")
    put(default, "crawl.contact", "me@university.edu")
    put(default, "corpora.books", "null")
    config = validate(default)
    assert config.crawl.proxy is None and "books" not in config.corpora


def test_every_fault_is_told_at_once(default):
    put(default, "split.test_fraction", 3)
    put(default, "crawl.retries", -1)
    with pytest.raises(InputError) as error:
        validate(default)
    assert "split.test_fraction" in str(error.value) and "crawl.retries" in str(error.value)


def test_the_resolved_configuration_is_the_same_configuration(default, tmp_path):
    resolve(settings=json.dumps(default, default=str), output=tmp_path / "config.yaml")
    again = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert validate(again) == validate(default)


def test_the_checked_in_schema_is_the_models(tmp_path):
    schema(output=tmp_path / "schema.json")
    checked_in = ROOT / "workflow/schemas/config.schema.json"
    assert checked_in.read_text() == (tmp_path / "schema.json").read_text()


@pytest.mark.parametrize("overlay", sorted(path.name for path in (ROOT / "config").glob("*.yaml")))
def test_overlays_are_valid_and_keep_their_results_apart(default, overlay):
    update_config(default, yaml.safe_load((ROOT / "config" / overlay).read_text()))
    if default["crawl"]["contact"] is None:  # the paper's corpus is crawled with the user's own
        with pytest.raises(InputError, match=r"crawl\.contact = null: off the sample web"):
            validate(default)
        default["crawl"]["contact"] = "someone@university.edu"
    config = validate(default)
    assert config.results != "results" and runs(config)


def test_the_default_grid_spans_what_the_laws_need(default):
    config = validate(default)
    sizes = {spec.N for spec, studies, *_ in runs(config).values() if "model_size" in studies}
    subsets = {
        spec.data_tokens for spec, studies, *_ in runs(config).values() if "data_size" in studies
    }
    assert len(sizes) >= 9 and min(sizes) == 768 and max(sizes) / min(sizes) >= 10**2.5
    assert len(subsets) >= 6 and max(subsets) / min(subsets) >= 10**1.5
