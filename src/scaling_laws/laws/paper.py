"""The paper's constants, each with its unit and the place it stands at (arXiv 2001.08361v1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """A number of the paper, and the second number where the paper contradicts itself."""

    value: float
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
