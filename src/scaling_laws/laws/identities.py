"""What follows from the paper's constants, beside what it prints: its arithmetic, checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from scaling_laws.laws import paper
from scaling_laws.laws.efficient import Efficient, compute_min, crossing, steps_min
from scaling_laws.laws.forms import LAWS
from scaling_laws.models.counts import FLOP_PER_PF_DAY

BATCH = 2**19  # tokens, section 2.2
SEED_NOISE = 0.02  # nats, section 4.2
# Fits of Table 3 and of Table 5 give two sets of constants for appendix B.
TABLE_2, TABLE_3, TABLE_5, TABLE_6, CRITICAL = (
    {name: constant.value for name, constant in table.items() if constant.value is not None}
    for table in (paper.TABLE_2, paper.TABLE_3, paper.TABLE_5, paper.TABLE_6, paper.BATCH)
)
CORRECTIONS = {
    8: (0.982, 0.018),
    6: (0.931, 0.069),
    5: (0.850, 0.150),
    4: (0.660, 0.340),
    3.5: (0.505, 0.495),
    3: (0.328, 0.672),
    2.5: (0.169, 0.831),
    2.3: (0.120, 0.880),
}
"""S_min / S and C_min / C at the paper's batch, by loss, as worked out by hand from eq. 5.3."""


class Identity(NamedTuple):
    """A number of the paper, worked out again.

    Attributes:
        source: Where it stands.
        statement: What it is, and what it is worked out from.
        found: What follows from the constants.
        printed: What the paper prints, or what a calculation by hand gives.
        digits: Relative half-width of the printed number's last digit.
        remark: Where the paper contradicts itself, both values.
        hand: Whether the paper prints no number, and this one was worked out by hand.
    """

    source: str
    statement: str
    found: float
    printed: float
    digits: float
    remark: str = ""
    hand: bool = False

    @property
    def agrees(self) -> bool:
        """Whether it is the printed number, rounded."""
        return abs(self.found - self.printed) <= self.digits * abs(self.printed)


def identities() -> None:
    """Print every closed form of the paper beside the number that it prints."""
    table = Table("source", "what", box=None, pad_edge=False)
    table.add_column("follows", justify="right")
    table.add_column("printed", justify="right")
    table.add_column("")
    everything = list(all_identities())
    for identity in everything:
        verdict = "[green]agrees[/]" if identity.agrees else "[yellow]contradicts[/]"
        by_hand = " with a calculation by hand" if identity.hand else ""
        remark = f"; {identity.remark}" if identity.remark else ""
        table.add_row(
            identity.source,
            identity.statement,
            f"{identity.found:.4g}",
            f"{identity.printed:.4g}",
            f"{verdict}{by_hand}{remark}",
        )
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, 200)
    console.print(table)
    agreeing = sum(identity.agrees for identity in everything)
    console.print(
        f"{agreeing} of {len(everything)} agree; the paper contradicts itself in the others"
    )


def all_identities() -> Iterator[Identity]:
    """Yield all of them, in the order of the paper."""
    yield from _losses()
    yield from _overfitting()
    yield from _corrections()
    yield from _frontier()
    yield from _crossings()
    yield from _appendix()


def _losses() -> Iterator[Identity]:
    alpha, N_c = TABLE_5["alpha_N"], TABLE_5["N_c"]
    yield Identity(
        "1.1", "L(N) of the model of 708M", (N_c / 708e6) ** alpha, 2.44, 0.005, hand=True
    )
    yield Identity("1.1", "loss when N doubles, 2^-alpha_N", 2**-alpha, 0.95, 0.006)
    power = TABLE_2["alpha_N"] / TABLE_2["alpha_D"]
    yield Identity("4.4", "power of N that data grow with, by Table 2", power, 0.74, 0.007)
    yield Identity("1.1", "data for 8 times the size, 8^0.74", 8**0.74, 5, 0.1)
    legends = {name: paper.TABLE_5[name].other or math.nan for name in ("C_c_min", "C_c")}
    loss = _loss_at_one(legends["C_c_min"])
    remark = f"2.3e8 of the legends of Figures 1 and 13 gives {loss:.2f}"
    loss = _loss_at_one(TABLE_5["C_c_min"])
    yield Identity("1.3", "L(C_min) at 1 PF-day by Table 5", loss, 2.66, 0.002, remark, hand=True)
    loss = legends["C_c"] ** TABLE_5["alpha_C"]
    remark = f"2.0e7 of the legend of Figure 13 gives {loss:.2f}"
    loss = TABLE_5["C_c"] ** TABLE_5["alpha_C"]
    yield Identity("3.3", "L(C) at 1 PF-day by Table 5", loss, 2.57, 0.002, remark, hand=True)
    rule = [constant.value or math.nan for constant in paper.LEARNING_RATE.values()]
    largest = math.exp(-rule[0] / rule[1])
    remark = "the logarithm is the natural one"
    yield Identity("D.1", "N at which the learning rate vanishes", largest, 1e10, 0.25, remark)
    what = "width above which attention is small, n_ctx / 12"
    yield Identity("2.1", what, 1024 / 12, 85.3, 0.001, hand=True)


def _overfitting() -> Iterator[Identity]:
    power = TABLE_2["alpha_N"] / TABLE_2["alpha_D"]
    grown = (1 + SEED_NOISE) ** (1 / TABLE_2["alpha_D"]) - 1
    k = TABLE_2["D_c"] / grown * TABLE_2["N_c"] ** -power
    yield Identity("4.4", "k of D = k N^p, from Table 2 at 0.02 nats", k, 5e3, 0.11)


def _corrections() -> Iterator[Identity]:
    for loss, (steps, compute) in CORRECTIONS.items():
        critical = CRITICAL["B_star"] / loss**4.8
        found = float(steps_min(1.0, BATCH, critical))
        yield Identity("5.4", f"S_min / S at B = 2^19, L = {loss}", found, steps, 0.01, hand=True)
        found = float(compute_min(1.0, BATCH, critical))
        yield Identity("5.5", f"C_min / C at B = 2^19, L = {loss}", found, compute, 0.02, hand=True)
    remark = "1 / 0.21 is 4.76, the legend of Figure 10 has 4.8"
    yield Identity("1.4", "B_crit for 13 % less loss", 0.87 ** (-1 / 0.21), 2, 0.05, remark)
    critical = CRITICAL["B_star"] / _loss_at_one(TABLE_5["C_c_min"]) ** (1 / CRITICAL["alpha_B"])
    yield Identity("Table 6", "B_e: B_crit at the loss of 1 PF-day", critical, 2.0e6, 0.025)


def _frontier() -> Iterator[Identity]:
    N, B, S = (TABLE_6[name] for name in ("N_e", "B_e", "S_e"))
    yield Identity("Table 6", "6 N_e B_e S_e, in PF-days", 6 * N * B * S / FLOP_PER_PF_DAY, 1, 0.03)
    remark = "eq. 6.7 prints 4e10"
    yield Identity("Table 6", "2 B_e S_e, which is D_e", 2 * B * S, 2e10, 0.1, remark)
    tokens = 2 * FLOP_PER_PF_DAY / (6 * N)
    yield Identity("6.7", "2 C / 6 N_e at 1 PF-day", tokens, 2e10, 0.12, remark)
    total = TABLE_6["p_N"] + TABLE_6["p_B"] + TABLE_6["p_S"]
    yield Identity("Table 6", "p_N + p_B + p_S", total, 1, 0.001)
    growth = {
        "p_N": ("size", "> 1,000,000", 3.7e6),
        "p_B": ("batch", "100", 145),
        "p_S": ("steps", "< 10", 1.9),
    }
    for power, (name, said, printed) in growth.items():
        what = f"growth of {name} for 1e9 times the compute, in the paper {said}"
        yield Identity("Figure 3", what, 1e9 ** TABLE_6[power], printed, 0.03, hand=True)


def _crossings() -> Iterator[Identity]:
    lines = {
        "Table 6": {"D_e": TABLE_6["D_e"], "p_D": TABLE_6["p_D"]},
        "eq. 6.7": {"D_e": 4e10, "p_D": 0.26},
    }
    for where, tokens in lines.items():
        for scale, said in ((3.1e8, "Table 5"), (2.3e8, "Figure 1")):
            compute = {"alpha_C_min": TABLE_5["alpha_C_min"], "C_c_min": scale}
            C, loss = crossing(compute, tokens, TABLE_5)
            what = f"D(C_min) of {where}, C_c_min of {said}"
            N = TABLE_6["N_e"] * C ** TABLE_6["p_N"]
            D = tokens["D_e"] * C ** tokens["p_D"]
            yield Identity("6.8", f"C* in PF-days: {what}", C, 1e4, 0.5)
            yield Identity("6.8", f"N*: {what}", N, 1e12, 0.5)
            yield Identity("6.8", f"D*: {what}", D, 1e12, 0.5)
            yield Identity("6.8", f"L*: {what}", loss, 1.7, 0.03)


def _appendix() -> Iterator[Identity]:
    first = Efficient.of(TABLE_3, CRITICAL)
    size = {name: TABLE_5[name] for name in ("alpha_N", "N_c")}
    for name, law in (("Table 3", first), ("Table 5", Efficient.of({**TABLE_3, **size}, CRITICAL))):
        yield from _amplitudes(name, law)
    yield Identity("B.5", "loss above that of endless training", first.excess, 0.10, 0.05)
    N, S, C = first.against_convergence(0.02)
    yield Identity("B.12", "size, over one trained to 2 %", N, 2.7, 0.02)
    yield Identity("B.13", "steps, over one trained to 2 %", S, 0.13, 0.04)
    yield Identity("B.14", "compute, over one trained to 2 %", C, 0.35, 0.04)
    yield Identity("B.14", "steps fewer by", 1 / S, 7.7, 0.03)
    yield Identity(
        "B.17", "steps at 2.2 of the best size", float(first.steps_of_size(2.2)), 0.55, 0.01
    )
    for ratio, cost in ((0.6, 1.165), (2.2, 1.204), (10, 2.84)):
        found = float(first.cost_of_size(ratio))
        remark = "the paper has at most 1.2" if ratio < 10 else ""
        what = f"compute at {ratio} of the best size"
        yield Identity("B.16", what, found, cost, 0.002, remark, hand=True)
    for ratio, needed in ((0.6, 1.94), (10, 0.284)):
        found = float(first.steps_of_size(ratio))
        what = f"steps at {ratio} of the best size"
        yield Identity("B.17", what, found, needed, 0.002, hand=True)
    least = (1 + first.excess) ** (-1 / first.alpha_N)
    what = "least size that reaches the loss, of the best"
    yield Identity("B.16", what, least, 0.286, 0.002, hand=True)


def _amplitudes(name: str, law: Efficient) -> Iterator[Identity]:
    """Yield what appendix B makes of one set of constants."""
    day = FLOP_PER_PF_DAY
    remark = "eq. 6.4 prints 0.054"
    yield Identity("1.8, B.7", f"alpha_C_min by {name}", law.alpha_C, 0.052, 0.012, remark)
    ratio = law.alpha_C / law.alpha_N
    remark = "of eq. 6.4's 0.054; the fit of eq. 6.1 has 0.73"
    yield Identity("6.5", f"alpha_C / alpha_N by {name}", ratio, 0.71, 0.01, remark)
    remark = "of Table 5; amplitudes are off by about 2"
    yield Identity("B.8", f"C_c in PF-days by {name}", law.C_c / day, 3.1e8, 0.02, remark)
    N, S = float(law.size(day)), float(law.steps(day))
    yield Identity("B.9", f"N at 1 PF-day by {name}", N, 1.3e9, 0.04, "of Table 6")
    yield Identity("B.10", f"S at 1 PF-day by {name}", S, 5.4e3, 0.01, "of Table 6")
    ratio = law.alpha_C / law.alpha_S
    yield Identity("B.10", f"alpha_C / alpha_S by {name}", ratio, 0.03, 0.17, "of Table 6")
    whole = 6 * N * float(law.batch(day)) * S / day
    yield Identity("B.9, B.10", f"6 N B S / C by {name}", whole, 1, 1e-9, hand=True)
    sizes = N * np.exp(np.linspace(-0.5, 0.5, 2001))
    best = float(sizes[np.argmin(law.loss_of(sizes, day))]) / N
    yield Identity("B.4", f"N of the least L(N, C) over B.9's by {name}", best, 1, 1e-3, hand=True)
    same = float(law.loss_of(N, day) / law.loss(day))
    yield Identity("B.6", f"L(N, C) at B.9's N over L(C) by {name}", same, 1, 1e-6, hand=True)


def _loss_at_one(scale: float) -> float:
    """Return L(C_min) at 1 PF-day."""
    constants = {"alpha_C_min": TABLE_5["alpha_C_min"], "C_c_min": scale}
    return float(LAWS["L_C_min"](constants, C_min=1.0))
