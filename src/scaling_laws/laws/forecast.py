"""What fitted laws foretell: the loss of a run to come, and the best run for a budget."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scaling_laws.errors import InputError
from scaling_laws.laws.efficient import Efficient
from scaling_laws.laws.fitted import read_content
from scaling_laws.laws.forms import Law, law_of
from scaling_laws.laws.problem import Array
from scaling_laws.models.counts import FLOP_PER_PF_DAY

SIZES = np.geomspace(1e3, 1e15, 2401)  # parameters among which the best is sought, then refined
UNITS = {"FLOP": 1.0, "PF-days": FLOP_PER_PF_DAY, "PFd": FLOP_PER_PF_DAY}
COMPUTE = ("C", "C_min")
OF_BOTH = ("chinchilla", "gadre", "L_ND", "L_ND_rejected")
"""Laws of the loss that have a best size for compute."""


@dataclass(frozen=True)
class Fit:
    """A fit as it was written to a file.

    Attributes:
        path: The file.
        law: The law, with or without its irreducible term.
        constants: At the minimum.
        draws: Of the replicates that determine all constants.
        content: The whole file.
    """

    path: Path
    law: Law
    constants: dict[str, float]
    draws: list[dict[str, float]]
    content: dict[str, Any]

    def interval(self, values: Array) -> tuple[float, float] | None:
        """Return the ends of an interval from what the replicates give; None where too few do."""
        values = values[np.isfinite(values)]
        if len(values) < 2 or not any(p["low"] is not None for p in self.parameters.values()):
            return None
        low, high = np.quantile(values, self.content["percentiles"], method="nearest")
        return float(low), float(high)

    def band(self, **variables: Array) -> tuple[Array, Array, Array]:
        """Return what the law gives and its interval; NaN ends where there is none.

        Args:
            variables: By name, each of shape (points,).
        """
        value = self.law(self.constants, **variables)
        unknown = np.full_like(value, np.nan)
        bounded = any(number["low"] is not None for number in self.parameters.values())
        if len(self.draws) < 2 or not bounded:
            return value, unknown, unknown
        drawn = np.array([self.law(draw, **variables) for draw in self.draws])
        low, high = np.quantile(drawn, self.content["percentiles"], axis=0, method="nearest")
        return value, low, high

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The published constants with their intervals."""
        found: dict[str, dict[str, Any]] = self.content["parameters"]
        return found


def read_fit(path: Path) -> Fit:
    """Return a fit.

    Raises:
        InputError: When the file is missing, is no fit, or its constants have overflowed.
    """
    content = read_content(path)
    law = law_of(content)
    if lost := [name for name in law.parameters if content["optimum"][name] is None]:
        raise InputError(f"{path}: {', '.join(lost)} has no value: {_status(content)}")
    known = {name: float(content["optimum"][name]) for name in law.parameters}
    rows = zip(*(content["draws"][name] for name in law.parameters), strict=True)
    draws = [dict(zip(law.parameters, row, strict=True)) for row in rows if None not in row]
    return Fit(path, law, known, draws, content)


def predict(fit: Path, *, at: list[str]) -> None:
    """Foretell what a fitted law gives, with its interval and how far it is extrapolated.

    The interval is that of the law: a single run scatters about it as the fitted ones do.

    Args:
        fit: JSON that `scaling-laws fit --json` wrote.
        at: A variable's values, such as N=1e9 or N=1e8,1e9; compute with its unit, C=1e21FLOP or
            C=10PF-days. Once for each variable; the first values belong together, and the second.

    Raises:
        InputError: When the fit cannot be read, or a variable is missing or unknown.
    """
    found = read_fit(fit)
    variables = _values(found.law, at)
    rows = np.broadcast_arrays(*variables.values())
    name, unit = found.law.response
    value = found.law(found.constants, **variables)
    drawn = np.array([found.law(draw, **variables) for draw in found.draws])
    table = Table(box=None, pad_edge=False)
    level = f"{100 * found.content['confidence']:g} %"
    titles = [
        f"{name} ({unit})" if name in COMPUTE else name
        for name, unit in found.law.variables.items()
    ]
    for title in [*titles, name, level, "extrapolated"]:
        table.add_column(title, justify="right")
    for row, point in enumerate(np.atleast_1d(value)):
        at_row = {
            name: float(np.atleast_1d(x)[row]) for name, x in zip(variables, rows, strict=True)
        }
        ends = found.interval(drawn.reshape(len(found.draws), -1)[:, row]) if len(drawn) else None
        table.add_row(
            *(f"{x:.4g}" for x in at_row.values()), f"{point:.4g}", _ends(ends),
            _decades(found, at_row),
        )  # fmt: skip
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(escape(f"{name} in {unit}; {found.law.equation}"))
    _warn(console, [found])


def optimum(fits: list[Path], *, compute: str) -> None:
    """Say how to spend compute: size, tokens, batch and steps of the least loss.

    From a law of N and D (chinchilla, gadre, L_ND), the size at which D = C / 6 N tokens give the
    least loss; with a fit of B_crit also the critical batch at that loss and the steps of that
    batch: larger ones need more tokens than D for the loss, smaller ones fewer. From chinchilla_1
    or chinchilla_2 size and tokens. From fits of L_NS and B_crit the closed form of the paper's
    appendix B, C being what training at the critical batch takes, twice C_min.

    Args:
        fits: JSON files that `scaling-laws fit --json` wrote.
        compute: Training compute, such as 1e21FLOP or 10PF-days.

    Raises:
        InputError: When a file is no fit, the compute has no unit, or no fit tells.
    """
    C = parse_compute("--compute", compute)
    found = {fit.law.name: fit for fit in map(read_fit, fits)}
    if len(found) < len(fits):
        raise InputError("two of the files are fits of one law; expected one of each")
    quantities, used = _plan(found, C)
    table = Table("", box=None, pad_edge=False)
    for title in ("value", f"{100 * used[0].content['confidence']:g} %", "extrapolated", "unit"):
        table.add_column(title, justify="left" if title == "unit" else "right")
    for name, unit, value, drawn in quantities:
        ends = used[0].interval(np.array(drawn))
        at = {name: value}
        table.add_row(name, f"{value:.4g}", _ends(ends), _decades(used[0], at), unit)
    console = Console(highlight=False, soft_wrap=True)
    beyond = _decades_of_compute(used[0], C)
    console.print(f"{C:.4g} FLOP, {C / FLOP_PER_PF_DAY:.4g} PF-days{beyond}")
    console.print(table)
    for fit in used:
        console.print(escape(f"{fit.path}: {fit.law.equation}"))
    if "B_crit" not in found:
        console.print("for batch and steps give a fit of B_crit as well")
    _warn(console, used)


Quantity = tuple[str, str, float, list[float]]
"""Name, unit, value, and values of the replicates."""


def _plan(found: Mapping[str, Fit], C: float) -> tuple[list[Quantity], list[Fit]]:
    critical = found.get("B_crit")
    of_both = [fit for name, fit in found.items() if name in OF_BOTH]
    if len(of_both) > 1:
        raise InputError(
            f"{' and '.join(fit.law.name for fit in of_both)} each tell how to spend compute; give "
            "one of them"
        )
    if of_both:
        fit = of_both[0]
        best = _least(fit.law, fit.constants, C)
        drawn = [_least(fit.law, draw, C) for draw in fit.draws]
        quantities: list[Quantity] = [
            ("N", "parameters", best[0], [N for N, _ in drawn]),
            ("D", "tokens", C / (6 * best[0]), [C / (6 * N) for N, _ in drawn]),
            ("D / N", "", C / (6 * best[0] ** 2), [C / (6 * N**2) for N, _ in drawn]),
            ("L", "nats per token", best[1], [loss for _, loss in drawn]),
        ]
        if critical is None:
            return quantities, [fit]

        def batch(constants: Mapping[str, float], loss: float) -> float:
            return float(critical.law(constants, L=loss))

        pairs = list(zip(drawn, critical.draws, strict=False))
        B = batch(critical.constants, best[1])
        batches = [batch(draw, loss) for (_, loss), draw in pairs]
        steps = [C / (6 * N * B) for ((N, _), _), B in zip(pairs, batches, strict=True)]
        quantities += [
            ("B", "tokens", B, batches),
            ("S", "steps", C / (6 * best[0] * B), steps),
        ]
        return quantities, [fit, critical]
    if "L_NS" in found and critical is not None:
        size = found["L_NS"]
        draws = zip(size.draws, critical.draws, strict=False)
        laws = [Efficient.of(a, b) for a, b in draws]
        law = Efficient.of(size.constants, critical.constants)
        return list(_efficient(law, laws, C)), [size, critical]
    for fit in found.values():
        if fit.law.response[0] == "N_opt" and "C" in fit.law.variables:
            day = C / FLOP_PER_PF_DAY
            N = float(fit.law(fit.constants, C=day))
            sizes = [float(fit.law(draw, C=day)) for draw in fit.draws]
            return [
                ("N", "parameters", N, sizes),
                ("D", "tokens", C / (6 * N), [C / (6 * size) for size in sizes]),
                ("D / N", "", C / (6 * N**2), [C / (6 * size**2) for size in sizes]),
            ], [fit]
    raise InputError(
        f"{', '.join(found)} cannot tell how to spend compute; expected a fit of chinchilla, "
        "chinchilla_1, chinchilla_2, gadre or L_ND, or fits of L_NS and B_crit"
    )


def _efficient(law: Efficient, drawn: list[Efficient], C: float) -> Iterator[Quantity]:
    """Yield the closed form's quantities; training at the critical batch takes twice C_min."""
    of: dict[tuple[str, str], Callable[[Efficient], Array]] = {
        ("N", "parameters"): lambda law: law.size(C / 2),
        ("D", "tokens"): lambda law: law.tokens(C / 2),
        ("L", "nats per token"): lambda law: law.loss(C / 2),
        ("B", "tokens"): lambda law: law.batch(C / 2),
        ("S", "steps"): lambda law: 2 * law.steps(C / 2),
    }
    for (name, unit), quantity in of.items():
        yield name, unit, float(quantity(law)), [float(quantity(other)) for other in drawn]


def _least(law: Law, constants: Mapping[str, float], C: float) -> tuple[float, float]:
    """Return the size of the least loss for compute, and that loss."""

    def loss(N: Array) -> Array:
        D = C / (6 * N)
        given = {"N": N, "D": D, "C": np.full_like(N, C), "M": D / N, "U": D}
        return law(constants, **{name: given[name] for name in law.variables})

    sizes = SIZES
    for _ in range(3):
        place = int(np.clip(np.argmin(loss(sizes)), 1, len(sizes) - 2))
        sizes = np.geomspace(sizes[place - 1], sizes[place + 1], 201)
    losses = loss(sizes)
    place = int(np.argmin(losses))
    if not SIZES[1] < sizes[place] < SIZES[-2]:
        raise InputError(
            f"--compute: the best size lies outside of {SIZES[0]:g} to {SIZES[-1]:g} parameters"
        )
    return float(sizes[place]), float(losses[place])


def parse_compute(option: str, text: str) -> float:
    """Return FLOP that a text such as 1e21FLOP or 10PF-days says.

    Raises:
        InputError: When it says nothing of the kind.
    """
    number = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?) ?(FLOP|PF-days|PFd)", text)
    if not number or not 0 < float(number[1]) * UNITS[number[2]] < math.inf:
        raise InputError(f"{option} {text}: expected the like of 1e21FLOP or 10PF-days")
    return float(number[1]) * UNITS[number[2]]


def _values(law: Law, at: list[str]) -> dict[str, Array]:
    """Return the values of a law's variables from texts such as N=1e8,1e9."""
    given: dict[str, Array] = {}
    for text in at:
        name, _, values = text.partition("=")
        if name not in law.variables:
            raise InputError(f"--at {text}: {law.symbol} depends on {', '.join(law.variables)}")
        if name in given:
            raise InputError(f"--at {text}: {name} is given twice; several values go with commas")
        given[name] = np.array([_number(law, name, text, value) for value in values.split(",")])
    if missing := [name for name in law.variables if name not in given]:
        units = ", ".join(f"{name} ({law.variables[name]})" for name in missing)
        raise InputError(f"--at: {law.symbol} needs {units} as well")
    lengths = {len(values) for values in given.values()} - {1}
    if len(lengths) > 1:
        raise InputError("--at: expected as many values of each variable, or one")
    return {name: given[name] for name in law.variables}


def _number(law: Law, name: str, text: str, value: str) -> float:
    if name in COMPUTE:
        flop = parse_compute(f"--at {text}:", value)
        return flop / FLOP_PER_PF_DAY if law.variables[name] == "PF-days" else flop
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"--at {text}: expected numbers above 0, such as {name}=1e9")
    return number


def _decades(fit: Fit, at: Mapping[str, float]) -> str:
    """Say how many decades beyond the fitted points values lie."""
    beyond = []
    for name, value in at.items():
        if name not in fit.content["range"]:
            continue
        low, high = fit.content["range"][name]
        decades = max(math.log10(value / high), math.log10(low / value))
        if decades > 0.005:
            beyond.append(f"{name} {decades:.2g} decades")
    return ", ".join(beyond) or "–"


def _decades_of_compute(fit: Fit, C: float) -> str:
    """Say how many decades compute lies beyond that of the fitted points, by 6 N D or C."""
    points = fit.content.get("points", [])
    spent = [6 * point["N"] * point["D"] for point in points if {"N", "D"} <= set(point)]
    if "C" in fit.content["range"]:
        unit = FLOP_PER_PF_DAY if fit.law.variables["C"] == "PF-days" else 1.0
        spent = [end * unit for end in fit.content["range"]["C"]]
    if not spent:
        return ""
    decades = max(math.log10(C / max(spent)), math.log10(min(spent) / C))
    return f"; {decades:.2g} decades beyond the fitted runs" if decades > 0.005 else ""


def _ends(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.4g} to {ends[1]:.4g}"


def _status(content: Mapping[str, Any]) -> str:
    return ": ".join([content["status"], *content.get("diagnosis", [])])


def _warn(console: Console, fits: list[Fit]) -> None:
    for fit in fits:
        if fit.content["status"] != "converged":
            console.print(f"[yellow]note:[/] {escape(f'{fit.path}: {_status(fit.content)}')}")
