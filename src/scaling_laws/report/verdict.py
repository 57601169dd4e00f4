"""Whether a constant agrees with the paper's, by one rule, with a sentence on why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from scaling_laws.laws.forms import LAWS, law_of
from scaling_laws.report.comparison import STATUS, interval, number

PAPER_RANGES = {
    "N": (768, 1.5e9),
    "D": (2.2e7, 2.3e10),
    "C": (1e-9, 1e1),
    "C_min": (1e-9, 1e1),
    "L": (2.0, 10.0),
    "S_min": (1e3, 2.5e5),
}
"""What the paper's runs span (sections 1, 3; the compute of figure 1)."""


class Verdict(NamedTuple):
    """What is said of one constant.

    Attributes:
        law: Its law's name.
        parameter: Its name.
        word: agrees, differs, or not enough range.
        ours: With its interval, as text.
        paper: The paper's value or values, as text.
        why: One sentence.
    """

    law: str
    parameter: str
    word: str
    ours: str
    paper: str
    why: str


def verdicts(fit: Mapping[str, Any]) -> list[Verdict]:
    """Return a verdict on each exponent of a fit that the paper, or its source, has a number for.

    It agrees where the interval holds one of the published numbers, and differs where it does not.
    A fit that the runs do not determine, or that has no interval, has not enough range. Scales are
    not judged: they depend on the tokenizer.
    """
    law = law_of(fit)
    return [
        _verdict(fit, name)
        for name in LAWS[law.name].powers
        if name in fit["parameters"] and fit["parameters"][name]["paper"] is not None
    ]


def _verdict(fit: Mapping[str, Any], name: str) -> Verdict:
    numbers = fit["parameters"][name]
    published = [numbers["paper"], *([numbers["paper_other"]] if numbers["paper_other"] else [])]
    low, high = numbers["low"], numbers["high"]
    ours = "open" if numbers["value"] is None else number(numbers["value"])
    if low is not None:
        ours += f" ({interval(low, high)})"
    paper = " or ".join(map(number, published))
    if fit["status"] != "converged" or low is None or high is None:
        why = "; ".join(fit["diagnosis"]) or STATUS[fit["status"]]
        return Verdict(fit["law"], name, "not enough range", ours, paper, f"{_capital(why)}.")
    if any(low <= value <= high for value in published):
        return Verdict(
            fit["law"], name, "agrees", ours, paper, f"The interval holds it; {_range(fit)}."
        )
    side = "above" if low > max(published) else "below" if high < min(published) else "between"
    why = f"The interval lies {side} it; {_range(fit)}."
    return Verdict(fit["law"], name, "differs", ours, paper, why)


def _range(fit: Mapping[str, Any]) -> str:
    """Say what the points span, and the paper's runs."""
    parts = []
    for name, (low, high) in fit["range"].items():
        text = f"{name} spans {number(low)} to {number(high)} here"
        if name in PAPER_RANGES:
            text += f", {' to '.join(map(number, PAPER_RANGES[name]))} there"
        parts.append(text)
    return "; ".join(parts)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
