"""The fit itself: known minima, gradients, planted constants, and the traps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws import planted as plant
from scaling_laws.laws.estimate import Points, estimate, resample, total
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.minimise import Objective, minimise

DATA = Path(__file__).parents[1] / "data" / "chinchilla_epoch.csv"
CHINCHILLA = LAWS["chinchilla"]
HUBER = Objective("huber", 1e-3)
# name, objective, rows dropped, A, B, E, alpha, beta
MINIMA = [
    ("huber", HUBER, 5, 477.826, 2143.417, 1.817218, 0.347310, 0.367172),
    ("lad", Objective("lad"), 5, 482.0, 2085, 1.81686, 0.34781, 0.36585),
    ("narrow", Objective("huber", 1e-4), 5, 478.69, 2065.4, 1.8158, 0.3474, 0.3654),
    ("wide", Objective("huber", 1e-2), 5, 538.75, 2905.6, 1.8381, 0.3544, 0.3815),
    ("ols", Objective("ols"), 5, 593.32, 4875.6, 1.8646, 0.3603, 0.4059),
    ("all rows", HUBER, 0, 495.73, 12845.6, 1.8913, 0.3493, 0.4530),
]
OBJECTIVE = 1.018274018e-3
SMALLEST_ABSOLUTE = 1.1294987
PUBLISHED = {  # with standard errors
    "A": (482.01, 124.5),
    "B": (2085.43, 1293),
    "E": (1.8172, 0.0257),
    "alpha": (0.3478, 0.0154),
    "beta": (0.3658, 0.0206),
}


def chinchilla(dropped: int = 5) -> Points:
    table = pd.read_csv(DATA).sort_values("loss")
    table = table.iloc[: len(table) - dropped]
    N, C, L = (table[name].to_numpy() for name in ("Model Size", "Training FLOP", "loss"))
    return Points({"N": N, "D": C / (6 * N)}, L, np.arange(len(L)), np.ones(len(L)))


@pytest.mark.parametrize("case", MINIMA, ids=[case[0] for case in MINIMA])
def test_the_minima_of_the_chinchilla_data(case):
    _, objective, dropped, *expected = case
    points = chinchilla(dropped)
    found = estimate(CHINCHILLA, points, resample(points, 2, 0), objective=objective, starts=200)
    # Within a unit of the last digit that is given; the narrowest minima are the least sharp.
    near = {"rel": 1e-3 if case[0] == "lad" else 1e-4, "abs": 6e-5}
    for name, value in zip(("A", "B", "E", "alpha", "beta"), expected, strict=True):
        assert found.constants[name] == pytest.approx(value, **near), name
    assert found.starts["agreeing"] == 200
    if case[0] == "huber":
        assert found.objective == pytest.approx(OBJECTIVE, rel=1e-6)
    if case[0] == "lad":
        assert found.objective == pytest.approx(SMALLEST_ABSOLUTE, rel=1e-5)


def test_the_bootstrap_of_the_chinchilla_data_has_the_published_errors():
    points = chinchilla()
    found = estimate(CHINCHILLA, points, resample(points, 1000, 0), objective=HUBER)
    assert found.status == "converged" and found.converged == 1000
    for column, name in enumerate(CHINCHILLA.parameters):
        value, error = PUBLISHED[name]
        assert found.draws[:, column].std() == pytest.approx(
            error, rel=0.4 if name == "B" else 0.15
        )
        assert abs(found.constants[name] - value) < 0.25 * error
    alpha, beta = (found.draws[:, list(CHINCHILLA.parameters).index(n)] for n in ("alpha", "beta"))
    assert (beta / (alpha + beta)).std() == pytest.approx(0.020, rel=0.15)


def problem_of(name, law=None):
    law = law or LAWS[name]
    points = plant.planted(name, 0.02, law=law)
    problem = law.structure.at(points.log_x())
    problem.bound(points.y)
    theta = problem.coordinates_of(plant.constants(law))
    generator = np.random.default_rng(1)
    return problem, theta * np.exp(0.05 * generator.standard_normal((3, len(theta)))), points


def floors():
    for name, law in LAWS.items():
        yield pytest.param(name, law, id=name)
        if law.of_loss and name != "muennighoff":
            other = law.with_floor("E" not in law.parameters and "a" not in law.parameters)
            yield pytest.param(name, other, id=f"{name}-other")


@pytest.mark.parametrize(("name", "law"), list(floors()))
def test_derivatives_agree_with_finite_differences(name, law):
    problem, theta, _ = problem_of(name, law)
    state = problem.evaluate(theta)
    step = 1e-6
    moves = step * np.eye(theta.shape[1])
    ends = [[problem.evaluate(theta + sign * move) for sign in (1, -1)] for move in moves]
    slopes = np.stack([(a.value - b.value) / (2 * step) for a, b in ends], axis=1)
    np.testing.assert_allclose(problem.gradient(state), slopes, rtol=1e-5, atol=1e-6)
    weights = np.random.default_rng(0).standard_normal(state.value.shape)
    bends = np.stack(
        [(problem.slopes(a, weights) - problem.slopes(b, weights)) / (2 * step) for a, b in ends],
        axis=2,
    )
    np.testing.assert_allclose(problem.curvature(state, weights), bends, rtol=1e-4, atol=1e-4)
    gradient = problem.gradient(state)
    squares = (gradient * weights[:, None]) @ gradient.transpose(0, 2, 1)
    together = problem.bends(state, weights, weights)
    np.testing.assert_allclose(together, squares + bends, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAWS)
def test_coordinates_and_constants_are_inverse(name):
    problem, theta, points = problem_of(name)
    constants = problem.constants(theta)
    for row, found in zip(theta, constants, strict=True):
        named = dict(zip(problem.names, found, strict=True))
        np.testing.assert_allclose(problem.coordinates_of(named), row, rtol=1e-9)
        value = LAWS[name](named, **points.x)
        evaluated = problem.evaluate(row[None]).value[0]
        np.testing.assert_allclose(np.log(value) if problem.logarithmic else value, evaluated)


@pytest.mark.parametrize("name", LAWS)
def test_constants_are_found_again_without_noise(name):
    points = plant.planted(name, 0.0)
    goal = Objective("ols", space="linear" if name == "LR_N" else "log")
    found = estimate(LAWS[name], points, resample(points, 2, 0), objective=goal)
    for constant, value in plant.constants(LAWS[name]).items():
        assert found.constants[constant] == pytest.approx(value, rel=1e-4), constant


@pytest.mark.parametrize("name", ["L_N", "L_ND", "L_NS", "chinchilla", "S_B"])
def test_constants_lie_in_their_intervals_with_noise(name):
    inside = []
    for seed in range(8):
        points = plant.planted(name, 0.005, seed)
        found = estimate(LAWS[name], points, resample(points, 300, seed))
        assert found.status == "converged", found.diagnosis
        for constant, value in plant.constants(LAWS[name]).items():
            for interval in (found.percentile[constant], found.profile[constant]):
                inside.append(interval.low <= value <= interval.high)
    assert np.mean(inside) > 0.85


def test_values_and_logarithms_can_be_fitted():
    points = plant.planted("chinchilla", 0.002)
    for space in ("log", "linear"):
        goal = Objective("ols", space=space)
        found = estimate(CHINCHILLA, points, resample(points, 2, 0), objective=goal)
        assert found.constants["E"] == pytest.approx(1.69, rel=0.02)


def test_more_weight_counts_like_more_points():
    points = plant.planted("chinchilla", 0.01)
    doubled = np.arange(len(points.y)) < 40
    twice = Points(
        {name: np.r_[x, x[doubled]] for name, x in points.x.items()},
        np.r_[points.y, points.y[doubled]],
        np.r_[points.run, points.run[doubled]],
        np.ones(len(points.y) + 40),
    )
    heavy = Points(points.x, points.y, points.run, 1.0 + doubled)
    found = [estimate(CHINCHILLA, p, resample(p, 2, 0)).constants for p in (twice, heavy)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


# The traps


def test_a_search_that_did_not_move_is_not_called_converged():
    points = chinchilla()
    problem = CHINCHILLA.structure.at(points.log_x())
    problem.bound(points.y)
    hoffmann = {"A": 406.4, "B": 410.7, "E": 1.6934, "alpha": 0.3392, "beta": 0.2849}
    start = problem.coordinates_of(hoffmann)[None]
    stuck = minimise(problem, points.y, points.weights, start, HUBER, warm=True, iterations=2)
    assert not stuck.converged[0]
    moved = minimise(problem, points.y, points.weights, start, HUBER)
    assert moved.converged[0]
    assert moved.objective[0] == pytest.approx(OBJECTIVE, rel=1e-6)
    assert total(problem, points, start, HUBER)[0] > 1.2 * OBJECTIVE


def test_a_floor_that_nothing_supports_ends_at_its_bound():
    law = LAWS["L_N"].with_floor(True)
    points = plant.planted("L_N", 0.0)
    bent = Points(points.x, points.y * (points.x["N"] / 1e6) ** -0.001, points.run, points.weights)
    falling = bent.y * np.exp(-0.002 * np.log(bent.x["N"] / 1e6) ** 2)
    found = estimate(law, Points(bent.x, falling, bent.run, bent.weights), resample(bent, 50, 0))
    assert found.status == "at_bound"
    assert "E ran to the end of its range" in found.diagnosis[0]


def test_constants_that_can_be_traded_are_not_identified():
    generator = np.random.default_rng(0)
    N = np.geomspace(1e5, 1e9, 24)
    x = {"N": N, "D": 20 * N * np.exp(0.01 * generator.standard_normal(24))}
    y = LAWS["L_ND"](plant.constants(LAWS["L_ND"]), **x)
    noisy = y * np.exp(0.002 * generator.standard_normal(24))
    ray = Points(x, noisy, np.arange(24), np.ones(24))
    found = estimate(LAWS["L_ND"], ray, resample(ray, 200, 0))
    assert found.status in ("not_identified", "at_bound")
    assert found.diagnosis
    if found.status == "not_identified":
        assert not all(found.pinned(name) for name in LAWS["L_ND"].parameters)


def test_two_minima_that_are_as_good_are_told():
    # Two terms of alike variables: which of them falls faster cannot be told apart.
    x = np.geomspace(1e6, 1e9, 20)
    y = 1.5 + 40 * x**-0.3
    y = y * np.exp(0.002 * np.random.default_rng(3).standard_normal(20))
    points = Points({"N": x, "D": x}, y, np.arange(20), np.ones(20))
    found = estimate(CHINCHILLA, points, resample(points, 100, 0))
    assert found.status != "converged"
    assert found.diagnosis


def test_a_runs_points_are_drawn_together():
    points = plant.planted("L_N", 0.005)
    shared = np.arange(len(points.y)) // 3
    luck = np.exp(0.02 * np.random.default_rng(0).standard_normal(12))[shared]
    lucky = points.y * luck
    widths = []
    for run in (shared, np.arange(len(lucky))):
        p = Points(points.x, lucky, run, points.weights)
        interval = estimate(LAWS["L_N"], p, resample(p, 500, 0)).percentile["alpha_N"]
        widths.append(interval.high - interval.low)
    assert widths[0] > 1.3 * widths[1]


def test_seed_noise_widens_the_replicates():
    points = plant.planted("L_N", 0.001)
    still, moved = (resample(points, 400, 0, noise) for noise in (0.0, 0.02))
    spread = [np.std(estimate(LAWS["L_N"], points, drawn).draws[:, 0]) for drawn in (still, moved)]
    assert spread[1] > 3 * spread[0]
