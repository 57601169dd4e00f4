"""Learning rates: every schedule follows its formula, to the digit, where its parts meet."""

import math
from itertools import pairwise

import pytest
import small_run

from scaling_laws.training.schedule import SCHEDULES, learning_rate, paper_peak, porian_peak

SPEC = small_run.SPEC.model_copy(
    update={"steps": 110, "warmup_steps": 10, "decay_steps": 20, "lr": 2.0, "final_lr": 0.5}
)


def rates(**changes):
    spec = SPEC.model_copy(update=changes)
    return [learning_rate(step, spec) for step in range(spec.steps)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_rises_by_equal_steps_and_has_its_peak_in_the_last_of_the_warmup(schedule):
    found = rates(schedule=schedule)
    assert found[:10] == pytest.approx([0.2 * n for n in range(1, 11)], rel=1e-12)
    assert found[9] == 2.0 == max(found)
    assert all(a >= b for a, b in pairwise(found[9:]))


# A quarter, a half and three quarters of the way from step 10 to step 110 lie at 35, 60 and 85.
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", {11: 1.99963, 35: 1.78033, 60: 1.25, 85: 0.71967, 109: 0.50037, 110: 0.5}),
        ("linear", {11: 1.985, 35: 1.625, 60: 1.25, 85: 0.875, 109: 0.515, 110: 0.5}),
        ("constant", {11: 2.0, 60: 2.0, 110: 2.0}),
        ("wsd", {11: 2.0, 90: 2.0, 91: 1.925, 100: 1.25, 109: 0.575, 110: 0.5}),
        ("inverse_sqrt", {11: 1.906925, 40: 1.0, 90: 2 / 3, 110: 0.603023}),
    ],
)
def test_the_course_after_the_warmup_is_the_published_one(schedule, expected):
    found = rates(schedule=schedule)
    assert {number: found[number - 1] for number in expected} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize("final_lr", [0.0, 2.0])
def test_the_last_step_has_the_final_rate(schedule, final_lr):
    assert rates(schedule=schedule, final_lr=final_lr)[-1] == final_lr


def test_without_a_warmup_the_first_step_belongs_to_the_schedule():
    assert rates(schedule="cosine", warmup_steps=0, final_lr=0.0)[54] == pytest.approx(1.0)
    assert rates(schedule="linear", warmup_steps=0, final_lr=0.0)[0] == 2.0 * 109 / 110
    by_root = rates(schedule="inverse_sqrt", warmup_steps=0)
    assert by_root[:4] == pytest.approx([2.0, 2**0.5, 2 / 3**0.5, 1.0])


def test_a_run_may_be_nothing_but_warmup_or_decay():
    assert rates(warmup_steps=110, decay_steps=0)[-1] == 2.0
    down = rates(schedule="wsd", warmup_steps=0, decay_steps=110, final_lr=0.0)
    assert down == pytest.approx(rates(schedule="linear", warmup_steps=0, final_lr=0.0))


# The column "LR D.1" of the sizes in the paper's legends.
@pytest.mark.parametrize(
    ("N", "expected"),
    [
        (768, 2.31e-3),
        (393_216, 1.44e-3),
        (3_145_728, 1.15e-3),
        (25_165_824, 8.6e-4),
        (84_934_656, 6.9e-4),
        (301_989_888, 5.2e-4),
        (707_788_800, 4.0e-4),
        (1_474_560_000, 2.9e-4),
        (1_323_859_968, 3.1e-4),
        (1_465_122_816, 2.9e-4),
    ],
)
def test_the_papers_rule_gives_the_papers_peaks(N, expected):
    assert paper_peak(N) == pytest.approx(expected, abs=0.5e-5)


def test_the_papers_rule_breaks_down_above_ten_billion_parameters():
    assert paper_peak(1e10) > 0 > paper_peak(1.3e10)
    assert paper_peak(math.e) == pytest.approx(0.003239 - 0.0001395)


def test_porians_rule_falls_with_the_cube_root():
    assert porian_peak(108e6) == 0.0047
    assert porian_peak(8 * 108e6) == pytest.approx(0.00235)
