"""The command line: helps, refuses in one line, and imports only what a command needs."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from scaling_laws import cli
from scaling_laws.output import atomic

ROOT = Path(__file__).parents[2]


def run(*arguments):
    code = "from scaling_laws.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def call(monkeypatch, capsys, *arguments):
    """Run the command line in this process and return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["scaling-laws", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as exit:
        cli.main()
    return exit.value.code, *capsys.readouterr()


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_every_parameter(command, monkeypatch, capsys):
    module, function, _ = cli.COMMANDS[command]
    stage = getattr(import_module(f"scaling_laws.{module}"), function)
    code, out, _ = call(monkeypatch, capsys, command, "--help")
    assert code == 0
    for parameter in inspect.signature(stage).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert f"--{parameter.name.replace('_', '-')}" in out
        assert re.search(rf"^ +{parameter.name}: \S", inspect.getdoc(stage), re.MULTILINE), (
            f"{command}: the docstring does not explain {parameter.name}"
        )


def test_the_overview_lists_every_command_and_imports_no_stage():
    done = run("--help")
    assert done.returncode == 0
    assert all(f"  {command} " in done.stdout for command in cli.COMMANDS)
    code = (
        "import sys; from scaling_laws.cli import overview; overview();"
        "print([m for m in ('torch', 'pandas', 'scipy', 'aiohttp') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_graph_is_built_without_torch_pandas_and_scipy():
    rules = (ROOT / "workflow/rules/common.smk").read_text()
    imports = re.findall("^from scaling_laws.* import .+$", rules, re.MULTILINE)
    assert len(imports) > 5
    heavy = "print([m for m in ('torch', 'pandas', 'scipy', 'matplotlib') if m in sys.modules])"
    code = "\n".join([*imports, "import sys", heavy])
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_misspelt_command_is_met_with_the_right_one(monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "dedupe")
    assert code == 2 and "no command 'dedupe'; did you mean dedup?" in err


def test_what_a_user_can_mend_is_one_line_without_a_traceback(tmp_path):
    done = run(
        "links", tmp_path / "none.zst", "--output", tmp_path / "l", "--rejected", tmp_path / "r"
    )
    assert done.returncode == 2
    command, error = done.stderr.splitlines()
    assert "scaling-laws links " in command and error.startswith("error: ")
    assert "none.zst: no such dump" in done.stderr


def test_a_file_that_is_not_there_is_named_without_a_traceback(tmp_path):
    options = ("train", "test", "leaks", "report")
    paths = [word for name in options for word in (f"--{name}", tmp_path / name)]
    done = run("split", tmp_path / "none", *paths)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [f"error: {tmp_path}/none: no such file"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("extract W --output o --rejected r --workers 0", "--workers 0: expected 1 or more"),
        ("extract W --output o --rejected r --page-seconds nan", "should be a finite number"),
        ("signatures D --links l --output o --threshold 2", "--threshold 2.0: Input should be"),
        ("crawl L --warc w --outcomes o --user-agent a --allowed-networks 10.1", "not a valid"),
        ("buckets S --part -1 --parts 2 --output o", "--part -1: expected 0 or more"),
        ("tokenizer T --output o --vocab-size 100", "greater than or equal to 257"),
        (
            "corpus a --source s --format wet --train t --output o --rejected r --ngram-words 0",
            "--ngram-words 0: Input should be greater than or equal to 1",
        ),
    ],
)
def test_an_option_out_of_the_bounds_of_its_key_is_refused(monkeypatch, capsys, line, message):
    code, _, err = call(monkeypatch, capsys, *line.split())
    assert code == 2 and message in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("extract W --output o --rejected o", "--output and --rejected are the same file, o"),
        ("links d --output ./d --rejected r", "DUMP and --output are the same file, d"),
        ("concat a b --output b", "TABLES and --output are the same file, b"),
    ],
)
def test_one_path_for_two_files_is_refused(monkeypatch, capsys, tmp_path, line, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(monkeypatch, capsys, *line.split())
    assert code == 2 and message in err
    assert list(tmp_path.iterdir()) == []


def test_a_crash_in_machine_code_says_where_it_was():
    code = "from scaling_laws.cli import main; main(); import signal; signal.raise_signal(11)"
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -11 and 'File "<string>", line 1 in <module>' in done.stderr


def test_help_is_all_that_is_printed():
    done = run("links", "--help")
    assert done.returncode == 0 and done.stderr == "" and "--salvage" in done.stdout


def test_of_a_value_that_may_be_one_of_two_things_one_line_tells(monkeypatch, capsys):
    line = "crawl L --warc w --outcomes o --user-agent a --proxy localhost"
    code, _, err = call(monkeypatch, capsys, *line.split())
    (error,) = [text for text in err.splitlines() if "--proxy" in text and "error" in text]
    assert code == 2 and error.endswith("'sample' or a URL that begins with http:// or https://")


def test_a_spec_that_is_no_spec_is_refused_without_a_traceback(tmp_path):
    options = ("tokens", "test", "curve", "model", "run", "snapshots")
    paths = [word for name in options for word in (f"--{name}", tmp_path / name)]
    done = run("train", "--spec", '{"n_layer": 1}', *paths)
    assert done.returncode == 2
    (_, error) = done.stderr.splitlines()
    assert error.startswith("error: --spec: d_model: Field required; ")


def test_a_file_is_whole_or_absent_and_a_killed_writers_rest_is_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".partial-{dead.pid}-a.txt"
    left.write_text("half")
    with pytest.raises(KeyError), atomic(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with atomic(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("stage", ["crawl", "text", "train", "analysis"])
def test_the_environments_of_the_stages_have_the_versions_of_the_lock(stage):
    lock = set((ROOT / "envs/requirements.lock").read_text().splitlines())
    lines = (ROOT / f"envs/{stage}.yaml").read_text().splitlines()
    pins = [line.strip(" -") for line in lines if "==" in line]
    assert pins and [pin for pin in pins if pin not in lock] == []
    assert "grimp" in {pin.split("==")[0] for pin in pins}  # for the manifest of every job
