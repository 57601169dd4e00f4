"""The training of one run, and its learning curve (paper, section 2.2)."""

from __future__ import annotations

import copy
import json
import math
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from scaling_laws.errors import InputError
from scaling_laws.models.loss import mean_loss, mean_over_sequences, sequence_losses
from scaling_laws.models.transformer import Transformer
from scaling_laws.output import atomic
from scaling_laws.progress import track
from scaling_laws.tables import write_table
from scaling_laws.tokens.reader import Batches, TokenStream
from scaling_laws.training.schedule import learning_rate
from scaling_laws.training.spec import RunSpec

Outcome = Literal["finished", "early_stopped", "diverged"]


@dataclass
class Point:
    """One row of a learning curve; losses in nats per token, after `step` updates."""

    step: int
    tokens: int
    lr: float
    train_loss: float
    test_loss: float
    test_loss_se: float
    grad_sq_small: float
    grad_sq_big: float
    seconds: float


def train(
    *,
    spec: RunSpec,
    tokens: Path,
    test: Path,
    curve: Path,
    model: Path,
    run: Path,
    snapshots: Path,
    threads: int = 1,
) -> dict[str, object]:
    """Train one model and write its curve and weights.

    The kept weights are those of the best test loss where the run may stop early, else the last.
    A run whose loss is no longer finite, or above that of a uniform guess by half, ends as
    `diverged`, with the curve up to there and the weights of the last sound evaluation.

    Args:
        spec: The run, as JSON.
        tokens: Token file of the training split.
        test: Token file of the test split.
        curve: Parquet file of the learning curve.
        model: Weights as safetensors.
        run: JSON file of the spec, the counts, the outcome and the versions of what made it.
        snapshots: Folder of the weights kept along the run, one file a step.
        threads: CPU threads.

    Raises:
        InputError: When the token files do not fit the spec.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(spec.seed)
    network = build(spec)
    stream = TokenStream(tokens, spec.data_tokens, spec.data_seed)
    held_out = TokenStream(test, spec.test_tokens)
    for opened, path in ((stream, tokens), (held_out, test)):
        if opened.vocab_size != spec.vocab_size:
            raise InputError(
                f"{path}: encoded with {opened.vocab_size} entries, the run has {spec.vocab_size}"
            )
    batches = Batches(stream, spec.n_ctx, spec.batch_sequences, spec.seed)
    test_sequences = torch.from_numpy(held_out.sequences(spec.n_ctx))
    optimizer = adamw(network, spec)
    evaluate_at, keep_at = set(spec.evaluation_steps()), set(spec.snapshot_steps())
    snapshots.mkdir(parents=True, exist_ok=True)

    points: list[Point] = []
    best: Point | None = None
    weights = copy.deepcopy(network.state_dict())
    outcome: Outcome = "finished"
    # A guess that gives every token the same chance costs ln(vocabulary).
    hopeless = 1.5 * math.log(spec.vocab_size)
    losses: list[Tensor] = []
    started = time.perf_counter()
    network.train()
    for step in track(range(spec.steps), f"{spec.name}: steps", spec.steps):
        rate = learning_rate(step, peak=spec.lr, warmup_steps=spec.warmup_steps, steps=spec.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = torch.from_numpy(batches(step))
        hidden = network.hidden(batch[:, :-1]).flatten(0, 1)
        loss = mean_loss(hidden, network.head, batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), spec.gradient_clip)
        optimizer.step()
        losses.append(loss.detach())
        done = step + 1
        if done not in evaluate_at:
            continue

        test_loss, standard_error = mean_over_sequences(sequence_losses(network, test_sequences))
        train_loss = float(torch.stack(losses).mean())
        losses.clear()
        point = Point(
            step=done,
            tokens=done * spec.batch_tokens,
            lr=rate,
            train_loss=train_loss,
            test_loss=test_loss,
            test_loss_se=standard_error,
            grad_sq_small=math.nan,  # one gradient a step: no smaller batch to compare with
            grad_sq_big=float(norm) ** 2,
            seconds=time.perf_counter() - started,
        )
        points.append(point)
        if not max(train_loss, test_loss) < hopeless:
            outcome = "diverged"
            break
        if spec.patience is None or best is None or test_loss < best.test_loss:
            weights = copy.deepcopy(network.state_dict())
        if best is None or test_loss < best.test_loss:
            best = point
        if done in keep_at:
            with atomic(snapshots / f"{done:08d}.safetensors") as partial:
                save_file(network.state_dict(), partial)
        since = sum(later.step > best.step for later in points)
        if spec.patience is not None and since >= spec.patience:
            outcome = "early_stopped"
            break

    write_table(pd.DataFrame(map(asdict, points)), curve)
    with atomic(model) as partial:
        save_file(weights, partial)
    last = points[-1]
    kept = best if spec.patience is not None and best else last
    facts = {
        "run": spec.name,
        "spec": spec.model_dump(mode="json"),
        "N": spec.N,
        "N_total": spec.N_total,
        "outcome": outcome,
        "step": kept.step,
        "steps": last.step,
        "tokens": last.tokens,
        "test_loss": last.test_loss if math.isfinite(last.test_loss) else None,
        "best_test_loss": best.test_loss if best else None,
        "best_step": best.step if best else None,
        "seconds": last.seconds,
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    with atomic(run) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")
    return {
        key: facts[key]
        for key in ("run", "outcome", "steps", "test_loss", "best_test_loss", "seconds")
    }


def build(spec: RunSpec) -> Transformer:
    """Return the untrained model of a spec."""
    return Transformer(
        n_layer=spec.n_layer,
        d_model=spec.d_model,
        n_head=spec.n_head,
        d_ff=spec.d_ff,
        n_ctx=spec.n_ctx,
        vocab_size=spec.vocab_size,
        dropout=spec.dropout,
    )


def adamw(model: torch.nn.Module, spec: RunSpec) -> torch.optim.AdamW:
    """Return AdamW with weight decay on the matrices, not on biases and norms."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=spec.lr, betas=(spec.beta1, spec.beta2), fused=True)
