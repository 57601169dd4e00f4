"""What two clones of the workflow share by Snakemake's cache."""

import hashlib
import json
import os
import subprocess

import yaml

from running import CONFIG, RESULTS, copy_repository
from scaling_laws.laws.forms import LAWS

SMALL = {
    "sample": {"news": 200, "sqlalchemy": 1, "django": 8, "salt": 8, "exact_copies": 2}
    | {"near_copies": 4},
    "training": {"tokens": 20_000, "evaluations": 2},
    "corpora": dict.fromkeys(("books", "internet_books", "wikipedia", "common_crawl")),
    "studies": dict.fromkeys(CONFIG["studies"])
    | {
        "model_size": {
            "shapes": [{"n_layer": 1, "d_model": 8, "n_head": 1, "training": {"snapshots": 2}}]
        }
    },
    "fits": {"laws": dict.fromkeys(LAWS)},
}
SHARED = ("crawl", "tokenizer", "encode", "train")


def train(folder, cache):
    """Run a clone up to its only run."""
    (folder / "config/small.yaml").write_text(yaml.safe_dump(SMALL))
    done = subprocess.run(
        ["snakemake", "--cores", "2", "--cache", "--until", "train", "--configfile",
         "config/ci.yaml", "config/small.yaml", "--", "runs"],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(folder / "src"), "SNAKEMAKE_OUTPUT_CACHE": str(cache)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def outputs(folder):
    """Return the files of the shared rules by their manifests, with hashes of what is there."""
    found = {}
    for path in (folder / RESULTS).rglob("lineage/*.json"):
        made = json.loads(path.read_text())
        if made["rule"] in SHARED:
            for file in made["outputs"]:
                place = (path.parent / file["path"]).resolve()
                found[os.path.normpath(path.parent / file["path"])] = (place, file["sha256"])
                assert hashlib.sha256(place.read_bytes()).hexdigest() == file["sha256"]
    return {os.path.relpath(name, folder): each for name, each in found.items()}


def test_a_second_clone_neither_crawls_nor_trains(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    first, second = tmp_path / "first", tmp_path / "elsewhere/second"
    for folder in (first, second):
        folder.mkdir(parents=True)
        copy_repository(folder)
        train(folder, cache)
    kept, shared = outputs(first), outputs(second)
    assert {name: hashed for name, (_, hashed) in kept.items()} == {
        name: hashed for name, (_, hashed) in shared.items()
    }
    # Each file has a place of its own in the cache, which both lead to.
    assert len({place for place, _ in kept.values()}) == len(kept) >= 2 * 2 + 1 + 2 * 3 + 3
    assert [place for place, _ in kept.values()] == [shared[name][0] for name in kept]
    assert all(place.is_relative_to(cache) for place, _ in kept.values())
    logs = second / RESULTS / "logs"
    ran = {path.relative_to(logs).parts[0].removesuffix(".log")
           for path in logs.rglob("*.log") if path.stat().st_size}  # fmt: skip
    assert "extract" in ran and not set(SHARED) & ran
    for words in (["verify", RESULTS], ["trace", f"{RESULTS}/runs"]):
        done = subprocess.run(
            ["scaling-laws", *words],
            cwd=second,
            env=os.environ | {"PYTHONPATH": str(second / "src")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
