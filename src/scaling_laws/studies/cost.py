"""What runs cost in seconds, before they are trained."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scaling_laws.config import Config, Hardware
from scaling_laws.errors import InputError
from scaling_laws.json_files import TokenFacts, read_object
from scaling_laws.ledger import reading
from scaling_laws.studies.grid import Run
from scaling_laws.training.cost import PARTS, work
from scaling_laws.training.spec import RunSpec

STEP_TO_FORWARD = 3  # the backward pass costs two forward passes
KINDS = ("transformer", "lstm")
LONGEST = 1e6  # seconds that a part of an update may be said to take
STARTUP_SECONDS = 4.0  # of a process that trains or evaluates, where nobody has measured it
SLOWEST_CORE = 5e9  # FLOP/s in training small models, where nobody has measured it
# Of the processor that starts a GPU's kernels one by one, which no model is too small for: orders
# of magnitude for PyTorch without CUDA graphs, assumed where nobody has measured.
LAUNCH_SECONDS_STEP, LAUNCH_SECONDS_LAYER = 2e-3, 3e-4


class Times(NamedTuple):
    """How long the parts of a run take on one device.

    Attributes:
        update: Gives the seconds of one update of a run.
        startup: Seconds of a process until it trains or evaluates.
    """

    update: Callable[[RunSpec], float]
    startup: float


def measured(path: Path) -> Times:
    """Return what `scaling-laws calibrate` has found.

    Raises:
        InputError: When the file is missing or is none of its.
    """
    try:
        facts: dict[str, Any] = json.loads(reading(path).read_text())
        times = {kind: np.array(facts["times"][kind], dtype=float) for kind in KINDS}
        startup = float(facts["startup_seconds"])
        known = all(
            part.shape == (PARTS,) and 0 < part.sum() < LONGEST and part.min() >= 0
            for part in times.values()
        )
        known = known and 0 <= startup < LONGEST
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `scaling-laws calibrate` writes it") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise InputError(f"{path}: not what `scaling-laws calibrate` writes; run it again")

    def update(spec: RunSpec) -> float:
        kind = "lstm" if spec.architecture == "lstm" else "transformer"
        return float(work(spec) @ times[kind])

    return Times(update, startup)


def rated(hardware: Hardware) -> Times | None:
    """Return the times by the peak rate of a device; None where none is given.

    An update takes as long as its arithmetic or as starting it, whichever is longer: a GPU computes
    what has been started while more is being started.
    """
    if hardware.tflops is None:
        return None
    rate = hardware.tflops * 1e12 * hardware.mfu

    def update(spec: RunSpec) -> float:
        layers = spec.n_layer * spec.reuse
        launches = spec.micro_batches * (LAUNCH_SECONDS_STEP + layers * LAUNCH_SECONDS_LAYER)
        return max(spec.C(1, "full") / rate, launches)

    return Times(update, STARTUP_SECONDS)


def devices_of(config: Config, table: Iterable[Run]) -> int:
    """Return how many devices runs share: as many as configured, or as one needs, or cores."""
    if config.hardware.devices is not None:
        return config.hardware.devices
    if gpus := max((run.gpus for run in table), default=0):
        return gpus
    return max(1, len(os.sched_getaffinity(0)) // config.training.threads)


def in_words(devices: int, table: Iterable[Run]) -> str:
    """Return on how many devices runs are made, in words; small runs may share a GPU."""
    several = any(run.gpus > 1 for run in table)
    return f"on {devices} GPUs" if several else f"{devices} at a time"


def tokens_there(config: Config) -> int | None:
    """Return the tokens of the training split in the results folder; None before it is encoded."""
    path = Path(config.results, "tokens/train.json")
    return int(read_object(path, TokenFacts)["tokens"]) if path.is_file() else None


def assumed(run: Run) -> Times | None:
    """Return times on a slow processor, where nobody has measured any; None for a run on GPUs."""
    if run.gpus:
        return None
    return Times(lambda spec: spec.C(1, "full") / SLOWEST_CORE, STARTUP_SECONDS)


def training_seconds(run: Run, times: Times) -> float:
    """Return the wall seconds of a run's training, on the devices that it takes.

    Early stopping is not foretold.
    """
    spec = run.spec
    tested = len(spec.evaluation_steps()) * spec.test_tokens
    computed = spec.steps * times.update(spec) + tested * _forward(spec, times)
    return times.startup + computed / max(run.gpus, 1)


def evaluation_seconds(run: Run, config: Config, times: Times) -> float:
    """Return the wall seconds of a run's evaluation, which takes one device."""
    evaluated = (run.spec.snapshots + 1) * (len(config.corpora) + 1) * config.evaluation.tokens
    return times.startup + evaluated * _forward(run.spec, times)


def _forward(spec: RunSpec, times: Times) -> float:
    """Return the seconds of the forward pass of a token."""
    return times.update(spec) / STEP_TO_FORWARD / spec.batch_tokens


def run_seconds(run: Run, config: Config, times: Times) -> float:
    """Return the wall seconds of a run's training and evaluation."""
    return training_seconds(run, times) + evaluation_seconds(run, config, times)


def wall_seconds(jobs: Iterable[tuple[float, int]], devices: int) -> float:
    """Return how long jobs take on devices, the longest of them begun first.

    Args:
        jobs: Seconds and devices of each; one of more devices than there are takes all of them,
            for as much longer.
        devices: How many there are.
    """
    longest_first = sorted(jobs, reverse=True)
    in_all = sum(max(wanted, 1) for _, wanted in longest_first)
    free = [0.0] * min(devices, in_all)  # others stay idle
    for seconds, wanted in longest_first:
        taken = [heapq.heappop(free) for _ in range(min(max(wanted, 1), devices))]
        lasts = seconds * max(wanted, 1) / len(taken)
        for _ in taken:
            heapq.heappush(free, max(taken) + lasts)
    return max(free, default=0.0)


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them."""
    if seconds < 5400:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h" if seconds < 2 * 86400 else f"{seconds / 86400:.3g} days"
