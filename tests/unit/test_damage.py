"""Damaged files: each gives one line that names the file, exit code 2, and writes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import synthetic_runs as synthetic
from shell import exit_code

SIZES = "tables/model_size"
SMALL = ("--bootstrap", "5")
COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "report": lambda results, out: [
        results, "--output", out / "r.html", "--comparison", out / "c.csv",
    ],
    "flow": lambda results, out: [
        results, "--shards", 1, "--threshold", 0.5, "--output", out / "f.csv", "--duplicates",
        out / "d.csv",
    ],
    "conventions": lambda results, out: [
        results / SIZES, "--fits", results / "fits", "--fitted", "N_opt", "--output",
        out / "c.csv", *SMALL,
    ],
    "held-out": lambda results, out: [f"L_N={results / SIZES}", "--output", out / "h.csv", *SMALL],
    "judge": lambda results, out: ["L_N", results / SIZES, "--json", out / "j.json", *SMALL],
    "fit": lambda results, out: ["L_C", results / SIZES, "--json", out / "f.json", *SMALL],
    "times": lambda results, out: [results],
    "claims": lambda results, out: [results],
    "summary": lambda results, out: [results],
    "predict": lambda results, out: [results / "fits/L_N.json", "--at", "N=1e6"],
}  # fmt: skip

Damage = Callable[[Path], None]
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="1pt" viewBox="0 0 1 1"><g id="a"/></svg>'


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder that every command here can use; not to be changed."""
    folder = tmp_path_factory.mktemp("sound")
    tables = folder / "tables"
    sizes = synthetic.scanned(tables / "model_size", "model_size", synthetic.SIZES, (2048,),
                              lambda _: 1953)  # fmt: skip
    synthetic.positions(sizes, snapshots=False)
    synthetic.scanned(tables / "batch_size", "batch_size", synthetic.SCANNED, synthetic.BATCHES,
                      lambda batch: 16_000_000 // batch)  # fmt: skip
    for law in ("L_N", "L_C"):
        done = run("fit", [law, sizes, "--json", folder / f"fits/{law}.json", "--bootstrap", 20])
        assert done == 0
    both = [sizes, tables / "batch_size"]
    assert run("fit", ["N_opt", *both, "--json", folder / "fits/N_opt.json", *SMALL]) == 0
    for name in ("runs", "curves", "evaluations", "positions"):
        shutil.copy(sizes / f"{name}.parquet", tables)
    synthetic.flow_tables(tables)
    assert run("held-out", [f"L_N={sizes}", "--output", tables / "held_out.csv", *SMALL]) == 0
    assert run("conventions", [sizes, "--output", tables / "conventions.csv", *SMALL]) == 0
    (folder / "plan").mkdir()
    runs = pd.read_parquet(sizes / "runs.parquet")
    planned = runs.assign(study=runs["study"].str.join(","))[["run", "study", "N", "C_full"]]
    planned.to_csv(folder / "plan/runs.tsv", sep="\t", index=False)
    synthetic.configure(folder, ["model_size", "batch_size"], ["L_N", "L_C", "N_opt"])
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks/fit.tsv").write_text("s\tmax_rss\tcpu_time\n1.5\tNA\tNA\n")
    (folder / "figures").mkdir()
    (folder / "figures/fig02.svg").write_text(DRAWING)
    words: dict[str, Any] = {"alt": "a", "notes": [], "points": 1}
    words |= {"studies": [], "laws": [], "files": []}
    (folder / "figures/fig02.json").write_text(json.dumps(words))
    corpus_stages(folder)
    return folder


def corpus_stages(folder: Path) -> None:
    """Write what `flow` counts: a row of each table."""
    empty = pd.DataFrame({"reason": pd.Series(dtype=str)})
    one = pd.DataFrame({"doc_id": ["a"]})
    for path, table in {
        "links/links": one,
        "links/rejected": empty,
        "crawl/0": pd.DataFrame({"outcome": ["ok"]}),
        "documents/0": one,
        "documents/0.rejected": empty,
        "corpus/documents": one,
        "corpus/duplicates": pd.DataFrame({"kind": ["near"], "jaccard": [0.9]}),
        "corpus/train": one,
        "corpus/test": one,
        "corpus/leaks": one.head(0),
        "dedup/signatures/0": pd.DataFrame({"band_0": [1]}),
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / f"{path}.parquet")
    path = folder / "dedup/signatures/0.parquet"
    signatures = pq.read_table(path)
    pq.write_table(signatures.replace_schema_metadata({"rows": "5"}), path)
    (folder / "tokens").mkdir()
    for name in ("train", "test"):
        (folder / f"tokens/{name}.json").write_text('{"documents": 1, "tokens": 9}')


def run(command: str, arguments: list[object]) -> int:
    """Run a command and return its exit code."""
    return exit_code(command, *arguments)


def arguments_of(command: str, results: Path, out: Path) -> tuple[str, list[object]]:
    """Return a command and its arguments; `figure` is followed by the figure's name."""
    word, _, name = command.partition(" ")
    return word, [name, results, "--output", out] if name else COMMANDS[word](results, out)


USES = {
    "config.yaml": ["report", "summary"],
    "tables/runs.parquet": ["report", "claims"],
    "tables/curves.parquet": ["report", "claims"],
    "tables/evaluations.parquet": ["claims"],
    "tables/positions.parquet": ["claims"],
    "tables/flow.csv": ["report", "figure corpus"],
    "tables/duplicates.csv": ["figure duplicates"],
    "tables/held_out.csv": ["report", "figure held_out"],
    "tables/conventions.csv": ["figure conventions"],
    "plan/runs.tsv": ["report", "figure cost"],
    "fits/L_N.json": ["report", "summary", "figure fig23", "predict"],
    "fits/N_opt.json": ["conventions"],
    "figures/fig02.json": ["report"],
    "figures/fig02.svg": ["report"],
    "benchmarks/fit.tsv": ["times"],
    f"{SIZES}/runs.parquet": ["figure fig02", "conventions", "held-out", "judge", "fit"],
    f"{SIZES}/curves.parquet": ["figure fig02", "conventions", "fit"],
    f"{SIZES}/evaluations.parquet": ["figure fig08"],
    f"{SIZES}/positions.parquet": ["figure fig20"],
    "tokens/train.json": ["flow"],
    "links/rejected.parquet": ["flow"],
    "crawl/0.parquet": ["flow"],
    "corpus/duplicates.parquet": ["flow"],
    "dedup/signatures/0.parquet": ["flow"],
}


def replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WHOLE: dict[str, Damage] = {
    "empty": lambda path: replaced(path, b""),
    "cut off": lambda path: replaced(path, path.read_bytes()[:-9]),
    "halved": lambda path: replaced(path, path.read_bytes()[: path.stat().st_size // 2]),
    "a list": lambda path: replaced(path, b"[]\n"),
    "null": lambda path: replaced(path, b"null\n"),
    "no UTF-8": lambda path: replaced(path, b"\xff\xfe" + path.read_bytes()),
    "a folder": a_folder,
}
STILL_SOUND = {("config.yaml", damage) for damage in ("empty", "null", "cut off", "halved")}
"""What may be a configuration still."""


def damaged(
    command: str, name: str, damage: Damage, sound: Path, tmp_path: Path, capsys: Any
) -> str:
    """Damage a file, run a command on it, and return the one line that it says."""
    results = shutil.copytree(sound, tmp_path / "results")
    out = tmp_path / "out"
    damage(results / name)
    capsys.readouterr()
    code = run(*arguments_of(command, results, out))
    said = capsys.readouterr().err
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert code == 2 and len(errors) == 1 and "Traceback" not in said, said
    assert not out.exists()
    return errors[0]


@pytest.mark.parametrize(
    ("command", "name", "damage"),
    [
        (command, name, damage)
        for name, commands in USES.items()
        for command in commands
        for damage in WHOLE
        if (name, damage) not in STILL_SOUND
        and not (damage == "no UTF-8" and name.endswith(".parquet"))
    ],
)
def test_a_damaged_file_is_named_in_one_line(command, name, damage, sound, tmp_path, capsys):
    assert name in damaged(command, name, WHOLE[damage], sound, tmp_path, capsys)


@pytest.mark.parametrize("command", sorted({c for commands in USES.values() for c in commands}))
def test_what_is_sound_is_read(command, sound, tmp_path):
    assert run(*arguments_of(command, sound, tmp_path / "out")) == 0


def cells(**columns: object) -> Damage:
    """Return the damage of columns whose every cell is another."""

    def damage(path: Path) -> None:
        pd.read_parquet(path).assign(**columns).to_parquet(path)

    return damage


def without(column: str) -> Damage:
    def damage(path: Path) -> None:
        pd.read_parquet(path).drop(columns=column).to_parquet(path)

    return damage


def no_rows(path: Path) -> None:
    pd.read_parquet(path).head(0).to_parquet(path)


def text(old: str, new: str) -> Damage:
    def damage(path: Path) -> None:
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new, 1))

    return damage


def entry(*keys: str, value: object) -> Damage:
    """Return the damage of a JSON file with one value that is another."""

    def damage(path: Path) -> None:
        content = inner = json.loads(path.read_text())
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(json.dumps(content))

    return damage


RUNS, OF_SIZE, FIT = "tables/runs.parquet", f"{SIZES}/runs.parquet", "fits/L_N.json"


@pytest.mark.parametrize(
    ("command", "name", "damage", "message"),
    [
        ("report", RUNS, cells(study=None), "row 1: study is empty; expected a list of names"),
        ("report", RUNS, cells(N="many"), "row 1: N is 'many'; expected a number of 0 or more"),
        ("report", RUNS, without("steps"), "no column steps; found run, study"),
        ("report", RUNS, no_rows, "no rows; expected one a run"),
        ("claims", RUNS, no_rows, "no run; expected some that finished"),
        ("figure fig02", OF_SIZE, no_rows, "no rows; expected one a run"),
        ("figure fig02", OF_SIZE, cells(outcome="diverged"), "every run diverged"),
        ("conventions", OF_SIZE, cells(D=None), "row 1: D is empty"),
        ("held-out", OF_SIZE, cells(test_loss="low"), "row 1: test_loss is 'low'; expected"),
        ("fit", OF_SIZE, cells(B=float("inf")), "row 1: B is inf; expected a number of 0"),
        ("conventions", OF_SIZE, without("C_full"), "no column C_full"),
        ("conventions", OF_SIZE, without("tokens"), "no column tokens"),
        ("figure fig02", f"{SIZES}/curves.parquet", no_rows, "has no test loss of these runs"),
        ("figure fig08", f"{SIZES}/evaluations.parquet", no_rows, "has no loss of these runs"),
        ("figure fig20", f"{SIZES}/positions.parquet", no_rows, "has no loss of these runs"),
        ("report", FIT, entry("status", value="fine"), "status is \"fine\"; expected 'converged'"),
        ("report", FIT, entry("status", value=None), "status is null; expected 'converged'"),
        (
            "report", FIT, entry("parameters", "alpha_N", "value", value=float("nan")),
            "not JSON (NaN is no number)",
        ),
        ("report", FIT, entry("parameters", value={}), "parameters.alpha_N is missing"),
        ("predict", FIT, entry("optimum", "N_c", value=-1.0), "N_c.value is"),
        ("figure fig23", FIT, entry("draws", "N_c", value=["a"]), "draws.N_c.0 is \"a\"; expected"),
        ("figure fig23", FIT, entry("points", value=[]), "points is []; expected"),
        ("figure fig23", FIT, entry("points", 0, "N", value=None), "points.0.N is None; expected"),
        ("summary", FIT, entry("law", value="L_D"), "parameters.alpha_D is missing"),
        ("report", "tables/flow.csv", text("5000", "lots"), "row 1: count is 'lots'; expected"),
        ("report", "tables/flow.csv", text("unit", "of"), "no column unit; found stage, of"),
        ("report", "plan/runs.tsv", text("run", "name"), "no column run; found name"),
        ("times", "benchmarks/fit.tsv", text("1.5", "x"), "row 1: s is 'x'; expected a number"),
        ("flow", "tokens/train.json", entry("tokens", value="9"), "tokens is \"9\"; expected"),
        ("flow", "corpus/duplicates.parquet", cells(jaccard="x"), "jaccard is 'x'; expected"),
        ("flow", "dedup/signatures/0.parquet", without("band_0"), "no bands of rows"),
        ("report", "figures/fig02.json", entry("notes", value="none"), "notes is \"none\""),
        ("report", "figures/fig02.svg", text("</svg>", ""), "not a whole SVG file"),
        ("report", "figures/fig02.json", Path.unlink, "no such file"),
        (
            "claims", "tables/evaluations.parquet", cells(corpus="books"),
            "no corpus test; found books",
        ),
        ("report", "config.yaml", text("results:", "result:"), "result is no known key"),
    ],
)  # fmt: skip
def test_the_line_says_what_was_found(command, name, damage, message, sound, tmp_path, capsys):
    assert message in damaged(command, name, damage, sound, tmp_path, capsys)


def test_a_scale_below_zero_is_no_scale(sound, tmp_path, capsys):
    def damage(path: Path) -> None:
        entry("parameters", "N_c", "value", value=None)(path)
        entry("optimum", "N_c", value=-1.0)(path)

    said = damaged("predict", FIT, damage, sound, tmp_path, capsys)
    assert "optimum.N_c is -1; expected a number of 0 or more" in said


@pytest.mark.parametrize(
    ("command", "more", "message"),
    [
        ("figure fig02", ["--studies", "modle_size"], "--studies: no 'modle_size'; expected of"),
        ("figure fig02", ["--laws", "L_Q"], "--laws: no 'L_Q'; expected of B_crit"),
        ("conventions", ["--fitted", "L_N"], "--fitted L_N: no exponent of the best size"),
        ("flow", ["--threshold", "nan"], "--threshold nan: "),
        (
            "report",
            ["--comparison", "c.md"],
            "--comparison c.md: expected a file that ends in .csv",
        ),
        ("held-out", ["L_N"], "L_N: expected a law and its studies"),
    ],
)
def test_names_and_numbers_that_cannot_be_are_refused(
    command, more, message, sound, tmp_path, capsys
):
    word, arguments = arguments_of(command, sound, tmp_path / "out")
    assert run(word, [*arguments, *more]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_too_few_runs_are_a_row_and_no_damage(sound, tmp_path):
    """They are a finding, as a damaged table is not."""
    results = shutil.copytree(sound, tmp_path / "results")
    path = results / OF_SIZE
    pd.read_parquet(path).head(2).to_parquet(path)
    for command in ("held-out", "conventions"):
        word, arguments = arguments_of(command, results, tmp_path / "out")
        assert run(word, arguments) == 0
    table = pd.read_csv(tmp_path / "out/h.csv")
    assert (
        set(table.status) == {"not_identified"} and table.why.str.contains("two values of N").all()
    )
