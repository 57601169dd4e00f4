"""A training step on one thread of a processor, ours against a plain PyTorch loop's.

Usage: python benchmarks/training.py [PAGE]

Ours is what `scaling-laws train` does at each step, with either precision; the other is
`baseline.py`. Both have the same sizes, batches and tokens. Each runs in a process of its own, as
in a study, one after the other in turns. Tokens per CPU second are compared, so that other work on
the machine burdens them alike; the ratio is the median over the turns, with the better precision.
Prints the measurements and writes them to a section of PAGE. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

import report
from bars import Bar
from baseline import Loop
from scaling_laws.models import counts
from scaling_laws.models.build import build
from scaling_laws.models.objective import Objective
from scaling_laws.models.processor import prepare_processor, product_precision
from scaling_laws.tokens.reader import Batches, TokenStream
from scaling_laws.training.optim import optimizer
from scaling_laws.training.spec import RunSpec

TURNS = 5
SECONDS = 0.4  # of a turn, at least one step
TOKENS = 2**20
PRECISIONS = ("float32", "bfloat16")


class Cell(NamedTuple):
    """A model, a batch, and how many times the baseline's rate ours must reach."""

    n_layer: int
    d_model: int
    vocab_size: int
    n_ctx: int
    batch_sequences: int
    bar: float

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that both loops are given."""
        sizes = {key: value for key, value in self._asdict().items() if key != "bar"}
        return {**sizes, "n_head": max(1, self.d_model // 32)}


CELLS = (
    Cell(1, 8, 4096, 256, 16, 5),
    Cell(2, 32, 4096, 256, 16, 2.8),
    Cell(2, 64, 4096, 256, 16, 2.2),
    Cell(4, 128, 4096, 256, 16, 1.5),
    Cell(6, 256, 4096, 256, 8, 1.6),
    Cell(1, 8, 1024, 128, 16, 3.5),
    Cell(2, 32, 1024, 128, 16, 2.2),
    Cell(1, 8, 50257, 256, 4, 10),
    Cell(2, 64, 50257, 256, 4, 3.5),
    Cell(6, 256, 50257, 256, 4, 1.8),
)


def measure() -> list[Bar]:
    """Return the bars of all cells."""
    bars = []
    with TemporaryDirectory() as folder:
        baseline, *ours = (
            ProcessPoolExecutor(1, get_context("spawn")) for _ in range(1 + len(PRECISIONS))
        )
        peak = baseline.submit(_matrix_rate).result()
        for cell in CELLS:
            tokens = Path(folder) / f"{cell.vocab_size}.bin"
            if not tokens.exists():
                _write_tokens(tokens, cell.vocab_size)
            print(f"measuring {cell.sizes} ...", file=sys.stderr)
            baseline.submit(_prepare, _baseline_step, tokens, cell).result()
            for process, precision in zip(ours, PRECISIONS, strict=True):
                process.submit(_prepare, _our_step, tokens, cell, precision).result()
            turns = [
                [process.submit(_seconds).result() for process in (baseline, *ours)]
                for _ in range(TURNS)
            ]
            bars.append(_bar(cell, turns, peak))
        for process in (baseline, *ours):
            process.shutdown()
    return bars


def _bar(cell: Cell, turns: list[list[float]], peak: float) -> Bar:
    """Return the bar of a cell from the seconds of a step in each turn."""
    seconds = [median(column) for column in zip(*turns, strict=True)]
    float32, bfloat16 = (median(turn[0] / turn[column] for turn in turns) for column in (1, 2))
    tokens = cell.batch_sequences * cell.n_ctx
    rates = [f"{tokens / value:,.0f}" for value in seconds]
    flop = counts.training_flop_per_token(_spec(cell, "float32"), "full") * tokens / seconds[0]
    detail = (
        f"float32 {float32:.2f}, bfloat16 {bfloat16:.2f}: {rates[1]} and {rates[2]} of {rates[0]} "
        f"tokens/s, which are {flop / 1e9:.0f} GFLOP/s where a large product makes "
        f"{peak / 1e9:.0f}; {cell.batch_sequences} sequences a step"
    )
    what = (
        f"tokens per CPU second, of the plain loop's: ({cell.n_layer}, {cell.d_model}), "
        f"vocabulary {cell.vocab_size}, n_ctx {cell.n_ctx}"
    )
    best = max(float32, bfloat16)
    return Bar("train", what, best, f">= {cell.bar:g}", best >= cell.bar, detail)


# The rest runs in the processes that are measured. Each has one step at a time.
_step: Callable[[], None]
_steps_of_a_turn: int


def _prepare(
    make: Callable[..., Callable[[], None]], tokens: Path, cell: Cell, *options: str
) -> None:
    global _step, _steps_of_a_turn
    torch.set_num_threads(1)
    _step = make(tokens, cell, *options)
    _step()
    start = time.process_time()
    _step()
    _steps_of_a_turn = max(1, round(SECONDS / (time.process_time() - start)))


def _seconds() -> float:
    """Return the CPU seconds of one step, a mean over those of a turn."""
    start = time.process_time()
    for _ in range(_steps_of_a_turn):
        _step()
    return (time.process_time() - start) / _steps_of_a_turn


def _baseline_step(tokens: Path, cell: Cell) -> Callable[[], None]:
    return Loop(tokens, **cell.sizes).step


def _our_step(tokens: Path, cell: Cell, precision: str) -> Callable[[], None]:
    prepare_processor()
    spec = _spec(cell, precision)
    torch.manual_seed(spec.seed)
    model = build(spec)
    used = product_precision(spec.precision, torch.device("cpu"))
    objective = Objective(model, used == "bfloat16")
    update = optimizer(model, spec)
    batches = Batches(TokenStream(tokens), spec.n_ctx, spec.batch_sequences, spec.seed)
    done = 0

    def step() -> None:
        nonlocal done
        update.zero_grad()
        objective(torch.from_numpy(batches(done))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), spec.gradient_clip)
        update.step()
        done += 1

    return step


def _spec(cell: Cell, precision: str) -> RunSpec:
    return RunSpec(
        **cell.sizes,
        d_ff=4 * cell.d_model,
        data_tokens=TOKENS,
        steps=1000,
        beta1=0.9,
        beta2=0.95,
        weight_decay=0.1,
        gradient_clip=1.0,
        warmup_steps=0,
        lr=1e-3,
        precision=precision,
        evaluations=1,
        test_tokens=TOKENS,
    )


def _write_tokens(path: Path, vocab_size: int) -> None:
    """Write tokens that are as uneven as words are: the chance of each falls as 1 / its number."""
    chances = 1 / np.arange(1, vocab_size + 1)
    rng = np.random.default_rng(0)
    rng.choice(vocab_size, TOKENS, p=chances / chances.sum()).astype("<u2").tofile(path)
    facts = {"dtype": "uint16", "tokens": TOKENS, "vocab_size": vocab_size}
    path.with_suffix(".json").write_text(json.dumps(facts))
    table = pd.DataFrame({"doc_id": ["all"], "offset": [0], "tokens": [TOKENS]})
    table.to_parquet(path.with_suffix(".documents.parquet"))


def _matrix_rate() -> float:
    """Return the FLOP/s of a float32 product of 2,048 x 2,048 as PyTorch makes it by default."""
    torch.set_num_threads(1)
    a, b, out = (torch.rand(2048, 2048) for _ in range(3))
    seconds = []
    for _ in range(5):
        start = time.process_time()
        torch.mm(a, b, out=out)
        seconds.append(time.process_time() - start)
    return 2 * 2048**3 / min(seconds)


def main() -> int:
    """Measure all cells, report, and return the exit code."""
    return report.conclude(measure(), sys.argv[1:], "Training on one thread", ("torch",))


if __name__ == "__main__":
    sys.exit(main())
