"""GPUs of one machine, shared by jobs that know nothing of each other.

A GPU is a file, and a slot an equal part of it, which its holder has locked; the kernel unlocks it
when the process ends, however it ends. So jobs that divide a GPU into other numbers of slots see
each other's.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from urllib.parse import quote

from scaling_laws.errors import InputError

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.5
HELD = "SCALING_LAWS_GPUS"  # in the environment of a command that has some: the folder of the locks
WHOLE = 2**40  # bytes of the file of a GPU that locks are of; none of them is ever written
RECORD = struct.Struct("hhqqi")  # the kernel's `struct flock`


def on_gpus(command: list[str], *, gpus: int = 1, slots: int = 1, slots_per_gpu: int = 1) -> None:
    """Run a command on GPUs that have room for it: the command sees these and no others.

    Waits until there is room. GPUs are those in CUDA_VISIBLE_DEVICES, as a scheduler sets it, or
    all of the machine. Whoever starts all work on them by this command never has two jobs in one
    slot.

    Args:
        command: The command, after `--`.
        gpus: GPUs that it needs; two or more it has to itself.
        slots: Slots that it needs on one GPU.
        slots_per_gpu: Slots that each GPU has.

    Raises:
        InputError: There are fewer GPUs or slots, or no such command; or this is within such a
            command, which would wait for itself.
    """
    if slots > slots_per_gpu:
        raise InputError(f"--slots {slots}: expected at most the {slots_per_gpu} of a GPU")
    if shutil.which(command[0]) is None:
        raise InputError(f"{command[0]}: no such command")
    devices = visible()
    if gpus > len(devices):
        named = f": {', '.join(devices)}" if devices else ""
        raise InputError(f"{gpus} GPUs wanted, and {len(devices)} are there{named}")
    wanted = slots if gpus == 1 else slots_per_gpu
    folder = _folder()
    if os.environ.get(HELD) == str(folder):
        raise InputError(
            "on-gpus within on-gpus: the outer one holds these GPUs; to leave some to others start "
            "the outer command with CUDA_VISIBLE_DEVICES alone"
        )
    paths = _paths(folder, devices)
    waited = False
    while not (found := _take(folder, paths, gpus, wanted, slots_per_gpu)):
        if not waited:
            log.info("waits for room on %s", ", ".join(devices))
            waited = True
        time.sleep(SECONDS_BETWEEN_LOOKS)
    log.info("runs on %s", ", ".join(found))
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and by the command, too
        signal.signal(ignored, signal.SIG_DFL)
    # The locks stay with the process, which becomes the command.
    its_own = {"CUDA_VISIBLE_DEVICES": ",".join(found), HELD: str(folder)}
    os.execvpe(command[0], command, os.environ | its_own)


def visible() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES would name them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        names = [name.strip() for name in allowed.split(",") if name.strip()]
        # No GPU has a name like -1, and CUDA sees none that is listed after such a one.
        return list(dict.fromkeys(takewhile(lambda name: not name.startswith("-"), names)))
    # Identifiers, because CUDA may number GPUs in another order than the driver does.
    return list(_driver().values())


def _driver() -> dict[str, str]:
    """Return the identifiers of GPUs by the numbers that the driver gives them."""
    asked = ("nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader")
    if shutil.which(asked[0]) is None:
        return {}
    said = subprocess.run(asked, capture_output=True, text=True, errors="replace", check=False)
    if said.returncode:
        log.warning("nvidia-smi: %s", " ".join((said.stdout + said.stderr).split()))
    rows = [line.split(", ") for line in said.stdout.splitlines() if ", GPU-" in line]
    return {number: identifier.strip() for number, identifier in rows}


def _folder() -> Path:
    """Return the folder of the locks: of this user, and of a scheduler's job, whose GPUs it has."""
    job = os.environ.get("SLURM_JOB_ID", "here")
    folder = Path(tempfile.gettempdir(), f"scaling-laws-gpus-{os.getuid()}", job)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _paths(folder: Path, devices: Sequence[str]) -> dict[str, Path]:
    """Return the file of each GPU: the same by its number as by its identifier."""
    identifiers = _driver() if any(map(str.isdigit, devices)) else {}
    names = {device: os.fsencode(identifiers.get(device, device)) for device in devices}
    return {device: folder / f"gpu-{quote(name, safe='')}" for device, name in names.items()}


def _take(
    folder: Path, paths: Mapping[str, Path], gpus: int, slots: int, slots_per_gpu: int
) -> list[str]:
    """Lock slots of the emptiest GPUs and return these; none where not all can be had at once."""
    with (folder / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        files = {
            device: os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for device, path in paths.items()
        }
        free = {device: _lock_free(file, slots_per_gpu) for device, file in files.items()}
        roomy = [device for device in files if len(free[device]) >= slots]
        taken = sorted(roomy, key=lambda device: -len(free[device]))[:gpus]
        if len(taken) < gpus:
            taken = []
        for device, file in files.items():
            if device not in taken:
                os.close(file)
                continue
            for spare in free[device][slots:]:
                _lock(file, fcntl.F_UNLCK, spare)
            os.set_inheritable(file, True)
            os.utime(file)  # or who cleans temporary folders may take it for forgotten
        return taken


def _lock_free(file: int, slots_per_gpu: int) -> list[range]:
    """Lock the slots of a GPU that nobody holds, and return which bytes they are."""
    edges = [WHOLE * number // slots_per_gpu for number in range(slots_per_gpu + 1)]
    return [slot for slot in map(range, edges, edges[1:]) if _lock(file, fcntl.F_WRLCK, slot)]


def _lock(file: int, kind: int, part: range) -> bool:
    """Lock or unlock a part of an open file, for all processes that have it; False if held."""
    record = RECORD.pack(kind, os.SEEK_SET, part.start, len(part), 0)
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, record)
    except BlockingIOError:
        return False
    return True
