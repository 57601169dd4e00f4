"""What of a results folder belongs to its present configuration, and what to a former one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scaling_laws.config import Config, settings_of
from scaling_laws.figures import FIGURES, drawable, lacking
from scaling_laws.laws.forms import LAWS


@dataclass(frozen=True)
class Contents:
    """Names of what a report may show.

    Attributes:
        laws: Laws, in the order of the paper.
        figures: Figures, in the order of the paper.
        off: What is off that a figure needs, by figure.
        config: The resolved configuration; None where there is none.
    """

    laws: Sequence[str] = tuple(LAWS)
    figures: Sequence[str] = tuple(FIGURES)
    off: Mapping[str, Sequence[str]] = field(default_factory=dict)
    config: Config | None = None


def contents(results: Path) -> Contents:
    """Return what the resolved configuration in `results` names; everything where there is none.

    A study or law that is turned off leaves files of before, which Snakemake does not remove.

    Raises:
        InputError: When the configuration is damaged.
    """
    config = settings_of(results)
    if config is None:
        return Contents()
    return Contents(
        laws=[law for law in LAWS if law in config.fits.laws],
        figures=drawable(config.studies, config.fits.laws),
        off={
            name: missing
            for name in FIGURES
            if (missing := lacking(name, config.studies, config.fits.laws))
        },
        config=config,
    )
