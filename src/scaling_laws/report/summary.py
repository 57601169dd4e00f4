"""The closing words of a workflow: what came out and where to look."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from scaling_laws.laws.forms import LAWS
from scaling_laws.report.comparison import STATUS, interval, number, r_squared, read_fits
from scaling_laws.report.contents import contents


def summary(results: Path) -> None:
    """Print the laws' exponents beside the paper's, and where the report and figures are.

    Args:
        results: Folder of everything computed.

    Raises:
        InputError: If there are no fits.
    """
    shown = contents(results)
    fits = read_fits(results / "fits", shown.laws)
    table = Table(title="Exponents", title_justify="left", box=None, pad_edge=False)
    for heading in ("law", "exponent", "ours", "interval", "paper", "R² (log)", "fit"):
        table.add_column(heading, justify="left")
    for name, fit in fits.items():
        for parameter, numbers in fit["parameters"].items():
            if parameter in LAWS[name].powers:
                table.add_row(
                    LAWS[name].symbol,
                    parameter,
                    number(numbers["value"]),
                    interval(numbers["low"], numbers["high"], fit["status"]),
                    number(numbers["paper"]),
                    r_squared(fit["r2_log"]),
                    STATUS[fit["status"]],
                )
    console = Console(soft_wrap=True)
    console.width = max(console.width, 120)  # also where nobody looks at a terminal
    console.print(table)
    drawn = [results / "figures" / f"{name}.svg" for name in shown.figures]
    figures = [path for path in drawn if path.is_file()]
    for what, path, there in (
        ("report", results / "report.html", (results / "report.html").is_file()),
        (f"{len(figures)} figures", results / "figures", bool(figures)),
    ):
        if there:
            console.print(f"{what}: {path}", highlight=False, markup=False)
