"""The forms of the laws: equation, variables, parameters and the paper's values of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scaling_laws.errors import InputError
from scaling_laws.laws.paper import TABLE_2, TABLE_5, Constant

Array = npt.NDArray[np.float64]


def power_law(x: Array, exponent: float, scale: float) -> Array:
    """Return L(x) = (scale / x)^exponent, the form of L(N), L(D) and L(C) (eqs. 3.1 to 3.3)."""
    return np.asarray((scale / x) ** exponent)


def joint_law(N: Array, D: Array, alpha_N: float, alpha_D: float, N_c: float, D_c: float) -> Array:
    """Return L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D (eqs. 1.5, 4.1)."""
    log_size = alpha_N / alpha_D * np.log(N_c / N)
    return np.asarray(np.exp(alpha_D * np.logaddexp(log_size, np.log(D_c / D))))


@dataclass(frozen=True)
class Law:
    """A scaling law.

    Attributes:
        name: Name in files and commands, such as L_N.
        symbol: Name in text, such as L(N).
        title: What the law says, in words.
        equation: The equation as text.
        source: Where the paper gives it.
        variables: What the loss depends on, with units.
        loss: The loss that is fitted, in nats per token: of the last step, of the step with the
            least test loss, or the lower envelope of all learning curves.
        parameters: The paper's constants, in the order that `form` takes them.
        form: The law: arrays of the variables, then the parameters, to losses.
    """

    name: str
    symbol: str
    title: str
    equation: str
    source: str
    variables: Mapping[str, str]
    loss: Literal["test_loss", "best_test_loss", "envelope"]
    parameters: Mapping[str, Constant]
    form: Callable[..., Array]


def _power_law(
    variable: str,
    unit: str,
    title: str,
    source: str,
    loss: Literal["test_loss", "best_test_loss", "envelope"],
) -> Law:
    exponent, scale = f"alpha_{variable}", f"{variable}_c"
    return Law(
        name=f"L_{variable}",
        symbol=f"L({variable})",
        title=title,
        equation=f"L({variable}) = ({scale} / {variable})^{exponent}",
        source=source,
        variables={variable: unit},
        loss=loss,
        parameters={name: TABLE_5[name] for name in (exponent, scale)},
        form=power_law,
    )


LAWS = {
    law.name: law
    for law in (
        _power_law("N", "parameters", "Loss against model size", "eqs. 1.1, 3.1", "test_loss"),
        _power_law("D", "tokens", "Loss against data set size", "eqs. 1.2, 3.2", "best_test_loss"),
        _power_law(
            "C", "PF-days", "Loss against compute at a fixed batch size", "eq. 3.3", "envelope"
        ),
        Law(
            name="L_ND",
            symbol="L(N, D)",
            title="Loss against model size and data set size",
            equation="L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D",
            source="eqs. 1.5, 4.1",
            variables={"N": "parameters", "D": "tokens"},
            loss="best_test_loss",
            parameters={name: TABLE_2[name] for name in ("alpha_N", "alpha_D", "N_c", "D_c")},
            form=joint_law,
        ),
    )
}


def get_law(name: str) -> Law:
    """Return the law called `name`.

    Raises:
        InputError: If there is none, with the names that there are.
    """
    if name not in LAWS:
        raise InputError(f"unknown law {name!r}; expected one of {', '.join(LAWS)}")
    return LAWS[name]


def determined(fit: Mapping[str, Any]) -> bool:
    """Tell whether every parameter of a fit has a value; a scale may have overflowed."""
    return all(parameter["value"] is not None for parameter in fit["parameters"].values())


def predict(fit: Mapping[str, Any], *variables: npt.ArrayLike) -> Array:
    """Return the loss, in nats per token, that a fit predicts.

    Args:
        fit: Content of a fit JSON.
        variables: One array for each variable of the law, in its order and units.
    """
    law = get_law(fit["law"])
    values = [fit["parameters"][name]["value"] for name in law.parameters]
    return law.form(*(np.asarray(variable, dtype=float) for variable in variables), *values)
