"""Files are whole or absent, and what is no file is left alone."""

import os
import stat

import pytest

from scaling_laws.output import atomic


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with atomic(link) as partial:
        partial.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"


def test_a_device_or_pipe_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a file that can be written whole"), atomic(pipe):
        pass
    assert stat.S_ISFIFO(pipe.stat().st_mode)
