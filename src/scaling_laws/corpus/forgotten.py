"""Pages that their owners want left out: the list that `forget` writes and the stages read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaling_laws.corpus.links.urls import (
    hostname,
    identity,
    is_public_suffix,
    normalise,
    shard_of,
)
from scaling_laws.errors import InputError

OUTCOME = "forgotten"
"""What such a page is rejected with, whatever stage meets it."""


class Forgotten:
    """The pages that are left out, each by its canonical URL, or all of a domain.

    A domain stands for its pages and those of every host under it. Either is told by the canonical
    URL of a page, so `www.`, mobile and AMP variants are no way around it.

    Attributes:
        entries: Canonical URLs and domains, sorted.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Take entries as `page_entry` and `domain_entry` return them."""
        self.entries = sorted(set(entries))
        self._pages = {entry for entry in self.entries if _is_url(entry)}
        self._domains = set(self.entries) - self._pages
        self._has_host = lru_cache(maxsize=2**16)(self._names_host)

    @classmethod
    def read(cls, path: Path | None) -> Forgotten:
        """Read a list: a URL or domain a line; # begins a comment.

        A job's manifest has the entries among its statistics and not the list among its inputs: a
        list that has grown since makes no other's files out of date.

        Args:
            path: Text file in UTF-8. Where there is none, nothing is forgotten.

        Raises:
            InputError: It cannot be read, or a line is neither URL nor domain.
        """
        if path is None or not path.exists():
            return cls()
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; expected URLs and domains") from None
        entries = []
        for number, line in enumerate(lines, start=1):
            try:
                if text := line.decode("utf-8-sig").partition("#")[0].strip():
                    entries.append(page_entry(text) if _is_url(text) else domain_entry(text))
            except ValueError as error:
                raise InputError(f"{path}:{number}: {error}") from None
        return cls(entries)

    def __bool__(self) -> bool:
        """Tell whether anything is forgotten."""
        return bool(self.entries)

    def __contains__(self, url: str) -> bool:
        """Tell whether the page of an address, in any spelling, is left out."""
        if not self.entries:
            return False
        try:
            return self._names(identity(normalise(url)))
        except ValueError:  # no web address
            return False

    def among(self, canonical_urls: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of some pages are left out, by their canonical URLs."""
        if not self.entries:
            return np.zeros(len(canonical_urls), bool)
        return np.fromiter(map(self._names, canonical_urls), bool, len(canonical_urls))

    def told(self) -> dict[str, list[str]]:
        """Return the entries as a statistic of the job that has left them out, if there are any."""
        return {OUTCOME: self.entries} if self.entries else {}

    def covers(self, entry: str) -> bool:
        """Tell whether all pages of an entry are left out already."""
        return self.covering(entry) is not None

    def covering(self, entry: str) -> str | None:
        """Return the entry that leaves out all pages of another, or that one itself."""
        if entry in self._pages:
            return entry
        domains = _with_parents(hostname(entry) if _is_url(entry) else entry)
        return next((domain for domain in domains if domain in self._domains), None)

    def of_shard(self, shard: int, shards: int) -> list[str]:
        """Return the entries whose pages are in one of the shards that links are divided into."""
        return [entry for entry in self.entries if shard_of(host_of(entry), shards) == shard]

    def _names(self, canonical_url: str) -> bool:
        return canonical_url in self._pages or self._has_host(hostname(canonical_url))

    def _names_host(self, host: str) -> bool:
        return any(domain in self._domains for domain in _with_parents(host))


def page_entry(url: str) -> str:
    """Return the entry of a page: its canonical URL.

    Raises:
        ValueError: It is no http or https address.
    """
    try:
        return identity(normalise(url))
    except ValueError:
        raise ValueError(
            f"found {url!r}, expected a URL such as https://example.com/page"
        ) from None


def domain_entry(domain: str) -> str:
    """Return the entry of a domain: the host of its canonical URLs.

    Raises:
        ValueError: It is none, or one that many own domains under, such as co.uk.
    """
    if "." not in domain or any(sign in domain for sign in "/?#@:\\ "):
        raise ValueError(
            f"found {domain!r}, expected a domain such as example.com, or a URL with its https://"
        )
    try:
        host = hostname(identity(normalise(f"http://{domain}/")))
    except ValueError:
        raise ValueError(f"found {domain!r}, expected a domain such as example.com") from None
    if is_public_suffix(host):
        raise ValueError(
            f"found {domain!r}, under which anyone may have a domain, expected one such as "
            f"example.{host}"
        )
    return host


def _with_parents(host: str) -> list[str]:
    """Return a host and the domains that it lies in: a.b.c, b.c, c."""
    labels = host.split(".")
    return [".".join(labels[first:]) for first in range(len(labels))]


def _is_url(entry: str) -> bool:
    return "://" in entry


def host_of(entry: str) -> str:
    """Return the host of an entry's canonical URLs; others may be under it."""
    return hostname(entry) if _is_url(entry) else entry
