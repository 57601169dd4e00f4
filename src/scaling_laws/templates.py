"""HTML pages from templates that lie beside the code that fills them.

What several pages share, their style and the script that sorts tables, lies beside this module.
"""

from __future__ import annotations

import jinja2


def environment(package: str) -> jinja2.Environment:
    """Return what reads the templates of a package; what they are given is escaped."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(name, ".") for name in (package, "scaling_laws")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
