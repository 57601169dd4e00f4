"""Runs of the whole workflow in a copy of the repository."""

import os
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config/ci.yaml").read_text())
RESULTS = CONFIG["results"]
PATIENCE = 600  # seconds that a busy machine may need to get somewhere


def snakemake(folder, *arguments, check=True):
    """Run the workflow in a copy of the repository, on that copy's own code."""
    done = subprocess.run(
        ["snakemake", "--configfile", "config/ci.yaml", "--cores", "2", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    if check and done.returncode != 0:
        pytest.fail(f"snakemake {' '.join(arguments)} exited {done.returncode}:\n{output}")
    return output


def scaling_laws(folder, *words, code=0):
    """Give a command in a copy of the repository, on that copy's own code; return its output."""
    return _given(folder, words, code).stdout


def refused(folder, *words):
    """Return what a command says that is refused."""
    return _given(folder, words, 2).stderr


def _given(folder, words, code):
    done = subprocess.run(
        ["scaling-laws", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def planned_rules(folder, *arguments):
    """Return how many jobs of each rule a dry run plans."""
    output = snakemake(folder, *arguments, "--dry-run", "--quiet", "host")
    if "Nothing to be done" in output:
        return Counter()
    lines = output.split("Job stats:")[1].split("total")[0].splitlines()
    rows = [line.split() for line in lines if line.strip() and "---" not in line]
    return Counter({name: int(count) for name, count in rows if name not in ("job", "all")})


def copy_repository(folder):
    """Copy what is under version control, and the packages where they have been downloaded."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for package in (ROOT / "resources/packages").glob("*.*"):
        (folder / "resources/packages").mkdir(exist_ok=True)
        shutil.copy2(package, folder / "resources/packages")


def begin(folder, *arguments):
    """Start the workflow, in a process group of its own that can be sent signals."""
    return subprocess.Popen(
        ["snakemake", "--configfile", "config/ci.yaml", "--cores", "2", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_until(reached, process=None):
    """Wait for what a process brings about, which must not end before."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def results_of(folder):
    """Return the results that are the same however often and wherever they are made."""
    root = folder / RESULTS
    tables = {
        str(path.relative_to(root)): pd.read_parquet(path).drop(columns="seconds", errors="ignore")
        for pattern in ("corpus/*", "corpora/*", "documents/*", "tables/**/*")
        for path in root.glob(f"{pattern}.parquet")
    }
    files = [
        *root.glob("tokens/*.bin"),
        *root.glob("fits/*.json"),
        *root.glob("runs/*/model.safetensors"),
        *root.glob("figures/*.csv"),
    ]
    return tables, {str(path.relative_to(root)): path.read_bytes() for path in files}


def assert_equal_results(one, other):
    (tables, files), (other_tables, other_files) = results_of(one), results_of(other)
    assert tables.keys() == other_tables.keys() and files.keys() == other_files.keys()
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, other_tables[name], obj=name)
    assert [name for name in files if files[name] != other_files[name]] == []
