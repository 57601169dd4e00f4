"""How fast this machine trains, from a few updates of models of many sizes."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from scaling_laws.config import Config, load
from scaling_laws.errors import InputError
from scaling_laws.models.architecture import Kind
from scaling_laws.models.build import build
from scaling_laws.models.device import device_name, found
from scaling_laws.models.objective import Objective
from scaling_laws.models.processor import prepare_processor, product_precision
from scaling_laws.output import atomic
from scaling_laws.progress import track
from scaling_laws.training.cost import fit_times, work
from scaling_laws.training.optim import optimizer
from scaling_laws.training.spec import RunSpec

# (n_layer, d_model, contexts in units of training.n_ctx, batches in those of batch_sequences)
TRANSFORMERS = (
    (0, 16, 1.0, 1.0),
    (1, 8, 1.0, 1.0),
    (2, 16, 1.0, 1.0),
    (2, 16, 1.0, 0.25),
    (2, 24, 1.0, 1.0),
    (2, 32, 2.0, 0.5),
    (3, 40, 1.0, 1.0),
    (3, 56, 1.0, 1.0),
    (4, 72, 1.0, 1.0),
    (4, 96, 1.0, 1.0),
    (2, 128, 0.5, 1.0),
    (6, 160, 1.0, 1.0),
    (6, 256, 1.0, 1.0),
    (12, 768, 1.0, 1.0),
    (24, 1024, 1.0, 1.0),
)
LSTMS = ((1, 16, 1.0, 1.0), (2, 32, 1.0, 1.0), (1, 64, 1.0, 1.0), (4, 64, 1.0, 0.5), (2, 128, 1, 1))
TURNS = 3
SHORTEST_TURN, LONGEST_STEP = 0.3, 1.0  # seconds


def calibrate(
    *,
    configfile: list[Path] | None = None,
    output: Path = Path("results/rates.json"),
    threads: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, object]:
    """Measure the updates of models of many sizes, for `scaling-laws plan --rates`.

    They have the vocabulary, context, batch and precision of the configuration. It takes a minute
    or two; other work on the machine meanwhile makes it look slower.

    Args:
        configfile: Overlay on config.yaml; may be given several times, the last one on top.
        output: JSON file of the times.
        threads: CPU threads of one run.
        device: What to measure; a GPU if there is one.
    """
    config = load(configfile or [])
    place = torch.device(found(device))
    torch.set_num_threads(threads)
    if place.type == "cpu":
        prepare_processor()
    shapes: dict[Kind, tuple[tuple[int, int, float, float], ...]] = {
        "transformer": TRANSFORMERS,
        "lstm": LSTMS,
    }
    times, errors = {}, []
    for kind, sizes in shapes.items():
        specs, seconds = [], []
        for shape in track(sizes, f"calibrate: {kind}s", len(sizes)):
            spec = _spec(config, kind, *shape)
            specs.append(spec)
            seconds.append(_seconds(spec, place))
            if seconds[-1] > LONGEST_STEP:
                break
        times[kind] = fit_times(specs, seconds)
        for spec, took in zip(specs, seconds, strict=True):
            errors.append(abs(float(work(spec) @ times[kind]) / took - 1))
    startup = _startup()
    facts = {
        "device": device_name(place),
        "machine": platform.machine(),
        "threads": threads,
        "torch": torch.__version__,
        "startup_seconds": startup,
        "times": times,
    }
    with atomic(output) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")
    return {
        "median error of the times": f"{median(errors):.1%}",
        "largest": f"{max(errors):.1%}",
        "startup_seconds": round(startup, 1),
    }


def _spec(
    config: Config, kind: Kind, n_layer: int, d_model: int, contexts: float, batches: float
) -> RunSpec:
    training = config.training
    n_ctx = max(1, int(training.n_ctx * contexts))
    recurrent = kind == "lstm"
    return RunSpec(
        architecture=kind,
        n_layer=n_layer,
        d_model=d_model,
        n_head=0 if recurrent else max(1, d_model // 32),
        d_ff=0 if recurrent else 4 * d_model,
        n_ctx=n_ctx,
        vocab_size=config.tokenizer.vocab_size,
        batch_sequences=max(1, int(training.batch_sequences * batches)),
        data_tokens=n_ctx + 1,
        steps=1,
        beta1=training.beta1,
        beta2=training.beta2,
        weight_decay=training.weight_decay,
        gradient_clip=training.gradient_clip,
        warmup_steps=0,
        lr=1e-3,
        precision=training.precision,
        evaluations=1,
        test_tokens=n_ctx + 1,
    )


def _seconds(spec: RunSpec, device: torch.device) -> float:
    """Return the seconds of one update, the median of some turns."""
    torch.manual_seed(0)
    model = build(spec).to(device)
    objective = Objective(model, product_precision(spec.precision, device) == "bfloat16")
    update = optimizer(model, spec)
    shape = (spec.batch_sequences, spec.n_ctx + 1)
    sequences = torch.randint(spec.vocab_size, shape).to(device)

    def turn(steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            update.zero_grad()
            loss = objective(sequences)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), spec.gradient_clip)
            update.step()
        loss.item()  # waits for the GPU
        return (time.perf_counter() - begin) / steps

    turn(1)
    once = turn(1)
    if once > LONGEST_STEP:
        return once
    steps = max(1, round(SHORTEST_TURN / once))
    return median(turn(steps) for _ in range(TURNS))


def _startup() -> float:
    """Return the seconds that a process takes until it can train."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", "import scaling_laws.training.loop"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{sys.executable}: cannot start training ({done.stderr.strip()})")
    return time.perf_counter() - begin
