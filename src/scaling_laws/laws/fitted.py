"""What the file of a fit holds, checked before anything is said or drawn of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from scaling_laws.errors import InputError
from scaling_laws.json_files import Form, read_object
from scaling_laws.laws.estimate import Status
from scaling_laws.laws.forms import law_of
from scaling_laws.laws.powers import PowerSum

IDENTIFIED: tuple[Status, ...] = ("converged", "exact")
"""Statuses of fits whose constants the runs determine."""
LONGEST = 15  # words of a reason
RESTS_ON_BATCHES = ("C_min", "S_min")
"""Variables that are known by the critical batch alone (equations 5.4 and 5.5)."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Points = Annotated[list[dict[str, Any]], Field(min_length=1)]
Values = dict[str, FiniteFloat | None]


class Ends(Form):
    """Ends of an interval; None where it is open."""

    low: float | None
    high: float | None

    @model_validator(mode="after")
    def _in_order(self) -> Ends:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low not above high")
        return self


class Numbers(Ends):
    """A constant with its interval, and the published one."""

    value: float | None
    unit: str
    paper: float | None
    source: str
    paper_other: float | None
    other_source: str | None


class Objective(Form):
    """What was made small, and how small it became."""

    name: str
    value: float


class Bootstrap(Form):
    """Replicates, and how many of them determine the constants."""

    replicates: Count
    converged: Count


class Excluded(Form):
    """A run that was left out."""

    run: str
    reason: str


class Starts(Form):
    """Places that the search began at, and how many led to the minimum."""

    tried: Count
    agreeing: Count


class Frontier(Form):
    """Points of the compute frontier."""

    points_compared: Count
    points_dominated: Count
    runs: Count


class Critical(Form):
    """The law of the critical batch that another rests on."""

    status: Status


class NoiseScale(Form):
    """Critical batches by the gradient noise scale."""

    points: Points


class FitFile(Form):
    """A fit as `scaling-laws fit --json` writes it."""

    law: str
    equation: str
    parameters: dict[str, Numbers]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    objective: Objective
    status: Status
    n_points: Count
    r2_log: float | None
    bootstrap: Bootstrap
    diagnosis: list[str]
    excluded: list[Excluded]
    inputs: list[str]
    optimum: Values
    starts: Starts
    loss: Literal["test_loss", "best_test_loss", "curves"] | None
    range: dict[str, Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2)]]
    decreasing: bool | None
    percentiles: Annotated[list[Share], Field(min_length=2, max_length=2)]
    draws: dict[str, list[FiniteFloat | None]]
    points: Points
    once: dict[str, FiniteFloat] | None = None
    frontier: Frontier | None = None
    B_crit: Critical | None = None
    noise_scale: NoiseScale | None = None

    @model_validator(mode="after")
    def _is_of_its_law(self) -> FitFile:
        """Check that the law is known, and that all is there of it."""
        content = {"law": self.law, "parameters": self.parameters, "once": self.once}
        try:
            law = law_of(content)
        except InputError as error:
            raise ValueError(f"law: {error}") from None
        for key, found, names in (
            ("parameters", self.parameters, law.parameters),
            ("optimum", self.optimum, law.parameters),
            ("draws", self.draws, law.parameters),
            ("range", self.range, law.variables),
        ):
            if missing := [name for name in names if name not in found]:
                raise ValueError(f"{key}.{missing[0]} is missing")
        response = "loss" if law.response[0] == "L" else law.response[0]
        _require(self.points, "points", [*law.variables, response])
        if self.noise_scale:
            _require(self.noise_scale.points, "noise_scale.points", [*law.variables, response])
        if len({len(values) for values in self.draws.values()}) > 1:
            raise ValueError("draws: expected as many of each constant")
        for name, numbers in self.parameters.items():
            if numbers.value not in (None, self.optimum[name]):
                raise ValueError(
                    f"parameters.{name}.value is {numbers.value:g}; expected that of optimum, "
                    f"{self.optimum[name]}"
                )
        form = law.structure
        for name, value in self.optimum.items():
            positive = isinstance(form, PowerSum) and not (form.signed and name in form.powers)
            if positive and value is not None and value < 0:
                raise ValueError(f"optimum.{name} is {value:g}; expected a number of 0 or more")
        return self


def _require(points: Sequence[Mapping[str, Any]], key: str, names: Sequence[str]) -> None:
    """Check that every point names its run and has its numbers.

    Raises:
        ValueError: With the first that does not.
    """
    for place, point in enumerate(points):
        if not isinstance(point.get("run"), str):
            raise ValueError(f"{key}.{place}: no name of its run")
        for name in names:
            value = point.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or isinf(value):
                raise ValueError(f"{key}.{place}.{name} is {value!r}; expected a number")


def identified(content: Mapping[str, Any]) -> bool:
    """Tell whether runs determine the constants of a fit."""
    return content["status"] in IDENTIFIED


def reason(content: Mapping[str, Any]) -> str:
    """Return the first of what speaks against a fit; without its particulars where it is long."""
    first = next(iter(content["diagnosis"]), "") or content["status"].replace("_", " ")
    return first if len(first.split()) <= LONGEST else first.partition(":")[0]


def read_content(path: Path, law: str | None = None) -> dict[str, Any]:
    """Return what the file of a fit holds.

    Args:
        path: JSON that `scaling-laws fit --json` wrote.
        law: The law that it must be of, if that is known.

    Raises:
        InputError: When the file is missing, or is not what it should be.
    """
    if not path.exists():
        name = law or "LAW"
        raise InputError(f"{path}: no such file; `scaling-laws fit {name} --json` writes it")
    content = read_object(path, FitFile)
    if law is not None and content["law"] != law:
        raise InputError(f"{path}: law is {content['law']!r}; expected {law!r}")
    return content
