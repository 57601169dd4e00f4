"""The paper's constants, each with its unit and the place it stands at (arXiv 2001.08361v1)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """A number of the paper, and the second number where the paper contradicts itself.

    None stands where the paper has no number.
    """

    value: float | None
    unit: str
    source: str
    other: float | None = None
    other_source: str | None = None


# Fits of one variable. Scales depend on the tokenizer, exponents are the comparison.
TABLE_5 = {
    "alpha_N": Constant(0.076, "1", "Table 5, eq. 1.1"),
    "N_c": Constant(8.8e13, "parameters", "Table 5, eq. 1.1"),
    "alpha_D": Constant(0.095, "1", "Table 5, eq. 1.2"),
    "D_c": Constant(5.4e13, "tokens", "Table 5, eq. 1.2"),
    "alpha_C": Constant(0.057, "1", "Table 5"),
    "C_c": Constant(1.6e7, "PF-days", "Table 5", 2.0e7, "legend of Figure 13"),
    "alpha_C_min": Constant(0.050, "1", "Table 5, eq. 1.3"),
    "C_c_min": Constant(3.1e8, "PF-days", "Table 5, eq. 1.3", 2.3e8, "legends of Figures 1, 13"),
}

# Joint fit of model and data set size. It differs from Table 5 because it is another fit.
TABLE_2 = {
    "alpha_N": Constant(0.076, "1", "Table 2"),
    "alpha_D": Constant(0.103, "1", "Table 2"),
    "N_c": Constant(6.4e13, "parameters", "Table 2"),
    "D_c": Constant(1.8e13, "tokens", "Table 2"),
}

TABLE_3 = {
    "alpha_N": Constant(0.077, "1", "Table 3"),
    "alpha_S": Constant(0.76, "1", "Table 3"),
    "N_c": Constant(6.5e13, "parameters", "Table 3"),
    "S_c": Constant(2.1e3, "steps", "Table 3"),
}

BATCH = {
    "alpha_B": Constant(0.21, "1", "Table 5, eq. 5.3", 1 / 4.8, "legend of Figure 10"),
    "B_star": Constant(2.1e8, "tokens", "Table 5, Figure 10", 2.0e8, "eqs. 1.4, 5.3"),
}

# Compute-efficient training; C_min in PF-days.
TABLE_6 = {
    "p_N": Constant(0.73, "1", "Table 6, eq. 6.1"),
    "N_e": Constant(1.3e9, "parameters", "Table 6"),
    "p_B": Constant(0.24, "1", "Table 6"),
    "B_e": Constant(2.0e6, "tokens", "Table 6"),
    "p_S": Constant(0.03, "1", "Table 6, eq. 6.2"),
    "S_e": Constant(5.4e3, "steps", "Table 6"),
    "p_D": Constant(0.27, "1", "Table 6", 0.26, "eq. 6.7"),
    "D_e": Constant(2.0e10, "tokens", "Table 6", 4.0e10, "eq. 6.7"),
}

# The best size as it looks at the paper's batch, without its adjustment to small ones.
FIGURE_14 = {
    "p": Constant(0.88, "1", "legend of Figure 14"),
    "N_1": Constant(1.6e9, "parameters", "legend of Figure 14"),
}

OVERFITTING = {
    "p": Constant(0.74, "1", "eq. 4.4"),
    "k": Constant(5.0e3, "tokens", "eq. 4.4"),
}

LEARNING_RATE = {
    "a": Constant(0.003239, "1", "eq. D.1"),
    "b": Constant(-0.0001395, "1", "eq. D.1"),
}

# Loss against the position in the context, of the largest model: L_T = a + b T^-c.
FIGURE_20 = {
    "c": Constant(0.62, "1", "Figure 20, largest model"),
    "b": Constant(5.4, "nats", "Figure 20, largest model"),
    "a": Constant(2.3, "nats", "Figure 20, largest model"),
}

# What the paper holds against its law of size: L = slope ln(N / N_0).
FIGURE_23 = {
    "slope": Constant(-0.25, "nats", "legend of Figure 23"),
    "N_0": Constant(7.1e12, "parameters", "legend of Figure 23"),
}

# Later work, beside the paper.
HOFFMANN = {
    "alpha": Constant(0.34, "1", "Hoffmann et al. 2022", 0.3478, "Besiroglu et al. 2024"),
    "beta": Constant(0.28, "1", "Hoffmann et al. 2022", 0.3658, "Besiroglu et al. 2024"),
    "A": Constant(406.4, "nats", "Hoffmann et al. 2022", 482.01, "Besiroglu et al. 2024"),
    "B": Constant(410.7, "nats", "Hoffmann et al. 2022", 2085.43, "Besiroglu et al. 2024"),
    "E": Constant(1.69, "nats", "Hoffmann et al. 2022", 1.8172, "Besiroglu et al. 2024"),
}
MUENNIGHOFF = {
    "R_D": Constant(15.387756, "repeats", "Muennighoff et al. 2023"),
    "R_N": Constant(5.309743, "repeats", "Muennighoff et al. 2023"),
}
# Of data seen once, alpha = beta; the source gives logarithms of A, B and E.
MUENNIGHOFF_ONCE = {
    "A": math.exp(6.255414),
    "B": math.exp(7.3049974),
    "E": math.exp(0.6254804),
    "alpha": 0.3526596,
    "beta": 0.3526596,
}
# The over-training law of Gadre et al. 2024 with these numbers, N^2 = C / 6 M and D^2 = C M / 6.
_ETA = MUENNIGHOFF_ONCE["alpha"] / 2
_SOURCE = "Gadre et al. 2024's law at the numbers of Muennighoff et al. 2023"
GADRE = {
    "eta": Constant(_ETA, "1", _SOURCE),
    "a": Constant(MUENNIGHOFF_ONCE["A"] * 6**_ETA, "nats", _SOURCE),
    "b": Constant(MUENNIGHOFF_ONCE["B"] * 6**_ETA, "nats", _SOURCE),
    "E": Constant(MUENNIGHOFF_ONCE["E"], "nats", _SOURCE),
}
