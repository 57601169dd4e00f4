"""Run `scaling-laws` with made-up names of hosts: the crawler itself is as it is.

`CRAWL_NAMES` holds JSON: a name's lists of addresses, one list a look-up, the last one for good.
Other names under .example have the address `CRAWL_ADDRESS`, and the rest does not exist.
`CRAWL_LOOKUP_SECONDS` is how long a look-up takes, and `CRAWL_PEAK` the file for the peak memory of
the process, in KiB.
"""

import ipaddress
import json
import os
import socket
import time
from pathlib import Path

names = json.loads(os.environ.get("CRAWL_NAMES", "{}"))
known = socket.getaddrinfo


def addresses(host, port, family=0, *arguments, **options):
    """Return what `socket.getaddrinfo` does, for made-up names."""
    name = host.decode() if isinstance(host, bytes) else host
    if not name or name == "localhost" or numeric(name):
        return known(host, port, family, *arguments, **options)
    time.sleep(float(os.environ.get("CRAWL_LOOKUP_SECONDS", "0")))
    found = []
    if name in names:
        found = names[name].pop(0) if len(names[name]) > 1 else names[name][0]
    elif name.rstrip(".").endswith(".example"):
        found = [os.environ["CRAWL_ADDRESS"]]
    kinds = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in found]
    infos = [
        info
        for address, kind in zip(found, kinds, strict=True)
        if family in (socket.AF_UNSPEC, kind)
        for info in known(address, port, family, *arguments, **options)
    ]
    if not infos:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return infos


def numeric(name):
    """Tell whether a name is an address, in any form that the C library takes for one."""
    try:
        socket.inet_aton(name)
    except OSError:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
    return True


socket.getaddrinfo = addresses

if __name__ == "__main__":
    from scaling_laws.cli import main

    try:
        main()
    finally:
        if "CRAWL_PEAK" in os.environ:
            status = Path("/proc/self/status").read_text()
            Path(os.environ["CRAWL_PEAK"]).write_text(status.split("VmHWM:")[1].split()[0])
