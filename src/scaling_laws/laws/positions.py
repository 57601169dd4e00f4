"""Loss along the context: bins of positions, and L_T = a + b T^-c of each model (appendix D.5)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling_laws.laws.estimate import Points, constants_of
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.problem import Array

PER_DECADE = 10


def binned(position: npt.ArrayLike, loss: npt.ArrayLike) -> tuple[Array, Array]:
    """Return mean positions and losses of bins that are even in the logarithm of the position.

    The first positions are a bin each; later ones, whose losses differ less from one to the next
    than they scatter, share one.

    Args:
        position: From 1 on.
        loss: In nats per token.
    """
    position, loss = np.asarray(position, dtype=float), np.asarray(loss, dtype=float)
    if not len(position):
        return position, loss
    bins = np.round(np.log10(position) * PER_DECADE).astype(int)
    table = pd.DataFrame({"T": position, "L": loss}).groupby(bins).mean()
    return table["T"].to_numpy(), table["L"].to_numpy()


def along_context(positions: pd.DataFrame) -> pd.DataFrame:
    """Return a, b and c of each run, fitted to the bins, so that each decade of T counts alike.

    Args:
        positions: `run`, `N`, `position`, `loss` of one corpus and one step of each run.
    """
    rows = []
    law = LAWS["L_T"]
    for run, of_run in positions.groupby("run", sort=False):
        T, loss = binned(of_run["position"], of_run["loss"])
        points = Points({"T": T}, loss, np.arange(len(T)), np.ones(len(T)))
        rows.append({"run": run, "N": of_run["N"].iloc[0], **constants_of(law, points)})
    return pd.DataFrame(rows, columns=["run", "N", *law.parameters])
