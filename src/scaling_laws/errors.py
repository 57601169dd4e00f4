"""The one exception for what a user can mend."""

LONGEST = 60  # characters of a value in a message


def cut(text: str) -> str:
    """Return what was found as a message says it: not at length."""
    return f"{text[:LONGEST]}..." if len(text) > LONGEST else text


class InputError(Exception):
    """A file, key or row that a stage cannot use.

    The message names what is wrong and where, what was found and what was expected. The command
    line prints it alone, without a traceback, and exits with code 2.
    """


class TooFewRunsError(InputError):
    """Tables that are sound, but whose runs are too few or too alike for what is asked of them."""
