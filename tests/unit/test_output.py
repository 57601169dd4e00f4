"""Files are whole or absent, and what is no file is left alone."""

import os
import stat

import pytest

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
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


@pytest.mark.parametrize("name", ["table", "link", "folder/../table"])
def test_an_input_is_not_taken_for_the_output(tmp_path, name):
    (tmp_path / "folder").mkdir()
    table = tmp_path / "table"
    table.write_text("days of training")
    (tmp_path / "link").symlink_to(table)
    reading(table)
    with pytest.raises(InputError, match=f"{name}: found an input"), atomic(tmp_path / name):
        pytest.fail("it must be refused before there is work to lose")
    assert table.read_text() == "days of training"


def test_an_input_that_is_read_while_the_output_is_written_is_spared(tmp_path):
    table = tmp_path / "table"
    table.write_text("rows")
    with pytest.raises(InputError, match="table: found an input"), atomic(table) as partial:
        partial.write_text(reading(table).read_text().upper())
    assert [path.name for path in tmp_path.iterdir()] == ["table"]
    assert table.read_text() == "rows"


def test_a_file_in_a_folder_that_was_read_is_spared(tmp_path):
    table = tmp_path / "tables" / "runs"
    table.parent.mkdir()
    table.write_text("rows")
    reading(table.parent)
    with pytest.raises(InputError, match="runs: found an input"), atomic(table):
        pass
    with atomic(table.with_name("new")) as partial:  # no input stood there
        partial.write_text("fit")


def test_what_is_renewed_or_was_written_here_may_be_read_before(tmp_path):
    table, own = tmp_path / "table", tmp_path / "own"
    table.write_text("old")
    reading(table)
    with atomic(table, renews=True) as partial:
        partial.write_text("new")
    assert table.read_text() == "new"
    for content in ("first", "second"):
        with atomic(own) as partial:
            partial.write_text(content)
        reading(own)
    assert own.read_text() == "second"
