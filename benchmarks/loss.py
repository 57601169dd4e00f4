"""Training step with our cross-entropy against the same step with PyTorch's, in one run.

Usage: python benchmarks/loss.py

Both steps have the model, the batch and the optimiser of the default configuration and one thread;
they differ in the loss alone. Repeats are interleaved, and CPU seconds are compared, so that other
work on the machine burdens both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from scaling_laws.config import validate
from scaling_laws.models.loss import mean_loss
from scaling_laws.models.transformer import Transformer
from scaling_laws.studies.grid import runs
from scaling_laws.training.loop import adamw, build

Loss = Callable[[Transformer, Tensor], Tensor]
REPEATS, STEPS = 7, 5


def ours(model: Transformer, batch: Tensor) -> Tensor:
    """Return the loss as training computes it."""
    hidden = model.hidden(batch[:, :-1]).flatten(0, 1)
    return mean_loss(hidden, model.head, batch[:, 1:].flatten())


def pytorchs(model: Transformer, batch: Tensor) -> Tensor:
    """Return the loss by way of all logits."""
    return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def seconds(
    model: Transformer, optimizer: torch.optim.Optimizer, batch: Tensor, loss: Loss
) -> float:
    """Return the CPU seconds of one training step, a mean over some."""
    start = time.process_time()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    return (time.process_time() - start) / STEPS


def main() -> None:
    """Print the CPU time of a step under both losses for every size of the default grid."""
    torch.set_num_threads(1)
    root = Path(__file__).parents[1]
    config = validate(yaml.safe_load((root / "config.yaml").read_text()))
    specs = {spec.N: spec for spec, studies in runs(config).values() if "model_size" in studies}
    table = Table("N", "ms a step, ours", "ms a step, PyTorch", "PyTorch / ours")
    for N, spec in sorted(specs.items()):
        model = build(spec)
        optimizer = adamw(model, spec)
        batch = torch.randint(spec.vocab_size, (spec.batch_sequences, spec.n_ctx + 1))

        step = partial(seconds, model, optimizer, batch)
        step(ours), step(pytorchs)  # warm up
        pairs = [(step(ours), step(pytorchs)) for _ in range(REPEATS)]
        fast, slow = (median(times) * 1e3 for times in zip(*pairs, strict=True))
        ratio = median(other / own for own, other in pairs)
        table.add_row(f"{N:,}", f"{fast:.1f}", f"{slow:.1f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
