"""What rounding to bfloat16 in training changes, beside what another seed changes.

Usage: python benchmarks/precision.py TOKENS

TOKENS is a folder of token files, such as results/tokens. One model is trained with some seeds,
with each precision of the matrix products; a processor without instructions for bfloat16 emulates
it here, so the digits are those of one that has them. Prints the last test losses, which are always
evaluated in float32. Exit code 1 when the precisions differ by more than the seeds do.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from unittest.mock import patch

from scaling_laws.training import loop
from scaling_laws.training.spec import RunSpec

SEEDS = range(4)
STEPS = 600
SPEC = {
    "n_layer": 2,
    "d_model": 32,
    "n_head": 2,
    "d_ff": 128,
    "n_ctx": 128,
    "batch_sequences": 16,
    "data_tokens": STEPS * 16 * 128 + 1,
    "steps": STEPS,
    "beta1": 0.9,
    "beta2": 0.95,
    "weight_decay": 0.1,
    "gradient_clip": 1.0,
    "warmup_steps": STEPS // 10,
    "lr": 0.01,
    "evaluations": 2,
    "test_tokens": 65536,
}


def loss(tokens: Path, precision: str, seed: int) -> float:
    """Return the last test loss in nats of a run."""
    facts = json.loads((tokens / "train.json").read_text())
    spec = RunSpec(**SPEC, vocab_size=facts["vocab_size"], precision=precision, seed=seed)
    names = ("curve", "model", "run", "snapshots", "checkpoints")
    # What is trained must round as it was asked to, whatever this processor does well.
    with TemporaryDirectory() as folder, patch.object(loop, "product_precision", _as_wanted):
        found = loop.train(
            spec=spec,
            tokens=tokens / "train.bin",
            test=tokens / "test.bin",
            device="cpu",
            **{name: Path(folder, name) for name in names},
        )
    return float(found["test_loss"])


def _as_wanted(wanted: str, _: object) -> str:
    return wanted


def main() -> int:
    """Train, print, and return the exit code."""
    tokens = Path(sys.argv[1])
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        waiting = {
            (precision, seed): processes.submit(loss, tokens, precision, seed)
            for precision in ("float32", "bfloat16")
            for seed in SEEDS
        }
        losses = {key: future.result() for key, future in waiting.items()}
    exact, rounded = ([losses[name, seed] for seed in SEEDS] for name in ("float32", "bfloat16"))
    for seed in SEEDS:
        print(f"seed {seed}: float32 {exact[seed]:.4f}, bfloat16 {rounded[seed]:.4f} nats")
    shift = mean(rounded) - mean(exact)
    print(f"bfloat16 - float32, mean: {shift:+.4f} nats")
    print(f"standard deviation over seeds, float32: {stdev(exact):.4f} nats")
    return 0 if abs(shift) < stdev(exact) else 1


if __name__ == "__main__":
    sys.exit(main())
