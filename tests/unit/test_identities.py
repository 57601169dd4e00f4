"""The paper's closed forms, and where it contradicts itself."""

import numpy as np
import pytest

from scaling_laws.laws import paper
from scaling_laws.laws.efficient import Efficient, compute_min, crossing, steps_min
from scaling_laws.laws.identities import TABLE_3, all_identities, identities

EFFICIENT = Efficient.of(TABLE_3, {name: c.value for name, c in paper.BATCH.items()})
# Places where no arithmetic makes the paper's two numbers one; the sheet's errata E4, E5, E15, E16.
CONTRADICTIONS = {"6.5": 2, "B.8": 2, "B.9": 2, "B.10": 4, "6.8": 8}


def test_everything_agrees_but_for_the_known_contradictions():
    found = {}
    for identity in all_identities():
        if not identity.agrees:
            found[identity.source] = found.get(identity.source, 0) + 1
    assert found == CONTRADICTIONS


def test_contradictions_are_printed_with_both_numbers(capsys):
    identities()
    said = capsys.readouterr().out
    for both in ("2.3e8", "2.0e7", "eq. 6.7 prints 4e10", "eq. 6.4 prints 0.054", "4.8"):
        assert both in said
    *lines, _ = said.splitlines()
    assert sum("contradicts" in line for line in lines) == sum(CONTRADICTIONS.values())
    assert sum("by hand" in line for line in lines) > 20


def test_corrections_have_their_limits():
    assert steps_min(100.0, 1e12, 1e3) == pytest.approx(100)
    assert steps_min(100.0, 1.0, 1e6) == pytest.approx(1e-4, rel=1e-3)
    assert compute_min(100.0, 1e-3, 1e3) == pytest.approx(100)
    assert compute_min(100.0, 1e3, 1e3) == pytest.approx(50)


def test_the_best_size_is_the_cheapest_way_to_its_loss():
    C = 1e19
    N, loss = EFFICIENT.size(C), EFFICIENT.loss(C)
    for ratio in (0.4, 0.6, 1.5, 2.2, 10.0):
        cost = EFFICIENT.cost_of_size(ratio)
        assert cost > 1
        assert EFFICIENT.loss_of(ratio * N, cost * C) == pytest.approx(loss, rel=1e-6)
    assert EFFICIENT.cost_of_size(1.0) == pytest.approx(1)


def test_size_and_steps_are_consistent_over_eight_decades():
    C = np.geomspace(1e14, 1e22, 9)
    whole = 6 * EFFICIENT.size(C) * EFFICIENT.batch(C) * EFFICIENT.steps(C)
    np.testing.assert_allclose(whole, C)
    np.testing.assert_allclose(EFFICIENT.tokens(C), 2 * EFFICIENT.batch(C) * EFFICIENT.steps(C))


def test_two_lines_cross_where_both_have_the_same_loss():
    compute = {"alpha_C_min": 0.05, "C_c_min": 3.1e8}
    tokens, data = {"D_e": 2e10, "p_D": 0.27}, {"alpha_D": 0.095, "D_c": 5.4e13}
    C, loss = crossing(compute, tokens, data)
    assert loss == pytest.approx((5.4e13 / (2e10 * C**0.27)) ** 0.095)
