"""Which addresses a crawl may ask: public ones, so that no link is a way into a private network."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.compute as pc
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver
from w3lib.url import safe_url_string
from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HOST_NAME = re.compile(r"(?=.{1,254}$)[^.]{1,63}(?:\.[^.]{1,63})*\.?")
GLOBAL_UNICAST = IPv6Network("2000::/3")
# Ranges of IPv6 whose addresses stand for an IPv4 address, and the bits after it.
EMBEDDED = {
    IPv6Network("::ffff:0:0/96"): 0,  # IPv4-mapped
    IPv6Network("64:ff9b::/96"): 0,  # NAT64
    IPv6Network("2002::/16"): 80,  # 6to4
}


class BlockedAddressError(OSError):
    """A link leads to an address that is not to be asked."""


class Gate:
    """What is let through: http and https to names and to public or allowed addresses."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        """Let `allowed` through too."""
        self._allowed = allowed

    def check(self, url: URL) -> None:
        """Let an address pass; what a name stands for is seen when it is resolved.

        Raises:
            BlockedAddressError: It is not http or https, or has a host that is not to be asked.
        """
        if url.scheme not in ("http", "https"):
            raise BlockedAddressError(f"{url.scheme[:20]}: is not asked, only http and https")
        address = literal(url.raw_host or "")
        if address and not self.is_open(address):
            raise BlockedAddressError("not a public address")

    def is_open(self, address: Address) -> bool:
        """Tell whether `address` is public, or in a network that is allowed."""
        inner = embedded(address)
        networks = [network for network in self._allowed if network.version == address.version]
        if any(address in network for network in networks):
            return True
        if inner:
            return self.is_open(inner)
        if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
            return False
        return address.is_global and not address.is_multicast


class PublicResolver(ThreadedResolver):
    """The system's names, without those that have an address which is not to be asked.

    The connection is made to the addresses that were looked at, not to the name.
    """

    def __init__(self, gate: Gate) -> None:
        """Ask `gate` about addresses."""
        super().__init__()
        self._gate = gate

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            BlockedAddressError: One of them is not to be asked.
        """
        found = await super().resolve(host, port, family)
        for result in found:
            if not self._gate.is_open(ip_address(result["host"])):
                raise BlockedAddressError("a name with an address that is not public")
        return found


def literal(host: str) -> Address | None:
    """Return the address that `host` is, or None for a name.

    Short and numeric forms of IPv4 addresses, such as 127.1, are the addresses that systems take
    them for, and so is `localhost`.
    """
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        pass
    try:
        return ip_address(host)
    except ValueError:
        return None


def embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    for network, bits in EMBEDDED.items():
        if address.version == 6 and address in network:
            return IPv4Address(int(address) >> bits & 0xFFFFFFFF)
    return None


def parse(url: str, base: URL | None = None) -> URL:
    """Return an address as it is asked for: escaped, without user, password and fragment.

    Args:
        url: The address, relative to `base` if there is one.
        base: The address where it was found.

    Raises:
        ValueError: It is none.
    """
    # Headers may have any bytes, those that are no UTF-8 as surrogates.
    url = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", url.strip())
    try:
        whole = urljoin(str(base), url) if base else url
        parsed = URL(safe_url_string(whole), encoded=True)
        host, port = parsed.raw_host, parsed.port
    except (ValueError, UnicodeError) as error:
        raise ValueError(f"no address: {error}") from None
    if parsed.scheme not in ("http", "https"):
        return parsed
    if not host or port == 0 or not (":" in host or HOST_NAME.fullmatch(host)):
        raise ValueError("no address: it has no host")
    clean = parsed.with_fragment(None)
    return clean if clean.raw_user is None else clean.with_user(None)


def hosts_of(urls: pa.Array) -> pa.Array:
    """Return the hosts of http and https addresses as they are written."""
    parts = pc.extract_regex(urls, r"^https?://(?:[^/?#]*@)?(?P<host>\[[^\]]*\]|[^/:?#]*)")
    return parts.field("host")
