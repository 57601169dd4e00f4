import pandas as pd
import pytest

from scaling_laws.errors import InputError
from scaling_laws.report.times import duration, times


def benchmark(path, seconds, memory):
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"s": seconds, "h:m:s": "x", "max_rss": memory, "cpu_time": seconds / 2}
    pd.DataFrame([row]).to_csv(path, sep="\t", index=False)


def test_stages_are_added_up_and_ordered_by_their_time(tmp_path, capsys):
    benchmark(tmp_path / "benchmarks/train/a.tsv", 3000, 500)
    benchmark(tmp_path / "benchmarks/train/b.tsv", 4500, 700)
    benchmark(tmp_path / "benchmarks/report.tsv", 2, "NA")
    times(tmp_path)
    heading, train, report, everything = capsys.readouterr().out.splitlines()
    assert heading.split() == ["stage", "jobs", "wall", "CPU", "longest", "memory"]
    words = "train 2 2 h 05 min 1 h 02 min 1 h 15 min 700 MB"
    assert train.split() == words.split()
    assert report.split() == ["report", "1", "2", "s", "1", "s", "2", "s", "–"]
    assert everything.split()[:5] == ["all", "3", "2", "h", "05"]


def test_what_is_no_benchmark_is_named(tmp_path):
    with pytest.raises(
        InputError, match="benchmarks: no benchmarks; expected those that Snakemake"
    ):
        times(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/report.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(InputError, match=r"report\.tsv: no column s, max_rss, cpu_time"):
        times(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_are_said_in_two_units(seconds, text):
    assert duration(seconds) == text
