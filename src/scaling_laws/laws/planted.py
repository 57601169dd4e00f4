"""Points of every law at the paper's constants, on grids such as a study would have.

What a fit finds again of them, and how often its intervals hold what was planted, tells what it is
worth before any model is trained.
"""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.estimate import Points
from scaling_laws.laws.forms import LAWS, Law
from scaling_laws.laws.problem import Array

CHOSEN = {"beta": 0.2, "E_min": 2e7, "S_min": 3e3, "E": 1.7, "G": 2e9}
"""Where the paper has no number."""
N = np.geomspace(1e5, 1e9, 8)
D = np.geomspace(1e8, 3e10, 8)
# Each axis ends where its term of the law still shows.
GRIDS = {
    "L_N": {"N": np.repeat(np.geomspace(1e3, 1e9, 12), 3)},
    "L_D": {"D": np.repeat(np.geomspace(2e7, 2e10, 12), 3)},
    "L_C": {"C": np.repeat(np.geomspace(1e-7, 1e1, 12), 3)},
    "L_C_min": {"C_min": np.repeat(np.geomspace(1e-8, 1e1, 12), 3)},
    "L_ND": {"N": N, "D": np.geomspace(2e7, 2e10, 8)},
    "L_ND_rejected": {"N": np.geomspace(1e4, 1e10, 10), "D": np.geomspace(1e6, 1e12, 10)},
    "L_NS": {"N": N, "S_min": np.geomspace(1e3, 1e6, 8)},
    "B_crit": {"L": np.repeat(np.geomspace(2.3, 7, 12), 3)},
    "S_B": {"B": np.repeat(np.geomspace(5e2, 5e5, 10), 4)},
    "L_T": {"T": np.repeat(np.unique(np.geomspace(1, 1024, 20).round()), 2)},
    "S_stop": {"dL": np.repeat(np.geomspace(0.02, 1, 12), 3)},
    "D_min": {"N": np.repeat(np.geomspace(1e5, 1e9, 12), 3)},
    "LR_N": {"N": np.repeat(np.geomspace(1e3, 1e9, 12), 3)},
    "N_C": {"C": np.repeat(np.geomspace(1e-7, 1e1, 12), 3)},
    "N_opt": {"C_min": np.repeat(np.geomspace(1e-8, 1e1, 12), 3)},
    "B_opt": {"C_min": np.repeat(np.geomspace(1e-8, 1e1, 12), 3)},
    "S_opt": {"C_min": np.repeat(np.geomspace(1e-8, 1e1, 12), 3)},
    "D_opt": {"C_min": np.repeat(np.geomspace(1e-8, 1e1, 12), 3)},
    "chinchilla": {"N": np.geomspace(1e7, 1e10, 10), "D": np.geomspace(1e9, 1e12, 10)},
    "chinchilla_1": {"C": np.repeat(np.geomspace(1e-2, 1e3, 12), 3)},
    "chinchilla_2": {"C": np.repeat(np.geomspace(1e-2, 1e3, 12), 3)},
    "gadre": {"C": np.geomspace(1e17, 1e22, 10), "M": np.geomspace(2, 640, 10)},
    "muennighoff": {
        "N": np.geomspace(1e8, 1e10, 5),
        "D": np.geomspace(1e10, 1e12, 5),
        "U": np.array([1e9, 4e9]),
    },
}  # fmt: skip


def constants(law: Law) -> dict[str, float]:
    """Return the paper's constants of a law, and chosen ones where it has none."""
    return {
        name: CHOSEN[name] if constant.value is None else constant.value
        for name, constant in law.parameters.items()
    }


def grid(name: str) -> dict[str, Array]:
    """Return the variables of a law at the points of its grid."""
    axes = np.meshgrid(*GRIDS[name].values(), indexing="ij")
    return dict(zip(GRIDS[name], (axis.ravel() for axis in axes), strict=True))


def planted(name: str, noise: float, seed: int = 0, law: Law | None = None) -> Points:
    """Return points of a law with relative errors of a standard deviation.

    Args:
        name: The law, whose grid is taken.
        noise: Standard deviation of the logarithm.
        seed: Of the errors.
        law: Another form of it, such as one with a floor.
    """
    law = law or LAWS[name]
    x = grid(name)
    y = law(constants(law), **x)
    errors = noise * np.random.default_rng(seed).standard_normal(len(y))
    # The learning-rate rule is fitted as it is, so its errors are not relative to each value.
    y = y + errors * np.abs(y).mean() if name == "LR_N" else y * np.exp(errors)
    return Points(x, y, np.arange(len(y)), np.ones(len(y)))
