"""Commands as from a shell, in the process of the test."""

from __future__ import annotations

import pytest

from scaling_laws import cli


def run(*words, code=0):
    """Give a command, as from a shell in the current folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["scaling-laws", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            assert (end.code or 0) == code, end.code
        else:
            assert code == 0
