"""Token files on a machine's own disk, which is nearer than a file system that many machines share.

Only reading is faster for it: a copy is the same file, and no result depends on whether there was
one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from pathlib import Path

from scaling_laws.errors import InputError

log = logging.getLogger(__name__)


def expanded(folder: str) -> Path:
    """Return a folder with the variables of this process's environment in place of their names.

    Raises:
        InputError: There is no such variable here.
    """
    path = os.path.expandvars(folder)
    if missing := re.search(r"\$\{?\w+\}?", path):
        raise InputError(
            f"--scratch {folder} (hardware.scratch): no variable {missing[0]} in the environment "
            "of this job"
        )
    return Path(path)


def copy_of(path: Path, sha256: str, folder: Path) -> Path:
    """Return a copy of a file, which the first process of a machine that asks makes for all.

    A copy stays for later jobs; it is the machine that clears such a folder. Where none can be
    made, as on a full disk, that is said in the log, and the file itself is returned.

    Args:
        path: The file.
        sha256: SHA-256 of its content, by which the copy is known.
        folder: Folder on the machine's own disk; made if need be.
    """
    copy = folder / f"{sha256}{path.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{sha256}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not copy.is_file() or copy.stat().st_size != path.stat().st_size:
                log.info("copies %s to %s", path, copy)
                # Not by `output.atomic`, which would name the copy as a result.
                partial = copy.with_suffix(".partial")
                shutil.copyfile(path, partial)
                partial.replace(copy)
    except OSError as error:
        log.warning("%s: %s; %s is read from where it lies", folder, error.strerror, path)
        return path
    return copy
