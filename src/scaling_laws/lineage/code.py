"""Which source files a stage runs, and the state that they are in."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import grimp

from scaling_laws.ledger import sha256

PACKAGE = Path(__file__).parents[1]


def closure(*modules: str) -> set[str]:
    """Return the modules that run when some are imported, themselves included.

    Args:
        modules: Names within the package, such as "corpus.dedup.split".
    """
    graph = import_graph()
    names = {f"{PACKAGE.name}.{module}" for module in modules}
    for name in list(names):
        names |= graph.find_upstream_modules(name)
    # Importing a.b.c runs a/__init__.py and a/b/__init__.py, too.
    return names | {
        ".".join(name.split(".")[:length])
        for name in names
        for length in range(1, name.count(".") + 1)
    }


@cache
def import_graph() -> grimp.ImportGraph:
    """Return which module of the package imports which."""
    return grimp.build_graph(PACKAGE.name, cache_dir=None)


def source_of(module: str) -> Path:
    """Return the source file of a module of the package."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    package = path / "__init__.py"
    return package if package.exists() else path.with_suffix(".py")


def code_of(*modules: str) -> dict[str, str]:
    """Return the SHA-256 of the source of each module in a closure."""
    return {name: sha256(source_of(name)) for name in sorted(closure(*modules))}


def commit() -> tuple[str | None, bool | None]:
    """Return the commit that the code is at, and whether it is unchanged since; None outside."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, check=False
            )
        except OSError:  # no git here
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A package installed into some other repository's environment is not that repository's code.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    status = (git("status", "--porcelain=v2", "--branch", "--", ".") or "").splitlines()
    heads = [line.split()[2] for line in status if line.startswith("# branch.oid")]
    changed = [line for line in status if not line.startswith("#")]
    return (heads[0], not changed) if heads and heads != ["(initial)"] else (None, None)
