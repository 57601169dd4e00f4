"""What every run is evaluated on, and by which code, in one small file.

A grid has thousands of runs. Were each evaluation to wait for all files of all corpora and for all
modules by itself, a third of what the workflow knows of them would be these names.
"""

from __future__ import annotations

import json
from pathlib import Path

from scaling_laws.errors import InputError
from scaling_laws.ledger import sha256
from scaling_laws.output import atomic
from scaling_laws.tokens.reader import TokenStream


def basis(corpora: list[Path], *, code: list[Path] | None = None, output: Path) -> dict[str, int]:
    """List the corpora that runs are evaluated on, and the code that does it.

    Args:
        corpora: Token files.
        code: Source files that an evaluation runs.
        output: JSON file: `corpora`, by name, each with `tokens`, `documents` and `bytes` of text;
            the SHA-256 of the `files` of the corpora by name, and of the `code` by path.

    Raises:
        InputError: When a token file is missing or not as long as it says.
    """
    facts, files = {}, {}
    for path in corpora:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected a token file")
        stream = TokenStream(path)
        facts[path.stem] = {key: stream.facts[key] for key in ("tokens", "documents", "bytes")}
        for ending in (".bin", ".json", ".documents.parquet"):
            file = path.with_suffix(ending)
            files[file.name] = sha256(file)
    content = {
        "corpora": facts,
        "files": files,
        "code": {str(path): sha256(path) for path in code or []},
    }
    with atomic(output) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return {name: each["tokens"] for name, each in facts.items()}
