"""The page of lineage, and the flow that it draws."""

import re
from itertools import pairwise
from os.path import normpath
from urllib.parse import unquote

import pytest
from planted_manifests import plant, write

from scaling_laws.lineage import page
from scaling_laws.lineage.drawing import HEIGHT, WIDTH, draw
from scaling_laws.lineage.graph import Graph
from scaling_laws.lineage.stages import edges_of, layers_of, stages_of, without_shortcuts


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("project") / "results", runs=40)


def test_jobs_of_a_rule_are_one_stage_and_files_are_counted_once(results):
    graph = Graph(results)
    stages, edges = stages_of(graph), edges_of(graph)
    assert (len(stages["train"].jobs), stages["train"].files) == (40, 80)
    assert stages["train"].bytes == 80_000
    assert edges["train", "collect"] == (40, 40_000)
    assert edges["encode", "train"] == (1, 1000)  # one file, whoever reads it
    assert ("links", "encode") in edges and ("links", "collect") not in edges


def test_each_stage_stands_below_what_it_reads_and_a_source_just_above_its_reader(results):
    graph = Graph(results)
    edges = edges_of(graph)
    layers = layers_of(stages_of(graph), edges)
    assert layers == [["links"], ["crawl"], ["encode"], ["plan", "train"], ["collect"]]
    shown = without_shortcuts(layers, edges)
    assert set(edges) - set(shown) == {("links", "encode")}  # by way of crawl


def test_stages_that_read_from_each_other_are_drawn_all_the_same(tmp_path):
    write(tmp_path / "lineage/a.json", "first", ["../b"], ["../a"])
    write(tmp_path / "lineage/b.json", "second", ["../a"], ["../b"])
    graph = Graph(tmp_path)
    edges = edges_of(graph)
    assert len(edges) == 2
    layers = layers_of(stages_of(graph), edges)
    assert len(layers) == 2 and len(without_shortcuts(layers, edges)) == 1
    page.lineage(tmp_path, output=tmp_path / "lineage/index.html")


def test_no_box_of_a_drawing_covers_another_or_a_line_that_passes():
    layers = [["a"], ["b", "c", "d"], ["e", "f"], ["g"]]
    edges = [("a", "b"), ("a", "c"), ("a", "d"), ("a", "g"), ("b", "f"), ("d", "e"), ("c", "g")]
    drawing = draw(layers, edges)
    for layer in layers:
        corners = sorted(drawing.corners[name] for name in layer)
        assert len({y for _, y in corners}) == 1
        assert all(b[0] - a[0] > WIDTH for a, b in pairwise(corners))
    for line in drawing.lines.values():
        # It goes down a layer by V, from a point that C or M has come to.
        for x, y, bottom in re.findall(r"(?:M| )(\d+) (\d+)V(\d+)", line)[1:]:
            assert int(bottom) - int(y) == pytest.approx(HEIGHT, abs=1)
            boxes = [c for c in drawing.corners.values() if abs(c[1] - int(y)) < 1]
            assert not [c for c in boxes if c[0] <= int(x) <= c[0] + WIDTH]
    right = max(x for x, _ in drawing.corners.values()) + WIDTH
    assert min(x for x, _ in drawing.corners.values()) >= 0 and right <= drawing.width


def test_a_stage_of_many_jobs_is_capped_and_each_row_leads_to_its_manifest(results, monkeypatch):
    monkeypatch.setattr(page, "ROWS", 30)
    output = results / "lineage/index.html"
    page.lineage(results, output=output)
    text = output.read_text()
    assert "And 10 jobs more" in text and text.count("in full</summary>") == 5 + page.OPENED
    links = {unquote(link) for link in re.findall(r'href="([^"#]*\.json)"', text)}
    assert len(links) == 5 + 30
    assert all((output.parent / normpath(link)).is_file() for link in links)
    assert "And 31 files more" in text  # that collect has read
    assert "&lt;quoted&gt; &amp; all" in text and "x" * 161 not in text


def test_a_damaged_manifest_is_named_and_a_folder_without_any_is_refused(tmp_path, capsys):
    results = plant(tmp_path / "results", runs=1)
    (results / "plan/lineage/runs.json").write_text("{}")
    page.lineage(results, output=results / "lineage/index.html")
    text = (results / "lineage/index.html").read_text()
    assert "1 manifest cannot be read" in text and "plan/lineage/runs.json" in text
