"""Whom the owner of a server can write to."""

from __future__ import annotations

import re

ADDRESS = re.compile(
    r"(?:[^@\s()]+@|https?://)([\w-]+(?:\.[\w-]+)+)\.?(?::\d+)?(?:/[\x21-\x7e]*)?", re.ASCII
)
RESERVED = (".example", ".invalid", ".test", ".localhost")  # RFC 2606


def is_contact(text: str | None) -> bool:
    """Tell whether a text is an e-mail or web address, and none of those kept for examples."""
    address = ADDRESS.fullmatch(text or "")
    return address is not None and not f".{address[1].lower()}".endswith(RESERVED)
