"""A grid that spends a budget: the widest spans of N and D that it buys."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scaling_laws.config import Config, validate
from scaling_laws.errors import InputError
from scaling_laws.studies.cost import (
    Times,
    devices_of,
    duration,
    run_seconds,
    tokens_there,
    wall_seconds,
)
from scaling_laws.studies.grid import Run, runs

# (n_layer, d_model): each has some two times the N of the one before
LADDER = (
    (1, 8),
    (1, 12),
    (2, 16),
    (2, 24),
    (2, 32),
    (3, 40),
    (3, 56),
    (4, 72),
    (4, 96),
    (4, 128),
    (5, 160),
    (6, 224),
    (8, 256),
    (8, 352),
    (10, 448),
    (12, 576),
    (12, 768),
    (16, 960),
    (24, 1024),
    (28, 1280),
    (36, 1600),
)
FEWEST_SIZES = 5
FEWEST_STEPS = 200
MOST_STEPS = 10**9
PROPOSED = "# Proposed by"  # begins each proposal
MOST_EPOCHS = 4  # further ones are worth less than new data (Muennighoff et al. 2023)
TOKENS_PER_PARAMETER = 20  # of the largest model: compute-efficient (Hoffmann et al. 2022)
SUBSETS = 6  # of the data size study, in factors of two
LARGEST_SUBSET = 8  # times smaller than what a run processes, so that it is seen several times
# Wall seconds of the stages before and after the runs, as they take with the sample on two cores.
OTHER_STAGES = 210.0
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Budget(NamedTuple):
    """What may be spent: wall seconds, or FLOP of training."""

    amount: float
    unit: str


def parse_budget(text: str) -> Budget:
    """Return what a text such as 90min, 2h or 1e18FLOP says.

    Raises:
        InputError: When it says nothing of the kind.
    """
    number = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d\d?)?) ?(s|min|h|d|FLOP)", text)
    if not number or not float(number[1]):
        raise InputError(f"--budget {text}: expected the like of 90min, 2h, 1d or 1e18FLOP")
    amount, unit = float(number[1]), number[2]
    return Budget(amount, "FLOP") if unit == "FLOP" else Budget(amount * UNITS[unit], "s")


class Proposal(NamedTuple):
    """An overlay of the configuration, and what it is foretold to take."""

    overlay: dict[str, Any]
    spent: float
    unit: str

    def text(self, budget: str, files: Sequence[Path]) -> str:
        """Return the overlay as YAML.

        Args:
            budget: What it was proposed for.
            files: Overlays that it lies on, and its own file.
        """
        foretold = f"{self.spent:.3g} FLOP" if self.unit == "FLOP" else duration(self.spent)
        head = (
            f"{PROPOSED} `scaling-laws plan --budget {budget}`, foretold to take {foretold}:\n"
            f"# snakemake --cores all --configfile {' '.join(map(str, files))}\n"
        )
        return head + yaml.safe_dump(
            self.overlay, sort_keys=False, width=100, default_flow_style=None
        )


def propose(config: Config, budget: Budget, times: Times | None) -> Proposal:
    """Return the grid of studies model_size and data_size that spends a budget.

    All sizes of a ladder from 768 parameters on process the same number of tokens; the largest is
    the one that gets some 20 tokens a parameter. A size next to the middle is trained on nested
    subsets of the data. Where the training split is encoded already, its tokens are the distinct
    ones that there are, and none is seen more than four times. Batch, context, vocabulary and
    rates stay those of the configuration.

    Raises:
        InputError: When it buys fewer than five sizes, or nothing tells how long an update takes.
    """
    if budget.unit == "s" and times is None:
        raise InputError(
            "--budget in time: how fast training is is not known; set hardware.tflops, or run "
            "`scaling-laws calibrate` and give its file as --rates"
        )

    batch_tokens = config.training.batch_sequences * config.training.n_ctx
    there = tokens_there(config)
    most = MOST_STEPS if there is None else MOST_EPOCHS * there // batch_tokens

    def spent(sizes: int, steps: int) -> float:
        if steps > most:
            return math.inf
        table = _grid(config, sizes, steps)[1]
        if budget.unit == "FLOP":
            return sum(run.spec.C(run.spec.steps, "full") for run in table.values())
        assert times
        jobs = [(run_seconds(run, config, times), max(run.gpus, 1)) for run in table.values()]
        return OTHER_STAGES + wall_seconds(jobs, devices_of(config, table.values()))

    best: tuple[int, int] | None = None
    for sizes in range(FEWEST_SIZES, len(LADDER) + 1):
        steps = _most_steps(partial(spent, sizes), budget.amount)
        n_layer, d_model = LADDER[sizes - 1]
        enough = steps * batch_tokens >= TOKENS_PER_PARAMETER * 12 * n_layer * d_model**2
        if steps and (best is None or enough):
            best = (sizes, steps)
        if not enough:
            break
    if best is None:
        raise InputError(
            f"--budget: {spent(FEWEST_SIZES, FEWEST_STEPS):.3g} {budget.unit} are the least that "
            f"{FEWEST_SIZES} sizes take; found {budget.amount:.3g}"
        )
    overlay, _ = _grid(config, *best)
    return Proposal(overlay, spent(*best), budget.unit)


def _most_steps(spent: Callable[[int], float], amount: float) -> int:
    """Return the most steps that spend no more than an amount, to 1 %; 0 when the fewest do."""
    if spent(FEWEST_STEPS) > amount:
        return 0
    low, high = FEWEST_STEPS, 2 * FEWEST_STEPS
    while spent(high) <= amount:
        low, high = high, 2 * high
    while high > 1.01 * low:
        middle = (low + high) // 2
        low, high = (middle, high) if spent(middle) <= amount else (low, middle)
    return low


def _grid(config: Config, sizes: int, steps: int) -> tuple[dict[str, Any], dict[str, Run]]:
    """Return the overlay of the smallest sizes, each trained for as many steps, and its runs."""
    tokens = steps * config.training.batch_sequences * config.training.n_ctx
    shapes = [
        {"n_layer": n_layer, "d_model": d_model, "n_head": max(1, d_model // 32)}
        for n_layer, d_model in LADDER[:sizes]
    ]
    there = tokens_there(config)
    largest = min(tokens, there or tokens) // LARGEST_SUBSET
    subsets = [largest // 2**power for power in reversed(range(SUBSETS))]
    subsets = [number for number in subsets if number > config.training.n_ctx]
    off: dict[str, Any] = dict.fromkeys(config.studies)
    no_laws: dict[str, Any] = dict.fromkeys(config.fits.laws)
    studies: dict[str, Any] = {
        "model_size": {
            "shapes": [
                *shapes[:2],
                shapes[2] | {"seeds": [0, 1]},
                *shapes[3:-1],
                shapes[-1] | {"training": {"snapshots": 4}},
            ],
        },
        "data_size": {
            "shapes": [dict(shapes[max(sizes - 3, 0)])],
            "vary": {"data_tokens": subsets},
            "training": {"dropout": 0.1, "patience": 3, "evaluations": 30},
        },
    }
    laws: dict[str, list[str]] = {
        "L_N": ["model_size"],
        "L_D": ["data_size"],
        "L_C": ["model_size"],
    }
    laws["L_ND"] = [*studies]
    distinct = {"data_tokens": there} if there is not None and tokens > there else {}
    overlay = {
        "results": "results-budget",
        "training": {"tokens": tokens, **distinct},
        "studies": {**off, **studies},
        "fits": {"laws": {**no_laws, **laws}},
    }
    settings = config.model_dump(mode="json")
    settings["training"] |= overlay["training"]
    settings["studies"] = studies
    settings["fits"]["laws"] = laws
    return overlay, runs(validate(settings))
