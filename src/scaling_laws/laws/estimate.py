"""A law's constants from points: the minimum, intervals two ways, and what is left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from scaling_laws.laws.forms import Law
from scaling_laws.laws.minimise import Objective, Pull, Solution, minimise
from scaling_laws.laws.problem import Array, Problem

STARTS = 64
AGREE = 1e-6  # relative difference of the objectives of one minimum
APART = 0.05  # of a coordinate, between two minima
LARGEST_CONDITION = 1e6  # of the second derivatives, each coordinate in its own unit
PROFILE = np.linspace(-6, 6, 25)  # standard deviations of a constant at which it is held
WIDEST = 8.0  # e-foldings either way that a profile goes
WIDEN, WIDENINGS = 4.0, 6  # how much further it goes where a side is open, and how often
ROUNDING = 1e-8  # residual that passes for none
MOST_COUNTED = 256  # different points that are counted among those of a replicate
STIFFNESS = 30.0  # of the spring that holds a constant, over the objective's own

Status = Literal["converged", "exact", "at_bound", "stopped_early", "not_identified"]


@dataclass(frozen=True)
class Points:
    """Points that a law is fitted to.

    Attributes:
        x: Variables by name, each of shape (points,).
        y: What the law gives, shape (points,).
        run: Number of the run that each is of, from 0 on, shape (points,).
        weights: Shape (points,).
        behind: Runs behind the points where a point is not of one run.
    """

    x: Mapping[str, Array]
    y: Array
    run: npt.NDArray[np.int64]
    weights: Array
    behind: int | None = None

    @property
    def runs(self) -> int:
        """Number of runs."""
        return int(self.run.max()) + 1 if self.behind is None else self.behind

    def log_x(self) -> dict[str, Array]:
        """Return the logarithms of the variables."""
        return {name: np.log(values) for name, values in self.x.items()}


@dataclass(frozen=True)
class Resamples:
    """The points as they might have been.

    Attributes:
        weights: Shape (replicates, points).
        y: Shape (replicates, points), or that of the points.
        x: Variables, where they are others than those of the points.
    """

    weights: Array
    y: Array
    x: Mapping[str, Array] | None = None


@dataclass(frozen=True)
class Interval:
    """Ends of an interval; None where it is open."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Estimate:
    """What points say of a law.

    Attributes:
        law: The law.
        constants: At the minimum, by name.
        percentile: Interval of each constant from the replicates; empty where there are too few.
        profile: Interval of each constant from its profile; absent where there is none.
        draws: Constants of each replicate, shape (replicates, constants); NaN where its points do
            not determine them.
        converged: Replicates that converged.
        status: What became of the fit.
        diagnosis: Why it is not `converged`, in sentences.
        objective: At the minimum.
        predicted: What the law gives at the points.
        starts: How many were tried, converged and agree on the minimum.
        condition: Of the second derivatives at the minimum; infinite where they are singular.
        level: Percentiles of the replicates that make the intervals.
        elsewhere: Constants of another minimum that is as good within the noise, if there is one.
    """

    law: Law
    constants: dict[str, float]
    percentile: dict[str, Interval]
    profile: dict[str, Interval]
    draws: Array
    converged: int
    status: Status
    diagnosis: list[str]
    objective: float
    predicted: Array
    starts: dict[str, int]
    condition: float
    level: tuple[float, float]
    elsewhere: dict[str, float] = field(default_factory=dict)

    def pinned(self, name: str) -> bool:
        """Tell whether the points hold a constant from both sides, in one place."""
        profile = self.profile.get(name)
        if profile is None:
            return True
        if profile.low is None or profile.high is None:
            return False
        return profile.low <= self.elsewhere.get(name, profile.low) <= profile.high


def resample(points: Points, number: int, seed: int, noise: float = 0.0) -> Resamples:
    """Draw replicates of the points over runs: points of one run share its luck.

    Args:
        points: The points.
        number: Replicates.
        seed: Of the draws.
        noise: Standard deviation of the logarithm of y between runs of other seeds, which each run
            of a replicate is moved by.
    """
    generator = np.random.default_rng(seed)
    runs = points.runs
    counts = generator.multinomial(runs, np.full(runs, 1 / runs), size=number)
    y = points.y
    if noise:
        y = y * np.exp(noise * generator.standard_normal((number, runs)))[:, points.run]
    return Resamples(counts[:, points.run] * points.weights, y)


def estimate(
    law: Law,
    points: Points,
    resamples: Resamples | Sequence[Resamples],
    *,
    objective: Objective | None = None,
    starts: int = STARTS,
    confidence: float = 0.95,
) -> Estimate:
    """Fit a law.

    The interval of a constant is that of the percentiles of its replicates, widened for the number
    of runs (Hesterberg 2014, the expanded percentile interval). Its profile is a second opinion:
    values at which the others can still make the objective small enough.

    Args:
        law: The law.
        points: Points, no fewer than constants.
        resamples: Replicates, in parts where their variables differ.
        objective: What is made small; squares of log residuals when absent.
        starts: Places that the search begins at.
        confidence: Level of the intervals.
    """
    objective = objective or Objective()
    problem = law.structure.at(points.log_x())
    problem.bound(points.y)
    places = problem.starts(starts, points.y)
    solution = minimise(problem, points.y, points.weights, places, objective)
    best = solution.take(slice(int(np.argmin(solution.objective)), None)).take(slice(0, 1))
    names = list(law.parameters)
    count = len(names)

    parts = [resamples] if isinstance(resamples, Resamples) else resamples
    drawn = [_replicates(law, points, best, part, objective) for part in parts]
    draws = np.concatenate([values for values, _ in drawn])
    sound = np.concatenate([converged for _, converged in drawn])
    usable = np.isfinite(draws).any(axis=1)

    free = _independent(problem, points, best, objective) - count
    # What is left of data that follow a law exactly is rounding.
    rounding = ROUNDING if objective.kind == "lad" else ROUNDING**2
    noiseless = best.objective[0] <= rounding * points.weights.sum()
    least = _threshold(problem, points, best, objective, free, confidence)
    level = _levels(points.runs, count, confidence)
    exact = _distinct(points) <= count
    constants = dict(zip(names, map(float, problem.constants(best.theta)[0]), strict=True))
    few = points.runs <= count
    percentile = {} if exact or few else _percentiles(names, draws[usable], level)
    held = (
        {}
        if exact or few or noiseless or points.behind is not None
        else _profiles(problem, names, points, best, draws[usable], objective, free, least)
    )
    condition = _condition(problem, points, best, objective)
    state = problem.evaluate(best.theta).value[0]
    found = Estimate(
        law=law,
        constants=constants,
        percentile=percentile,
        profile={name: interval for name, (interval, _) in held.items()},
        draws=draws,
        converged=int(sound.sum()),
        status="converged",
        diagnosis=[],
        objective=float(best.objective[0]),
        predicted=np.exp(state) if problem.logarithmic else state,
        starts={
            "tried": len(places),
            "converged": int(solution.converged.sum()),
            "agreeing": int(_agree(solution.objective, best.objective[0]).sum()),
        },
        condition=condition,
        level=level,
        elsewhere={} if noiseless else _elsewhere(problem, names, solution, best, least),
    )
    lower = min((least for _, least in held.values()), default=np.inf)
    if noiseless:
        best = replace(best, converged=np.ones_like(best.converged))
        found = replace(found, converged=int(usable.sum()))
    status, diagnosis = _judge(found, best, exact, confidence, lower)
    if few and not exact and status == "converged":
        status = "not_identified"
        diagnosis = [f"{points.runs} runs behind the points, no more than constants: no intervals"]
    return replace(found, status=status, diagnosis=diagnosis)


def constants_of(law: Law, points: Points) -> dict[str, float]:
    """Return the constants of the least squares of log residuals, without a word on their worth.

    For the many small fits of a figure, such as one for each model; `estimate` has intervals.
    """
    problem = law.structure.at(points.log_x())
    problem.bound(points.y)
    places = problem.starts(STARTS, points.y)
    solution = minimise(problem, points.y, points.weights, places, Objective())
    best = solution.theta[[int(np.argmin(solution.objective))]]
    return dict(zip(law.parameters, map(float, problem.constants(best)[0]), strict=True))


def _replicates(
    law: Law, points: Points, best: Solution, part: Resamples, objective: Objective
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the constants of each replicate, NaN where undetermined, and which converged."""
    x = points.x if part.x is None else part.x
    problem = law.structure.at({name: np.log(values) for name, values in x.items()})
    problem.bound(points.y)
    count = best.theta.shape[1]
    usable = _determined(x, part.weights, count)
    draws = np.full((len(part.weights), count), np.nan)
    sound = np.zeros(len(part.weights), dtype=bool)
    if usable.any():
        start = best.theta
        if part.x is not None:
            at_best = law.structure.at(points.log_x()).constants(best.theta)[0]
            named = dict(zip(law.parameters, at_best, strict=True))
            start = problem.coordinates_of(named)[None]
        y = part.y[usable] if part.y.ndim == 2 else part.y
        starts = np.repeat(start, usable.sum(), axis=0)
        found = minimise(problem, y, part.weights[usable], starts, objective, warm=True)
        draws[usable] = problem.constants(found.theta)
        sound[usable] = found.converged & ~found.at_bound.any(axis=1)
    return draws, sound


def _independent(problem: Problem, points: Points, best: Solution, objective: Objective) -> int:
    """Return how many independent points these are worth, for profiles.

    Points of one run share its luck. With m points a run and a correlation r of the residuals
    within a run, n points are worth n / (1 + (m - 1) r) (Kish 1965, the design effect).
    """
    count, runs = len(points.y), points.runs
    if points.behind is not None:
        return min(runs, int((points.weights > 0).sum()))
    if count == runs or runs < 2:
        return runs
    residual = residuals(problem, points, best.theta, objective)[0]
    sizes = np.bincount(points.run)
    means = np.bincount(points.run, residual) / sizes
    between = float((sizes * (means - residual.mean()) ** 2).sum()) / (runs - 1)
    within = float(((residual - means[points.run]) ** 2).sum()) / (count - runs)
    each = count / runs
    shared = (between - within) / (between + (each - 1) * within) if between else 0.0
    return max(runs, round(count / (1 + (each - 1) * max(shared, 0.0))))


def _elsewhere(
    problem: Problem, names: list[str], solution: Solution, best: Solution, threshold: float
) -> dict[str, float]:
    """Return the constants of the best minimum apart from the least one, as good within noise."""
    apart = (np.abs(solution.theta - best.theta) > APART).any(axis=1)
    as_good = solution.converged & apart & (solution.objective <= threshold)
    if not as_good.any():
        return {}
    theta = solution.theta[as_good][[int(np.argmin(solution.objective[as_good]))]]
    return dict(zip(names, map(float, problem.constants(theta)[0]), strict=True))


def _judge(
    found: Estimate, best: Solution, exact: bool, confidence: float, lower: float
) -> tuple[Status, list[str]]:
    """Return the status of a fit, and what speaks against it."""
    said: list[str] = []
    status: Status = "converged"
    if exact:
        return "exact", ["as many points as constants: they fit whatever they are"]
    if not best.converged[0]:
        status = "stopped_early"
        said.append("the search ended before it reached a minimum")
    if lower < best.objective[0] * (1 - AGREE):
        status = "stopped_early"
        said.append("a profile found a lower objective: give more starts")
    if best.at_bound.any():
        names = [list(found.law.parameters)[int(k)] for k in np.flatnonzero(best.at_bound[0])]
        powers = [name for name in names if name in found.law.powers]
        if powers:
            said.append(
                f"{', '.join(powers)} ran to the end of its range: no such power law is seen"
            )
        if others := [name for name in names if name not in powers]:
            said.append(
                f"{', '.join(others)} ran to the end of its range: the points do not need it"
            )
        return "at_bound", said
    if status != "converged":
        return status, said
    if found.condition > LARGEST_CONDITION:
        said.append(
            f"condition {found.condition:.1e}: constants can be traded for each other unnoticed"
        )
    if found.elsewhere:
        there = ", ".join(f"{name} = {value:.3g}" for name, value in found.elsewhere.items())
        said.append(f"another minimum is as good within the noise: {there}")
    share = found.converged / len(found.draws) if len(found.draws) else 1.0
    if share < confidence:
        said.append(
            f"only {found.converged} of {len(found.draws)} replicates determine the constants"
        )
    if loose := [name for name in found.law.parameters if not found.pinned(name)]:
        said.append(f"{', '.join(loose)}: not held from both sides by the points")
    return ("not_identified", said) if said else ("converged", [])


def _determined(
    variables: Mapping[str, Array], weights: Array, count: int
) -> npt.NDArray[np.bool_]:
    """Tell which replicates hold as many different points as constants, and vary each variable."""
    x = np.column_stack([*variables.values()])
    present = weights > 0
    enough = _different(x, present) >= count
    for column in x.T:
        enough &= _different(column[:, None], present) >= 2
    return np.asarray(enough)


def _different(x: Array, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return how many different rows of x each replicate has."""
    _, which = np.unique(x, axis=0, return_inverse=True)
    which = which.reshape(-1)
    # Enough to tell a handful from many; thousands would make a matrix of gigabytes.
    counted = np.flatnonzero(which < MOST_COUNTED)
    members = np.zeros((len(counted), min(which.max() + 1, MOST_COUNTED)))
    members[np.arange(len(counted)), which[counted]] = 1
    present = present[:, counted]
    return np.asarray((present @ members > 0).sum(axis=1))


def _distinct(points: Points) -> int:
    return len(np.unique(np.column_stack([*points.x.values()]), axis=0))


def _agree(objectives: Array, best: float) -> npt.NDArray[np.bool_]:
    return np.asarray(objectives <= best * (1 + AGREE) + 1e-15)


def _levels(runs: int, count: int, confidence: float) -> tuple[float, float]:
    """Return the percentiles that make an interval of a level from so many runs."""
    free = max(runs - count, 1)
    wide = stats.t.ppf((1 + confidence) / 2, free) * np.sqrt(runs / free)
    tail = float(stats.norm.cdf(-wide))
    return tail, 1 - tail


def _percentiles(names: list[str], draws: Array, level: tuple[float, float]) -> dict[str, Interval]:
    if len(draws) < 2:
        return {}
    # Order statistics and no interpolation, because a scale may be infinite.
    low, high = np.quantile(draws, level, axis=0, method="nearest")
    return {
        name: Interval(*(float(end) if np.isfinite(end) else None for end in ends))
        for name, *ends in zip(names, low, high, strict=True)
    }


def _threshold(
    problem: Problem,
    points: Points,
    best: Solution,
    objective: Objective,
    free: int,
    confidence: float,
) -> float:
    """Return the objective up to which constants lie inside of an interval.

    Twice what it rises by, times E[psi'] / E[psi^2] of the residuals, is distributed as t^2 (the
    tau test of robust statistics); with squares this is the F test. Where the function is
    narrower than the residuals, E[psi'] is taken from their median.
    """
    size = np.abs(residuals(problem, points, best.theta, objective)[0])
    weights = points.weights / points.weights.sum()
    order = np.argsort(size)
    median = float(
        size[order][np.searchsorted(np.cumsum(weights[order]), 0.5).clip(0, len(size) - 1)]
    )
    bend, square = 1.0, float(weights @ size**2)
    if objective.kind == "lad":
        bend, square = 0.5 / max(median, 1e-300), 1.0
    elif objective.kind == "huber":
        width = max(objective.delta, median)
        bend = float(weights @ (size <= width)) * objective.delta / width
        square = float(weights @ np.minimum(size, objective.delta) ** 2)
    t = float(stats.t.ppf((1 + confidence) / 2, max(free, 1)))
    count = float((points.weights > 0).sum())
    rise = 0.5 * t**2 * square / max(bend, 1e-300) * count / max(free, 1)
    # Weights of a mean other than one scale the objective.
    return float(best.objective[0]) + rise * float(points.weights.sum()) / count


def _profiles(
    problem: Problem,
    names: list[str],
    points: Points,
    best: Solution,
    draws: Array,
    objective: Objective,
    free: int,
    threshold: float,
) -> dict[str, tuple[Interval, float]]:
    """Return the profile's interval of each positive constant, and the least objective on it."""
    value = problem.constants(best.theta)[0]
    columns = [column for column in range(len(names)) if 0 < value[column] < np.inf]
    if not columns:
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(draws > 0, draws, np.nan))
    spread = np.array([_spread(logs[:, column]) for column in columns])
    least = float(best.objective[0])
    stiffness = STIFFNESS * least / free
    result: dict[str, tuple[Interval, float]] = {}
    for _ in range(WIDENINGS):
        rows = len(columns) * len(PROFILE)
        targets = np.log(value[columns])[:, None] + spread[:, None] * PROFILE
        pull = Pull(
            np.repeat(columns, len(PROFILE)),
            targets.ravel(),
            np.repeat(stiffness / spread**2, len(PROFILE)),
        )
        again = np.repeat(best.theta, rows, axis=0)
        held = minimise(problem, points.y, points.weights, again, objective, pull=pull, warm=True)
        bare = total(problem, points, held.theta, objective).reshape(len(columns), -1)
        with np.errstate(divide="ignore"):
            at = np.log(problem.constants(held.theta)[np.arange(rows), pull.column])
        at = at.reshape(len(columns), -1)
        for number, column in enumerate(columns):
            centre = float(np.log(value[column]))
            low = _crossing(centre - at[number], bare[number], least, threshold)
            high = _crossing(at[number] - centre, bare[number], least, threshold)
            interval = Interval(
                None if low is None else float(np.exp(centre - low)),
                None if high is None else float(np.exp(centre + high)),
            )
            result[names[column]] = (interval, float(bare[number].min()))
        # Bootstrap and profile may differ: where a side is open, look further out.
        closed = [None not in vars(result[names[column]][0]).values() for column in columns]
        further = [
            number
            for number, done in enumerate(closed)
            if not done and spread[number] * PROFILE.max() < WIDEST
        ]
        if not further:
            break
        columns = [columns[number] for number in further]
        spread = np.minimum(WIDEN * spread[further], WIDEST / PROFILE.max())
    return result


def _spread(logs: Array) -> float:
    """Return a standard deviation that outliers do not move."""
    finite = logs[np.isfinite(logs)]
    if len(finite) < 2:
        return 1.0
    low, high = np.quantile(finite, [0.16, 0.84])
    return float(np.clip((high - low) / 2, 1e-9, WIDEST / PROFILE.max()))


def _crossing(distance: Array, objective: Array, least: float, threshold: float) -> float | None:
    """Return the distance at which the objective crosses a threshold; None where it does not."""
    out = distance > 0
    order = np.argsort(distance[out])
    along = np.concatenate([[0.0], distance[out][order]])
    # The square root grows about linearly with the distance from the minimum.
    rise = np.sqrt(np.concatenate([[0.0], (objective[out][order] - least).clip(0)]))
    level = np.sqrt(threshold - least)
    above = np.flatnonzero(rise > level)
    if not len(above):
        return None
    after = above[0]
    share = (level - rise[after - 1]) / (rise[after] - rise[after - 1])
    return float(along[after - 1] + share * (along[after] - along[after - 1]))


def residuals(problem: Problem, points: Points, theta: Array, objective: Objective) -> Array:
    """Return residuals in the objective's space, shape (rows, points)."""
    value = problem.evaluate(theta).value
    if not problem.logarithmic:
        return np.asarray(value - points.y)
    if objective.space == "log":
        return np.asarray(value - np.log(points.y))
    return np.asarray(np.exp(value) - points.y)


def total(problem: Problem, points: Points, theta: Array, objective: Objective) -> Array:
    """Return the objective of each row of coordinates."""
    losses = objective.losses(residuals(problem, points, theta, objective))
    return np.asarray((points.weights * losses).sum(axis=1))


def _condition(problem: Problem, points: Points, best: Solution, objective: Objective) -> float:
    """Return the condition number of J^T J, each coordinate in the unit of its own slope."""
    gradient = problem.gradient(problem.evaluate(best.theta))[0] * np.sqrt(points.weights)
    norms = np.linalg.norm(gradient, axis=1)
    if not (norms > 0).all():
        return float("inf")
    singular = np.linalg.svd(gradient / norms[:, None], compute_uv=False)
    return float((singular[0] / singular[-1]) ** 2) if singular[-1] > 0 else float("inf")
