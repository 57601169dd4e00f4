"""What tests of several kinds need."""

import fcntl
import shutil
from pathlib import Path

import pandas as pd
import pytest
import synthetic_runs
from matplotlib.figure import Figure
from synthetic_runs import TITLES

from running import copy_repository, snakemake
from scaling_laws.figures import FIGURES
from scaling_laws.figures.canvas import Canvas
from scaling_laws.figures.draw import figure
from scaling_laws.sample.packages import download


@pytest.fixture(scope="session")
def packages() -> Path:
    """Return the folder of the packages that carry the sample web's text, fetched if need be."""
    folder = Path(__file__).parents[1] / "resources/packages"
    download(checksums=folder / "SHA256SUMS")
    return folder


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with planted runs of every study; not to be changed."""
    return synthetic_runs.everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="session")
def kept() -> dict[str, Figure]:
    """Return the figures that `drawn` has drawn, by name."""
    return {}


@pytest.fixture(scope="session")
def drawn(
    everything: Path, kept: dict[str, Figure], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of all figures of these runs; not to be changed."""
    folder = tmp_path_factory.mktemp("figures")
    original = Canvas.drawn
    for name in FIGURES:

        def keep(canvas: Canvas, name: str = name) -> tuple[Figure, pd.DataFrame]:
            kept[name] = canvas.figure
            return original(canvas)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Canvas, "drawn", keep)
            figure(name, everything, corpora=TITLES, output=folder)
    return folder


@pytest.fixture(scope="session")
def complete(everything: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with all that a report shows; not to be changed."""
    results = shutil.copytree(everything, tmp_path_factory.mktemp("complete") / "results")
    shutil.copytree(drawn, results / "figures")
    synthetic_runs.configure(results, synthetic_runs.STUDIES, synthetic_runs.LAWS_OF)
    return results


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a copy of the repository where the whole workflow has run; not to be changed."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    folder, done = shared / "workflow", shared / "workflow.done"
    with (shared / "workflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            copy_repository(folder)
            snakemake(folder)
            done.touch()
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished tree, in another place, that a test may change."""
    # Another process may be at a dry run there, whose own files come and go.
    passing = shutil.ignore_patterns("*.whl", "*.tar.gz", "locks", "log", "tmp*")
    shutil.copytree(finished, tmp_path / "copy", ignore=passing)
    return tmp_path / "copy"
