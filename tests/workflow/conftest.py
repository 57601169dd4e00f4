"""A finished workflow, run once however many processes test it, and copies to change."""

import fcntl
import shutil

import pytest
from running import copy_repository, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """A copy of the repository in which the whole workflow has run."""
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
def copy(finished, tmp_path):
    """A copy of the finished tree, in another place, that a test may change."""
    # Another process may be at a dry run there, whose own files come and go.
    passing = shutil.ignore_patterns("*.whl", "*.tar.gz", "locks", "log", "tmp*")
    shutil.copytree(finished, tmp_path / "copy", ignore=passing)
    return tmp_path / "copy"
