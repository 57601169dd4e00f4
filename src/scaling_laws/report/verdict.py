"""Whether a constant agrees with the paper's, by one rule, with a sentence on why."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

from scaling_laws.laws.fitted import RESTS_ON_BATCHES, identified, reason
from scaling_laws.laws.forms import LATER, LAWS, law_of
from scaling_laws.report.comparison import STATUS, interval, number

NOT_ENOUGH = "not enough range"
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


def verdicts(fit: Mapping[str, Any], critical: Mapping[str, Any] | None = None) -> list[Verdict]:
    """Return a verdict on each exponent of a fit that the paper, or its source, has a number for.

    It agrees where the interval holds one of the published numbers, and differs where it holds
    none. There is not enough range where the runs do not determine the fit, or B_crit(L), which it
    rests on; where there is no interval; or where one holds the number by being wider than it.
    Scales are not judged: they depend on the tokenizer.

    Args:
        fit: Content of a fit JSON.
        critical: That of B_crit(L), where it is fitted.
    """
    law = law_of(fit)
    found = [of for of in (critical, fit.get("B_crit")) if of]
    rests = bool(set(law.variables) & set(RESTS_ON_BATCHES))
    sound = not rests or all(map(identified, found))
    return [
        _verdict(fit, name, sound)
        for name in LAWS[law.name].powers
        if name in fit["parameters"] and fit["parameters"][name]["paper"] is not None
    ]


def _verdict(fit: Mapping[str, Any], name: str, sound: bool) -> Verdict:
    """Return the verdict on one exponent; `sound` tells whether what it rests on is determined."""
    numbers = fit["parameters"][name]
    published = [numbers["paper"], *([numbers["paper_other"]] if numbers["paper_other"] else [])]
    low, high = numbers["low"], numbers["high"]
    known = all(end is not None and isfinite(end) for end in (numbers["value"], low, high))
    ours = number(numbers["value"]) if known or numbers["value"] is not None else "open"
    if low is not None and fit["status"] != "at_bound":
        ours += f" ({interval(low, high)})"
    paper = " or ".join(map(number, published))
    if fit["status"] != "converged" or not known:
        why = reason(fit) if fit["diagnosis"] else STATUS[fit["status"]]
        if fit["status"] == "converged":
            why = "it has no interval"
        return Verdict(fit["law"], name, NOT_ENOUGH, ours, paper, _sentence(why, fit))
    if not sound:
        why = "It rests on B_crit(L), which these runs do not determine."
        return Verdict(fit["law"], name, NOT_ENOUGH, ours, paper, why)
    if held := [value for value in published if low <= value <= high]:
        if high - low > max(map(abs, held)):
            why = "The interval holds it, but is wider than the number itself."
            return Verdict(fit["law"], name, NOT_ENOUGH, ours, paper, why)
        why = f"The interval holds it; {_range(fit)}."
        return Verdict(fit["law"], name, "agrees", ours, paper, why)
    side = "above" if low > max(published) else "below" if high < min(published) else "between"
    why = f"The interval lies {side} it; {_range(fit)}."
    return Verdict(fit["law"], name, "differs", ours, paper, why)


def _range(fit: Mapping[str, Any]) -> str:
    """Say what the points span, and the paper's runs."""
    parts = []
    for name, (low, high) in fit["range"].items():
        text = f"{name} spans {number(low)} to {number(high)} here"
        if name in PAPER_RANGES and fit["law"] not in LATER:
            text += f", {' to '.join(map(number, PAPER_RANGES[name]))} there"
        parts.append(text)
    return "; ".join(parts)


def _sentence(text: str, fit: Mapping[str, Any]) -> str:
    """Return a text as a sentence; the name of a constant keeps its first letter."""
    named = text.split()[0].strip(",:") in fit["parameters"]
    return f"{text}." if named else f"{text[:1].upper()}{text[1:]}."
