"""Commands as from a shell, in the process of the test."""

from __future__ import annotations

import pytest

from scaling_laws import cli


def exit_code(*words: object) -> int:
    """Give a command, as from a shell in the current folder, and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["scaling-laws", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def run(*words: object, code: int = 0) -> None:
    """Give a command that is to end with some exit code."""
    assert exit_code(*words) == code
