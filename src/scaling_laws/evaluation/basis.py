"""What every run is evaluated on, and by which code, in one small file.

A grid has thousands of runs. Were each evaluation to wait for all files of all corpora and for all
modules by itself, most names that the workflow deals with would be these.
"""

from __future__ import annotations

import json
from pathlib import Path

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading, sha256
from scaling_laws.output import atomic

ENDINGS = (".bin", ".json", ".documents.parquet")  # of the files of a corpus


def basis(corpora: list[Path], *, code: list[Path] | None = None, output: Path) -> dict[str, int]:
    """List the corpora that runs are evaluated on, and the code that does it.

    Args:
        corpora: Token files.
        code: Source files that an evaluation runs.
        output: JSON file: the SHA-256 of the `files` of the corpora by name, and of the `code` by
            path.

    Raises:
        InputError: When a file of a corpus is missing.
    """
    files = [corpus.with_suffix(ending) for corpus in corpora for ending in ENDINGS]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file; expected a token file and what is beside it")
    content = {
        "files": {file.name: sha256(reading(file)) for file in files},
        "code": {str(path): sha256(path) for path in code or []},
    }
    with atomic(output) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return {"files": len(files)}
