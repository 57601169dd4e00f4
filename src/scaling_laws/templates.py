"""HTML pages from templates that lie beside the code that fills them.

What several pages share, their style and the script that sorts tables, lies beside this module.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2

from scaling_laws.ledger import reading


class _Noting(jinja2.PackageLoader):
    """Notes the templates that are read as inputs."""

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool] | None]:
        source, path, uptodate = super().get_source(environment, template)
        reading(Path(path))
        return source, path, uptodate


def environment(package: str) -> jinja2.Environment:
    """Return what reads the templates of a package; what they are given is escaped."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([_Noting(name, ".") for name in (package, "scaling_laws")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
