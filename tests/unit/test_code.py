"""Which commit a manifest names."""

import subprocess
from importlib import metadata

import pytest

from scaling_laws.lineage import code, manifest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in a repository without a commit."""
    package = tmp_path / "src/package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr(code, "PACKAGE", package)
    git(package.parent, "init", "--quiet")
    return package


def git(folder, *words):
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    return subprocess.run(
        ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_commit_is_named_and_whether_the_code_is_as_committed(package):
    assert code.commit() == (None, None)
    git(package, "add", ".")
    assert code.commit() == (None, None)
    git(package, "commit", "--quiet", "--message", "A first")
    head = git(package, "rev-parse", "HEAD")
    assert code.commit() == (head, True)
    (package.parent / "notes.txt").touch()  # not of the package
    assert code.commit() == (head, True)
    (package / "new.py").touch()
    assert code.commit() == (head, False)


def test_a_package_in_anothers_repository_has_no_commit(package):
    (package.parent / "other.py").touch()
    git(package, "add", str(package.parent / "other.py"))
    git(package, "commit", "--quiet", "--message", "Another's")
    assert code.commit() == (None, None)


def test_packages_are_those_asked_for_and_loaded(monkeypatch):
    requires = ["pytest>=9", "PyYAML", 'ruff>=0.17; extra == "dev"', "no-such-package[x]>=2"]
    monkeypatch.setattr(metadata, "requires", lambda name: requires)
    found = manifest.packages()
    assert set(found) - {"PyYAML"} == {"python", "pytest"}
    assert found["pytest"] == pytest.__version__
