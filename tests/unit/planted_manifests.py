"""Manifests of a workflow that trained many runs, without their files."""

import hashlib
from pathlib import Path

from scaling_laws.lineage.manifest import FOLDER, File, Host, Manifest


def plant(results, runs):
    """Write the manifests of a small workflow with that many runs, and return the folder."""
    write(
        results / "links/lineage/links.json", "links", ["../../../dump.zst"], ["../links.parquet"]
    )
    write(
        results / "crawl/lineage/0.json", "crawl", ["../../links/links.parquet"], ["../0.parquet"]
    )
    write(results / "tokens/lineage/train.json", "encode",
          ["../../crawl/0.parquet", "../../links/links.parquet"], ["../train.bin"])  # fmt: skip
    curves = []
    for number in range(runs):
        folder = results / f"runs/run-{number:04}/lineage"
        write(folder / "train.json", "train", ["../../../tokens/train.bin"],
              ["../curve.parquet", "../run.json"])  # fmt: skip
        curves.append(f"../../runs/run-{number:04}/curve.parquet")
    write(results / "plan/lineage/runs.json", "plan", [], ["../runs.tsv"])
    write(results / "tables/lineage/collect.json", "collect",
          ["../../plan/runs.tsv", *curves], ["../runs.parquet"])  # fmt: skip
    return results


def write(path, rule, inputs, outputs, minute=0):
    """Write the manifest of a job, whose files are told apart by their paths alone."""
    made = Manifest(
        rule=rule,
        command=rule,
        call=f"scaling-laws {rule} <quoted> & all",
        parameters={"name": path.parent.parent.name, "long": "x" * 500},
        inputs=[_file(each) for each in inputs],
        outputs=[_file(each) for each in outputs],
        statistics={"rows": 12},
        modules={"scaling_laws": "0" * 64, f"scaling_laws.{rule}": "1" * 64},
        commit="c" * 40,
        clean=True,
        packages={"python": "3.11.7", "numpy": "2.4.6"},
        host=Host(system="Linux x86_64", processor="a processor", cores=2, gpu=None),
        seed=0,
        started=f"2026-01-01T00:{minute:02}:00+00:00",
        ended=f"2026-01-01T00:{minute:02}:30+00:00",
        peak_memory=200_000_000,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    assert path.parent.name == FOLDER
    path.write_text(made.model_dump_json(indent=1))


def _file(path):
    name = Path(path).name.encode()
    return File(path=path, bytes=1000, sha256=hashlib.sha256(name).hexdigest(), modified=0)
