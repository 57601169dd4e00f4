"""The forms of the laws: equation, variables, parameters and the paper's values of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scaling_laws.errors import InputError
from scaling_laws.laws import paper
from scaling_laws.laws.paper import Constant
from scaling_laws.laws.powers import PowerSum, Term
from scaling_laws.laws.problem import Array, Structure
from scaling_laws.laws.special import Line, Repeated

NATS = "nats per token"
FLOOR = Constant(None, "nats", "not in the paper")


@dataclass(frozen=True)
class Law:
    """A scaling law.

    Attributes:
        name: Name in files and commands, such as L_N.
        symbol: Name in text, such as L(N).
        title: What the law says, in words.
        equation: The equation as text.
        source: Where the paper, or a later one, gives it.
        variables: What it depends on, with units.
        parameters: The published constants, in the order of its structure.
        structure: The mathematics.
        response: What it gives: column and unit.
        loss: Which loss of the tables it is fitted to, in nats per token: of the last step, of the
            step with the least test loss, or of learning curves; None where points of another kind
            are fitted.
    """

    name: str
    symbol: str
    title: str
    equation: str
    source: str
    variables: Mapping[str, str]
    parameters: Mapping[str, Constant]
    structure: Structure
    response: tuple[str, str] = ("L", NATS)
    loss: Literal["test_loss", "best_test_loss", "curves"] | None = None

    @property
    def powers(self) -> list[str]:
        """Names of its exponents: what can be compared between tokenizers and corpora."""
        return self.structure.powers if isinstance(self.structure, PowerSum) else []

    @property
    def of_loss(self) -> bool:
        """Whether the law gives a loss."""
        return self.response[1] == NATS

    @property
    def published(self) -> dict[str, float] | None:
        """Its published constants; None where one has no number."""
        known = {name: c.value for name, c in self.parameters.items() if c.value is not None}
        return known if len(known) == len(self.parameters) else None

    def __call__(self, constants: Mapping[str, float], **variables: npt.ArrayLike) -> Array:
        """Return what the law gives.

        Args:
            constants: Its parameters, by name.
            variables: Its variables, by name, in their units.
        """
        log_x = {name: np.log(np.asarray(variables[name], dtype=float)) for name in self.variables}
        return self.structure.value(constants, log_x)

    def with_floor(self, floor: bool) -> Law:
        """Return the law with or without an irreducible term E.

        Raises:
            InputError: When it has no such two forms.
        """
        law = self.structure
        if not isinstance(law, PowerSum) or (law.floor is None and not self.of_loss):
            raise InputError(
                f"{self.name}: there is no form with an irreducible term and one without"
            )
        if floor == (law.floor is not None):
            return self
        left, right = self.equation.split(" = ", 1)
        if floor:
            return replace(
                self,
                equation=f"{left} = E + {right}",
                parameters={**self.parameters, "E": FLOOR},
                structure=replace(law, floor="E"),
            )
        rest = {name: value for name, value in self.parameters.items() if name != law.floor}
        return replace(
            self,
            equation=f"{left} = {right.removeprefix(f'{law.floor} + ')}",
            parameters=rest,
            structure=replace(law, floor=None),
        )


def _scaled(variable: str, power: str, scale: str) -> Term:
    """Return (scale / variable)^power."""
    return Term(scale, {power: {variable: -1}}, scale=True)


def _fall(variable: str, power: str, coefficient: str) -> Term:
    """Return coefficient / variable^power."""
    return Term(coefficient, {power: {variable: -1}})


def _power_law(
    variable: str,
    unit: str,
    title: str,
    source: str,
    loss: Literal["test_loss", "best_test_loss", "curves"] | None,
) -> Law:
    exponent = f"alpha_{variable}"
    scale = "C_c_min" if variable == "C_min" else f"{variable}_c"
    return Law(
        name=f"L_{variable}",
        symbol=f"L({variable})",
        title=title,
        equation=f"L({variable}) = ({scale} / {variable})^{exponent}",
        source=source,
        variables={variable: unit},
        parameters={name: paper.TABLE_5[name] for name in (exponent, scale)},
        structure=PowerSum((_scaled(variable, exponent, scale),)),
        loss=loss,
    )


def _optimum(quantity: str, unit: str, title: str) -> Law:
    letter = quantity[0]
    power, scale = f"p_{letter}", f"{letter}_e"
    return Law(
        name=quantity,
        symbol=f"{quantity}(C_min)",
        title=title,
        equation=f"{quantity} = {scale} C_min^{power}",
        source="Table 6",
        variables={"C_min": "PF-days"},
        parameters={name: paper.TABLE_6[name] for name in (power, scale)},
        structure=PowerSum((Term(scale, {power: {"C_min": 1}}),), signed=True),
        response=(quantity, unit),
        loss="curves",
    )


LAWS = {
    law.name: law
    for law in (
        _power_law("N", "parameters", "Loss against model size", "eqs. 1.1, 3.1", "test_loss"),
        _power_law("D", "tokens", "Loss against data set size", "eqs. 1.2, 3.2", "best_test_loss"),
        _power_law(
            "C", "PF-days", "Loss against compute at a fixed batch size", "eq. 3.3", "curves"
        ),
        _power_law(
            "C_min", "PF-days", "Loss against compute at small batches", "eqs. 1.3, 6.3", "curves"
        ),
        Law(
            name="L_ND",
            symbol="L(N, D)",
            title="Loss against model size and data set size",
            equation="L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D",
            source="eqs. 1.5, 4.1",
            variables={"N": "parameters", "D": "tokens"},
            parameters=paper.TABLE_2,
            structure=PowerSum(
                (_scaled("N", "alpha_N", "N_c"), _scaled("D", "alpha_D", "D_c")),
                temperature="alpha_D",
            ),
            loss="best_test_loss",
        ),
        Law(
            name="L_ND_rejected",
            symbol="L(N, D)",
            title="Loss against model size and data set size, the form that the paper rejects",
            equation="L(N, D) = [(N_c / N)^(alpha_N / beta) + (D_c / D)^(alpha_D / beta)]^beta",
            source="footnote of section 4.1",
            variables={"N": "parameters", "D": "tokens"},
            parameters={
                "alpha_N": paper.TABLE_2["alpha_N"],
                "alpha_D": paper.TABLE_2["alpha_D"],
                "beta": Constant(None, "1", "no value in the paper"),
                "N_c": paper.TABLE_2["N_c"],
                "D_c": paper.TABLE_2["D_c"],
            },
            structure=PowerSum(
                (_scaled("N", "alpha_N", "N_c"), _scaled("D", "alpha_D", "D_c")),
                temperature="beta",
            ),
            loss="best_test_loss",
        ),
        Law(
            name="L_NS",
            symbol="L(N, S_min)",
            title="Loss against model size and steps at large batches",
            equation="L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S",
            source="eqs. 1.6, 5.6",
            variables={"N": "parameters", "S_min": "steps"},
            parameters=paper.TABLE_3,
            structure=PowerSum(
                (_scaled("N", "alpha_N", "N_c"), _scaled("S_min", "alpha_S", "S_c"))
            ),
            loss="curves",
        ),
        Law(
            name="B_crit",
            symbol="B_crit(L)",
            title="Critical batch size against loss",
            equation="B_crit(L) = B_star / L^(1 / alpha_B)",
            source="eqs. 1.4, 5.3",
            variables={"L": NATS},
            parameters=paper.BATCH,
            structure=PowerSum((_fall("L", "alpha_B", "B_star"),), inverse=frozenset({"alpha_B"})),
            response=("B_crit", "tokens"),
        ),
        Law(
            name="S_B",
            symbol="S(B)",
            title="Steps to one loss against batch size",
            equation="S(B) = S_min + E_min / B",
            source="eq. 5.1",
            variables={"B": "tokens"},
            parameters={
                "E_min": Constant(None, "tokens", "a value for each loss and model"),
                "S_min": Constant(None, "steps", "a value for each loss and model"),
            },
            structure=PowerSum((Term("E_min", fixed={"B": -1}),), floor="S_min"),
            response=("S", "steps"),
        ),
        Law(
            name="L_T",
            symbol="L(T)",
            title="Loss against position in the context",
            equation="L(T) = a + b T^-c",
            source="appendix D.5, Figure 20",
            variables={"T": "tokens"},
            parameters=paper.FIGURE_20,
            structure=PowerSum((_fall("T", "c", "b"),), floor="a"),
        ),
        Law(
            name="S_stop",
            symbol="S_stop",
            title="Step of early stopping against the loss that too few data cost",
            equation="S_stop = S_c / (L(N, D) - L(N, inf))^(1 / alpha_S)",
            source="eq. 5.7, a lower bound",
            variables={"dL": NATS},
            parameters={name: paper.TABLE_3[name] for name in ("alpha_S", "S_c")},
            structure=PowerSum((_fall("dL", "alpha_S", "S_c"),), inverse=frozenset({"alpha_S"})),
            response=("S_stop", "steps"),
        ),
        Law(
            name="D_min",
            symbol="D_min(N)",
            title="Least data that do not limit a model",
            equation="D_min(N) = k N^p",
            source="eq. 4.4",
            variables={"N": "parameters"},
            parameters=paper.OVERFITTING,
            structure=PowerSum((Term("k", {"p": {"N": 1}}),), signed=True),
            response=("D", "tokens"),
        ),
        Law(
            name="LR_N",
            symbol="LR(N)",
            title="Learning rate against model size",
            equation="LR(N) = a + b ln N",
            source="eq. D.1",
            variables={"N": "parameters"},
            parameters=paper.LEARNING_RATE,
            structure=Line("N", "a", "b"),
            response=("LR", "1"),
        ),
        Law(
            name="N_C",
            symbol="N_opt(C)",
            title="Best model size against compute at a fixed batch and schedule",
            equation="N_opt = N_1 C^p",
            source="Figure 14",
            variables={"C": "PF-days"},
            parameters=paper.FIGURE_14,
            structure=PowerSum((Term("N_1", {"p": {"C": 1}}),), signed=True),
            response=("N_opt", "parameters"),
            loss="curves",
        ),
        _optimum("N_opt", "parameters", "Best model size against compute"),
        _optimum("B_opt", "tokens", "Batch size against compute"),
        _optimum("S_opt", "steps", "Least steps against compute"),
        _optimum("D_opt", "tokens", "Tokens against compute"),
        Law(
            name="chinchilla",
            symbol="L(N, D)",
            title="Loss against model size and tokens, with an irreducible part",
            equation="L(N, D) = E + A / N^alpha + B / D^beta",
            source="Hoffmann et al. 2022, approach 3",
            variables={"N": "parameters", "D": "tokens"},
            parameters=paper.HOFFMANN,
            structure=PowerSum((_fall("N", "alpha", "A"), _fall("D", "beta", "B")), floor="E"),
            loss="test_loss",
        ),
        *(
            Law(
                name=f"chinchilla_{approach}",
                symbol="N_opt(C)",
                title=f"Best model size against compute, from {means}",
                equation="N_opt = G C^a",
                source=f"Hoffmann et al. 2022, approach {approach}",
                variables={"C": "PF-days"},
                parameters={
                    "a": Constant(exponent, "1", f"Hoffmann et al. 2022, approach {approach}"),
                    "G": Constant(None, "parameters", "not in that paper"),
                },
                structure=PowerSum((Term("G", {"a": {"C": 1}}),), signed=True),
                response=("N_opt", "parameters"),
                loss="curves" if approach == 1 else None,
            )
            for approach, exponent, means in (
                (1, 0.50, "the lowest of all learning curves"),
                (2, 0.49, "runs of equal compute"),
            )
        ),
        Law(
            name="gadre",
            symbol="L(C, M)",
            title="Loss against compute and tokens per parameter",
            equation="L(C, M) = E + (a M^eta + b M^-eta) C^-eta",
            source="Gadre et al. 2024",
            variables={"C": "FLOP", "M": "tokens per parameter"},
            parameters=paper.GADRE,
            structure=PowerSum(
                (Term("a", {"eta": {"M": 1, "C": -1}}), Term("b", {"eta": {"M": -1, "C": -1}})),
                floor="E",
            ),
            loss="test_loss",
        ),
        Law(
            name="muennighoff",
            symbol="L(N, D, U)",
            title="Loss against model size, tokens and distinct tokens",
            equation=(
                "L(N, D, U) = E + A / N'^alpha + B / D'^beta, "
                "D' = U (1 + R_D (1 - exp((1 - D / U) / R_D))), N' likewise"
            ),
            source="Muennighoff et al. 2023, eq. 5",
            variables={"N": "parameters", "D": "tokens", "U": "distinct tokens"},
            parameters=paper.MUENNIGHOFF,
            structure=Repeated(paper.MUENNIGHOFF_ONCE),
            loss="test_loss",
        ),
    )
}
"""All laws; the first four and L_ND are those that the workflow fits by itself."""
LATER = ("chinchilla", "chinchilla_1", "chinchilla_2", "gadre", "muennighoff")
"""Laws of later work, whose authors fitted them to other runs than the paper's."""


def get_law(name: str) -> Law:
    """Return the law called `name`.

    Raises:
        InputError: If there is none, with the names that there are.
    """
    if name not in LAWS:
        raise InputError(f"unknown law {name!r}; expected one of {', '.join(LAWS)}")
    return LAWS[name]


def law_of(fit: Mapping[str, Any]) -> Law:
    """Return the law that a fit is of, with or without its irreducible term."""
    law = get_law(fit["law"])
    if isinstance(law.structure, Repeated):
        return replace(law, structure=Repeated(fit["once"]))
    if set(fit["parameters"]) != set(law.parameters):
        law = law.with_floor("E" in fit["parameters"])
    return law


def determined(fit: Mapping[str, Any]) -> bool:
    """Tell whether a fit can be evaluated: a scale may have overflowed."""
    return all(value is not None for value in fit["optimum"].values())


def predict(fit: Mapping[str, Any], *variables: npt.ArrayLike) -> Array:
    """Return what a fit predicts, in nats per token where it is a loss.

    Args:
        fit: Content of a fit JSON.
        variables: One array for each variable of the law, in its order and units.
    """
    law = law_of(fit)
    return law(fit["optimum"], **dict(zip(law.variables, variables, strict=True)))
