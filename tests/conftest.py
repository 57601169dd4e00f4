"""What tests of several kinds need."""

from pathlib import Path

import pytest

from scaling_laws.sample.packages import download


@pytest.fixture(scope="session")
def packages() -> Path:
    """Return the folder of the packages that carry the sample web's text, fetched if need be."""
    folder = Path(__file__).parents[1] / "resources/packages"
    download(checksums=folder / "SHA256SUMS")
    return folder
