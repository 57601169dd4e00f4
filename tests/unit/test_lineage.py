"""Manifests, and what is told from them, on results made by commands given by hand."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import planted_manifests
import pytest
import synthetic_runs
from shell import run
from synthetic_runs import TOKENS, joint

from scaling_laws.lineage import code, manifest
from scaling_laws.lineage.graph import Graph, results_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a fit, a judgement and a figure, each with its manifest."""
    project = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        tables = synthetic_runs.model_size(
            Path("results/tables/model_size"), lambda N: joint(N, TOKENS)
        )
        fit = "results/fits/L_N.json"
        lineage = "results/{}/lineage/{}.json".format
        run("fit", "L_N", tables, "--json", fit, "--bootstrap", 20,
            "--lineage", lineage("fits", "L_N"), "--rule", "fit")  # fmt: skip
        run("held-out", f"L_N={tables}", "--output", "results/tables/held_out.csv",
            "--bootstrap", 20, "--lineage", lineage("tables", "held_out"))  # fmt: skip
        run("figure", "held_out", "results", "--studies=model_size", "--laws=L_N",
            "--lineage", lineage("figures", "held_out"))  # fmt: skip
    return project


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of it in another place, that a test may change."""
    copy = shutil.copytree(made, tmp_path / "elsewhere")
    monkeypatch.chdir(copy)
    return copy


def read(path):
    return json.loads(Path(path).read_text())


def test_a_manifest_names_files_parameters_code_and_machine(project):
    said = read("results/fits/lineage/L_N.json")
    (table,) = said["inputs"]
    source = Path("results/tables/model_size/runs.parquet")
    assert table["path"] == "../../tables/model_size/runs.parquet"
    assert table["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert table["bytes"] == source.stat().st_size
    assert [file["path"] for file in said["outputs"]] == ["../L_N.json"]
    assert (said["rule"], said["command"]) == ("fit", "fit")
    assert said["parameters"]["bootstrap"] == 20
    assert said["parameters"]["starts"] == 64  # a default is a parameter, too
    assert said["seed"] == 0
    assert said["call"].startswith("scaling-laws fit L_N results/tables/model_size --json")
    assert "scaling_laws.laws.minimise" in said["modules"]
    assert not {"scaling_laws.cli", "scaling_laws.figures"} & set(said["modules"])
    assert said["packages"]["scipy"]
    assert said["started"] <= said["ended"]
    assert said["peak_memory"] > 50e6
    assert said["host"]["cores"] >= 1
    assert said["statistics"]["points"] > 4


def test_a_command_that_fails_leaves_no_manifest(project):
    run("fit", "L_N", "nowhere", "--json", "x.json", "--lineage", "lineage/x.json", code=2)
    assert not Path("lineage/x.json").exists()


def test_a_large_file_is_not_hashed_again_unless_it_has_changed(project, monkeypatch):
    fit = (project / "results/fits/L_N.json").resolve()
    monkeypatch.setattr(manifest, "sha256", lambda path: "hashed")
    os.utime(fit)
    assert manifest.Hashes(project).file(fit).sha256 == "hashed"
    said = read("results/fits/lineage/L_N.json")
    said["outputs"][0]["modified"] = fit.stat().st_mtime_ns
    Path("results/fits/lineage/L_N.json").write_text(json.dumps(said))
    manifest.manifests_in.cache_clear()
    assert manifest.Hashes(project).file(fit).sha256 == said["outputs"][0]["sha256"]
    manifest.manifests_in.cache_clear()


def test_modules_of_a_stage_are_what_importing_it_runs():
    names = code.closure("corpus.dedup.dedup")
    assert {"scaling_laws.corpus", "scaling_laws.corpus.dedup", "scaling_laws.tables"} <= names
    assert not any("training" in name or "laws.laws" in name for name in names)


def test_a_figure_is_traced_to_its_sources(project, capsys):
    run("trace", "results/figures/held_out.svg")
    told = capsys.readouterr().out
    # The table that nothing tells of lies where results do, so that it may hide a job.
    order = [told.index(text) for text in ("figure held_out", "held-out", "of unknown make")]
    assert order == sorted(order)
    assert "no manifest says what made 1 file (results/tables/model_size/runs.parquet)" in told
    run("trace", "results/figures/held_out.svg", "--as-json")
    answer = json.loads(capsys.readouterr().out)
    assert [job["command"] for job in answer["jobs"]] == ["figure", "held-out"]
    assert answer["sources"] == {} and "runs.parquet" in answer["not_whole"]


def test_a_constant_of_a_fit_is_traced(project, capsys):
    run("trace", "results/fits/L_N.json:alpha_N")
    told = capsys.readouterr().out
    value = read("results/fits/L_N.json")["parameters"]["alpha_N"]["value"]
    assert f"alpha_N = {value:.4g} (" in told
    run("trace", "results/fits/L_N.json:beta", code=2)


def test_what_came_of_a_table_is_told_forward(project, capsys):
    run("trace", "results/tables/model_size/runs.parquet", "--forward")
    told = capsys.readouterr().out
    assert "fit L_N" in told and "held-out held_out" in told and "figure held_out" in told
    run("trace", "results/report.html", code=2)


def findings(capsys, code):
    capsys.readouterr()
    run("verify", "results", "--as-json", code=code)
    return {
        (found["kind"], found["path"]) for found in json.loads(capsys.readouterr().out)["findings"]
    }


STUDY = {
    ("unknown", f"results/tables/model_size/{name}.parquet")
    for name in ("runs", "curves", "evaluations")
}


def test_untouched_results_verify_wherever_they_are(project, capsys):
    assert findings(capsys, 1) == STUDY  # the tables that no job has written or read
    shutil.rmtree(".snakemake", ignore_errors=True)
    shutil.move("results", "moved")
    run("verify", "moved", code=1)
    told = capsys.readouterr().out
    assert "3 jobs" in told and f"{len(STUDY)} findings" in told


def test_each_fault_is_named_and_only_it(project, capsys, monkeypatch):
    fit = Path("results/fits/L_N.json")
    fit.write_text(fit.read_text().replace('"law": "L_N"', '"law": "L_M"'))
    assert findings(capsys, 1) == STUDY | {("changed", str(fit))}
    Path("results/tables/held_out.csv").unlink()
    Path("results/notes.txt").write_text("mine")
    assert findings(capsys, 1) == STUDY | {
        ("changed", str(fit)),
        ("missing", "results/tables/held_out.csv"),
        ("unknown", "results/notes.txt"),
    }
    Path("results/fits/lineage/L_N.json").write_text('{"lineage": 1}')
    assert ("damaged", "results/fits/lineage/L_N.json") in findings(capsys, 1)


def test_a_changed_source_is_named(project, capsys):
    table = Path("results/tables/model_size/runs.parquet")
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    assert findings(capsys, 1) == STUDY | {("source", str(table))}


def test_older_code_is_named(project, capsys, monkeypatch, tmp_path):
    package = tmp_path / "scaling_laws"
    shutil.copytree(code.PACKAGE, package)
    source = package / "laws/judge.py"
    source.write_text(source.read_text() + "\n# an edit\n")
    monkeypatch.setattr(code, "PACKAGE", package)
    # fit does not run what judges; the figure reads its table only.
    assert findings(capsys, 1) == STUDY | {("code", "results/tables/held_out.csv")}


def test_what_a_later_job_outdated_is_named(project, capsys):
    Path("results/tables/held_out.csv").unlink()
    run("held-out", "L_N=results/tables/model_size", "--output", "results/tables/held_out.csv",
        "--bootstrap", 30, "--lineage", "results/tables/lineage/held_out.json")  # fmt: skip
    pictures = {
        ("stale", f"results/figures/held_out.{end}") for end in ("svg", "png", "csv", "json")
    }
    assert findings(capsys, 1) == STUDY | pictures
    run("trace", "results/figures/held_out.svg")
    told = " ".join(capsys.readouterr().out.split())
    assert "Made from another version of what is there: results/figures/held_out." in told
    assert "(results/tables/held_out.csv), and 3 more" in told
    run("trace", "results/tables/held_out.csv")
    assert "another version" not in capsys.readouterr().out


def test_other_settings_and_a_former_grid_are_named(project, capsys):
    synthetic_runs.configure(project / "results", ["model_size"], ["L_N"])
    config = {("unknown", "results/config.yaml")}
    found = findings(capsys, 1) - STUDY - config
    # The fits were given 20 replicates, the configuration has its default.
    assert found == {("config", "results/fits/L_N.json"), ("config", "results/tables/held_out.csv")}
    synthetic_runs.configure(project / "results", ["data_size"], ["L_D"])
    found = findings(capsys, 1)
    assert ("orphan", "results/fits/L_N.json") in found


def test_a_lost_or_damaged_manifest_is_not_passed_over(project, capsys):
    manifest = Path("results/tables/lineage/held_out.json")
    manifest.unlink()
    assert findings(capsys, 1) == STUDY | {("unknown", "results/tables/held_out.csv")}
    for content in ("", "[]", '{"rule": "fit"}'):
        manifest.write_text(content)
        assert ("damaged", str(manifest)) in findings(capsys, 1)
    run("trace", "results/figures/held_out.svg")
    assert "1 manifest cannot be read" in capsys.readouterr().out
    run("trace", "results/tables/held_out.csv", code=2)
    assert "1 manifest cannot be read" in capsys.readouterr().err
    Path("Snakefile").write_text("rule all:\n    input: []\n")
    run("crate", code=2)
    assert f"{manifest}: a manifest that cannot be read" in capsys.readouterr().err
    manifest.unlink()
    run("trace", "results/figures/held_out.svg")
    assert "no manifest says what made 1 file" in capsys.readouterr().out
    Path("results/tables/held_out.csv").unlink()
    assert ("missing", "results/tables/held_out.csv") in findings(capsys, 1)


@pytest.mark.parametrize("name", ["L.json", "L_N copy.json"])
def test_what_lies_beside_manifests_is_looked_through(project, capsys, name):
    manifest = Path("results/fits/lineage/L_N.json")
    copy = manifest.with_name(name)
    shutil.copy(manifest, copy)
    note = manifest.with_name("note.txt")
    note.write_text("mine")
    assert findings(capsys, 1) == STUDY | {("unknown", str(copy)), ("unknown", str(note))}
    copy.unlink()
    note.unlink()
    Path("results/config.yaml").write_text("links: 3\n")
    assert ("config", "results/config.yaml") in findings(capsys, 1)


def test_an_edited_fit_is_not_passed_over(project, capsys):
    fit = Path("results/fits/L_N.json")
    run("trace", fit)
    assert "Not what its job wrote" not in capsys.readouterr().out
    fit.write_text(fit.read_text().replace('"law": "L_N"', '"law": "L_M"'))
    run("trace", f"{fit}:alpha_N")
    assert f"Not what its job wrote: {fit} (SHA-256 " in capsys.readouterr().out
    run("trace", "results/fits", "--as-json")
    assert list(json.loads(capsys.readouterr().out)["changed"]) == [str(fit)]


def test_a_part_of_the_results_tells_no_story_and_other_results_explain_nothing(project, capsys):
    run("trace", "--url", "http://a.example/", "--results", "results/fits", code=2)
    assert "results/fits: a part of the results" in capsys.readouterr().err
    run("verify", "others", "--explain", "results/fits/L_N.json", code=2)
    assert "--explain results/fits/L_N.json: not in others" in capsys.readouterr().err


def test_a_file_on_the_way_that_is_not_as_it_was_is_named(project, capsys):
    figure, table = "results/figures/held_out.svg", Path("results/tables/held_out.csv")
    run("trace", figure, "--as-json")
    assert json.loads(capsys.readouterr().out)["changed"] == {}
    table.write_text(table.read_text().replace("L_N", "L_M"))
    run("trace", figure)
    assert f"Not what its job wrote: {table} (SHA-256 " in capsys.readouterr().out
    table.unlink()
    run("trace", figure)
    assert f"Not what its job wrote: {table} (no such file)" in capsys.readouterr().out


def test_jobs_of_a_rule_are_dated_from_the_first_to_the_last(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = planted_manifests.plant(Path("results"), 3)
    for number, (day, minute) in enumerate([(3, 59), (1, 10), (2, 30)]):
        path = results / f"runs/run-{number:04}/lineage/train.json"
        ended = f"2026-01-0{day}T00:{minute}:30+00:00"
        path.write_text(json.dumps(read(path) | {"ended": ended}))
    for name in ("tables/runs.parquet", "tokens/train.bin"):
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).touch()
    for words in (["results/tables/runs.parquet"], ["results/tokens/train.bin", "--forward"]):
        run("trace", *words)
        assert "2026-01-01 00:10 to 2026-01-03 00:59, code" in capsys.readouterr().out
    run("trace", "results/tokens/train.bin")
    assert ", 2026-01-01 00:00, code ccccccc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trace", "--url", "http://a.example/", "--forward"], "--forward: expected a path"),
        (["verify", "--configfile", "x.yaml"], "--configfile: expected --explain with it"),
        (["verify", "--explain", "x", "--configfile", "no.yaml"], "no.yaml: no such file"),
        (["verify", "README.md"], "README.md: found a file; expected a folder of results"),
        (["crate", "--workflow", "README.md"], "README.md: found no rule"),
        (["crate", "results/fits"], "results/fits: a part of the results; expected the whole"),
        (["forget", "results/tables/model_size", "--domain=a.example"], "a part of the results"),
        (["trace", "README.md", "--results", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_has_no_meaning_is_refused(project, capsys, words, said):
    Path("README.md").write_text("A rule of thumb: read this.\n")
    run(*words, code=2)
    assert said in capsys.readouterr().err


def test_files_that_nobody_made_are_found_whatever_their_folder(project, capsys):
    for name in ("figures/logs/a.svg", "figures/checkpoints/b.svg", "fits/benchmarks"):
        path = Path("results", name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        assert ("unknown", str(path)) in findings(capsys, 1)


def test_results_below_a_folder_with_the_name_of_a_stage_are_found(project, capsys):
    Path("runs").mkdir()
    shutil.move("results", "runs/results")
    run("trace", "runs/results", "--as-json")
    assert json.loads(capsys.readouterr().out)["path"] == "runs/results"
    assert results_of(Path("runs/results/fits/L_N.json")) == Path.cwd() / "runs/results"
    assert results_of(Path("runs/results")) == Path.cwd() / "runs/results"


def test_a_source_is_looked_for_in_the_results_that_are_here(project, capsys, tmp_path):
    table = Path("mine.parquet")
    shutil.copy("results/tables/model_size/runs.parquet", table)
    run("trace", table, "--forward", code=2)
    assert "mine.parquet: no job has read it" in capsys.readouterr().err


def test_a_constant_without_an_end_is_traced(project, capsys):
    fit = Path("results/fits/L_N.json")
    content = json.loads(fit.read_text())
    content["parameters"]["N_c"] |= {"value": None, "high": None}
    fit.write_text(json.dumps(content))
    run("trace", f"{fit}:N_c")
    told = capsys.readouterr().out
    assert "N_c = open (" in told and "to open)" in told


def test_a_folder_without_manifests_is_refused(tmp_path, capsys):
    for words in (["verify", tmp_path], ["verify", tmp_path / "no"], ["trace", tmp_path]):
        run(*words, code=2)
    assert "no manifest" in capsys.readouterr().err


def test_the_folder_of_the_workflow_is_not_taken_for_its_results(project, capsys):
    Path("Snakefile").touch()
    for command in ("trace", "verify", "crate"):
        run(command, ".", code=2)
        assert "found a folder with a workflow, expected its results" in capsys.readouterr().err


def test_results_on_another_disk_are_found_through_links_to_folders(project, tmp_path, capsys):
    shutil.move("results/fits", tmp_path / "disk")
    Path("results/fits").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/up").symlink_to(tmp_path)  # and one that leads around
    assert findings(capsys, 1) == STUDY
    run("trace", "results/fits/L_N.json:alpha_N")
    assert "results/tables/model_size/runs.parquet" in capsys.readouterr().out
    Path("results/fits/mine.txt").write_text("mine")
    assert findings(capsys, 1) == STUDY | {("unknown", "results/fits/mine.txt")}


@pytest.mark.parametrize("place", [".", "results/fits", "/"])
def test_a_manifest_does_not_depend_on_where_the_command_was_given(project, place, monkeypatch):
    results = project.resolve() / "results"
    monkeypatch.chdir(place)
    run("fit", "L_N", results / "tables/model_size", "--json", results / "fits/L_N.json",
        "--bootstrap", 20, "--lineage", results / "fits/lineage/L_N.json")  # fmt: skip
    said = read(results / "fits/lineage/L_N.json")
    paths = [file["path"] for file in (*said["inputs"], *said["outputs"])]
    assert paths == ["../../tables/model_size/runs.parquet", "../L_N.json"]


def test_many_files_of_one_reason_are_one_line(project, capsys):
    for number in range(100):
        Path(f"results/tables/note{number:03}.txt").write_text("mine")
    run("verify", code=1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "note" in line]
    assert line.endswith(" and 99 more: no manifest names it")
    for number in range(100):  # each with a reason of its own
        path = Path(f"results/fits/{number}.json")
        path.write_text(" " * number)
        file = {"path": f"../{number}.json", "bytes": 1000, "sha256": "", "modified": 0}
        said = read("results/fits/lineage/L_N.json") | {"outputs": [file]}
        Path(f"results/fits/lineage/{number}.json").write_text(json.dumps(said))
    run("verify", code=1)
    lines = capsys.readouterr().out.splitlines()
    assert "  and 80 more files, for 80 other reasons" in lines and len(lines) < 40


def test_jobs_are_joined_by_files_alone(project):
    graph = Graph(Path("results"))
    (judged,) = [job for job in graph.jobs if job.name == "held-out"]
    assert {job.name for job in graph.downstream([judged])} == {"held-out", "figure"}
    assert {job.name for job in graph.upstream([judged])} == {"held-out"}
