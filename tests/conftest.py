"""What tests of several kinds need."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import synthetic_runs
from matplotlib.figure import Figure
from synthetic_runs import TITLES

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
