"""The one exception for what a user can mend."""


class InputError(Exception):
    """A file, key or row that a stage cannot use.

    The message names what is wrong and where, what was found and what was expected. The command
    line prints it alone, without a traceback, and exits with code 2.
    """


class TooFewRunsError(InputError):
    """Tables that are sound, but whose runs are too few or too alike for what is asked of them."""
