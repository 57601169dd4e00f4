"""The training of one run, and its learning curve (paper, section 2.2)."""

from __future__ import annotations

import json
import logging
import math
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from scaling_laws.errors import InputError
from scaling_laws.models.build import build
from scaling_laws.models.device import device_name
from scaling_laws.models.objective import Objective, mean_over_sequences, sequence_losses
from scaling_laws.models.processor import prepare_processor, product_precision
from scaling_laws.output import atomic
from scaling_laws.progress import track
from scaling_laws.tables import write_table
from scaling_laws.tokens.reader import Batches, TokenStream
from scaling_laws.tokens.scratch import expanded
from scaling_laws.training import checkpoint
from scaling_laws.training.distributed import World, full, restore_state, whole_state, world
from scaling_laws.training.noise_scale import SquaredNorms
from scaling_laws.training.optim import optimizer
from scaling_laws.training.schedule import learning_rate
from scaling_laws.training.spec import TRAINING_VERSION, RunSpec

log = logging.getLogger(__name__)

Outcome = Literal["finished", "early_stopped", "diverged"]
STATE, CURVE = "state.pt", "curve.csv"  # in the folder of checkpoints
STEPS_BETWEEN_CHECKS = 64  # on a GPU: reading a loss waits for all that is under way


@dataclass
class Point:
    """One row of a learning curve; losses in nats per token, after `step` updates.

    Training loss and squared norms are means over the updates since the point before. The small
    gradients are those of micro-batches of `grad_tokens_small` tokens, absent where a batch is one.
    """

    step: int
    tokens: int
    lr: float
    train_loss: float
    test_loss: float
    test_loss_se: float
    grad_sq_small: float
    grad_sq_big: float
    grad_tokens_small: int
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
    checkpoints: Path,
    threads: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    compiled: bool = False,
    sharded: bool = False,
    checkpoint_minutes: float = 10.0,
    scratch: str | None = None,
) -> dict[str, object]:
    """Train one model and write its curve and weights.

    The kept weights are those of the best test loss where the run may stop early, else the last.
    A run whose loss is no longer finite, or above that of a uniform guess by half, ends as
    `diverged`, with the curve up to there and the weights of the last sound evaluation.

    A run that is killed goes on from its last checkpoint when the same command is given again, and
    ends as if it had never stopped. On SIGTERM and Ctrl-C it ends the step under way and saves; its
    exit code is then 75, which asks a scheduler to queue it again, or 130.

    Under torchrun the processes share the work. Each of them needs these very options.

    Args:
        spec: The run, as JSON.
        tokens: Token file of the training split.
        test: Token file of the test split.
        curve: Parquet file of the learning curve.
        model: Weights as safetensors.
        run: JSON file of the spec, the counts, the outcome and the versions of what made it.
        snapshots: Folder of the weights kept along the run, one file a step.
        checkpoints: Folder of what an interrupted run goes on from, and of its `curve.csv` so
            far; removed when it is done.
        threads: CPU threads.
        device: Where to compute; a GPU if there is one.
        compiled: Compile the model; for GPUs.
        sharded: Give each process a part of the weights, for models that one GPU does not hold.
        checkpoint_minutes: Time from one checkpoint to the next.
        scratch: Folder on this machine's own disk, to which a training split that is too large to
            be held in memory is copied, once for all jobs; $VARIABLES of the environment in it are
            replaced by their values.

    Raises:
        InputError: When the token files do not fit the spec, a checkpoint is damaged or not of this
            run, or a variable is not set.
    """
    if spec.training_version != TRAINING_VERSION:
        raise InputError(
            f"--spec: training_version = {spec.training_version}; this code trains as of "
            f"{TRAINING_VERSION}"
        )
    torch.set_num_threads(threads)
    near = expanded(scratch) if scratch else None
    stream = TokenStream(tokens, spec.data_tokens, spec.data_seed, near)
    held_out = TokenStream(test)
    for opened, path in ((stream, tokens), (held_out, test)):
        if opened.vocab_size != spec.vocab_size:
            raise InputError(
                f"{path}: encoded with {opened.vocab_size} entries, the run has {spec.vocab_size}"
            )
    if held_out.length < spec.test_tokens:
        raise InputError(
            f"{test}: {spec.test_tokens} tokens wanted, the split has {held_out.length}; lower "
            "training.test_tokens or hold out more"
        )
    identity = {**spec.model_dump(mode="json"), "tokens": stream.facts, "test": held_out.facts}
    with world(device, sharded) as here, checkpoint.deferred_signals() as signals:
        if here.device.type == "cpu":
            prepare_processor()
        training = Training(spec, stream, held_out, here, checkpoints / "snapshots", compiled)
        if state := checkpoint.load(checkpoints / STATE, identity):
            training.restore(state)
            log.info("%s: goes on at step %d of %d", spec.name, training.step, spec.steps)
        del state  # not held beside the next one
        saved, shown = time.monotonic(), 0
        for _ in track(training.advance(), f"{spec.name}: steps", spec.steps, training.step):
            if here.rank == 0 and len(training.points) > shown:
                # As text, which is read in one piece: it may be replaced while somebody reads.
                with atomic(checkpoints / CURVE) as partial:
                    training.curve().to_csv(partial, index=False)
                shown = len(training.points)
            stop = here.any(signals.received is not None)
            if stop or here.any(time.monotonic() - saved >= 60 * checkpoint_minutes):
                state = training.state()
                if here.rank == 0:
                    checkpoint.save(state, checkpoints / STATE, identity)
                del state
                saved = time.monotonic()
            if stop:
                log.info("%s: stopped at step %d and saved", spec.name, training.step)
                raise SystemExit(signals.exit_code)
        if here.rank == 0:
            facts = training.facts() | {"threads": threads}
            write_table(training.curve(), curve)
            with atomic(model) as partial:
                save_file(training.kept, partial)
            _copy(training.snapshots, snapshots)
            with atomic(run) as partial:
                partial.write_text(json.dumps(facts, indent=2) + "\n")
            shutil.rmtree(checkpoints, ignore_errors=True)
            said = ("run", "outcome", "step", "steps", "test_loss", "best_test_loss", "seconds")
            return {key: facts[key] for key in said}
    return {}


class Training:
    """A run on its way.

    Attributes:
        step: Updates so far.
        points: The learning curve so far.
        best: The point of the lowest test loss.
        kept: The weights that are kept, on the CPU.
        outcome: How the run has ended, None before.
        snapshots: Folder of the weights kept along the run.
    """

    def __init__(
        self,
        spec: RunSpec,
        stream: TokenStream,
        held_out: TokenStream,
        here: World,
        snapshots: Path,
        compiled: bool,
    ) -> None:
        """Set up the run before its first step."""
        self._spec, self._here, self.snapshots = spec, here, snapshots
        self._parts = spec.micro_batches_of(here.size)
        torch.manual_seed(spec.seed)
        self._model = build(spec).to(here.device)
        self._precision = product_precision(spec.precision, here.device)
        self._module = here.parallel(Objective(self._model, self._precision == "bfloat16"))
        if compiled:
            for block in getattr(self._model, "blocks", ()):  # alike, so compiled once
                block.compile()
        self._optimizer = optimizer(self._model, spec)
        several = self._parts * here.size > 1 and not here.sharded
        self._norms = SquaredNorms(self._model) if several else None
        self._batches = Batches(stream, spec.n_ctx, spec.batch_sequences, spec.seed)
        self._test = torch.from_numpy(held_out.spread(spec.test_tokens, spec.n_ctx))
        self._evaluate_at = set(spec.evaluation_steps())
        self._keep_at = set(spec.snapshot_steps())
        # A guess that gives every token the same chance costs ln(vocabulary).
        self._hopeless = 1.5 * math.log(spec.vocab_size)
        self._seconds, self._started = 0.0, time.perf_counter()
        # Sums over the updates since the last point: loss, squared small and big gradient norms.
        self._sums = torch.zeros(3, dtype=torch.float64, device=here.device)
        self._summed = 0

        self.step = 0
        self.points: list[Point] = []
        self.best: Point | None = None
        self.kept = here.weights(self._model)
        self.outcome: Outcome | None = None

    def advance(self) -> Iterator[int]:
        """Yield the number of updates after each one, until the run has ended."""
        self._module.train()
        between = STEPS_BETWEEN_CHECKS if self._here.device.type == "cuda" else 1
        while self.outcome is None:
            rate = learning_rate(self.step, self._spec)
            self._update(rate)
            lost = self.step % between == 0 and not math.isfinite(self._sums[0])
            if lost or self.step in self._evaluate_at:
                self._evaluate(rate)
            yield self.step

    def curve(self) -> pd.DataFrame:
        """Return the learning curve so far, a row a point."""
        return pd.DataFrame(map(asdict, self.points))

    def _update(self, rate: float) -> None:
        """Make one parameter update at a learning rate."""
        spec, here = self._spec, self._here
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        batch = here.share(torch.from_numpy(self._batches(self.step))).to(here.device)
        sums = []
        for number, part in enumerate(batch.chunk(self._parts)):
            if spec.dropout:
                # Not drawn from what came before: a resumed run, and one on more processes, draws
                # the same.
                place = here.rank * self._parts + number
                key = np.random.SeedSequence([spec.seed, self.step, place])
                torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))
            with here.accumulation(self._module, last=number == self._parts - 1):
                loss = self._module(part)
                (loss / self._parts if self._parts > 1 else loss).backward()
            squared = (
                self._norms.take() * self._parts**2 if self._norms else loss.new_tensor(math.nan)
            )
            sums.append(torch.stack([loss.detach(), squared]))
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), spec.gradient_clip)
        self._optimizer.step()
        self._sums[:2] += torch.stack(sums).mean(0)
        self._sums[2] += full(norm).square()
        self._summed += 1
        self.step += 1

    def _evaluate(self, rate: float) -> None:
        """Add a point to the curve, and decide what follows from it."""
        spec, here = self._spec, self._here
        train_loss, small, big = (here.mean(self._sums) / self._summed).tolist()
        self._sums.zero_()
        self._summed = 0
        test_loss, standard_error = mean_over_sequences(self._test_losses())
        point = Point(
            step=self.step,
            tokens=self.step * spec.batch_tokens,
            lr=rate,
            train_loss=train_loss,
            test_loss=test_loss,
            test_loss_se=standard_error,
            grad_sq_small=small,
            grad_sq_big=big,
            grad_tokens_small=spec.batch_tokens // (self._parts * here.size),
            seconds=self._elapsed(),
        )
        self.points.append(point)
        if not max(train_loss, test_loss) < self._hopeless:
            self.outcome = "diverged"
            return
        better = self.best is None or test_loss < self.best.test_loss
        if better:
            self.best = point
        keep = self.step in self._keep_at
        if better or keep or spec.patience is None:
            weights = here.weights(self._model)
            if better or spec.patience is None:
                self.kept = weights
            if keep and here.rank == 0:
                with atomic(self.snapshots / f"{self.step:08d}.safetensors") as partial:
                    save_file(weights, partial)
        if self.step == spec.steps:
            self.outcome = "finished"
        elif spec.patience is not None and self._since_best() >= spec.patience:
            self.outcome = "early_stopped"

    def _test_losses(self) -> Tensor:
        """Return the loss of every token of the test sequences, shape (sequences, n_ctx)."""
        short = -len(self._test) % self._here.size
        rows = torch.cat([self._test, self._test[:short]])  # as many for every process
        losses = sequence_losses(self._module, self._here.share(rows).to(self._here.device))
        return self._here.gather(losses)[: len(self._test)].cpu()

    def _since_best(self) -> int:
        """Return the number of evaluations without a better test loss."""
        assert self.best
        return sum(point.step > self.best.step for point in self.points)

    def _elapsed(self) -> float:
        return self._seconds + time.perf_counter() - self._started

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs; whole on the first process."""
        weights, optimizer_state = whole_state(self._model, self._optimizer)
        return {
            "model": weights,
            "optimizer": optimizer_state,
            "step": self.step,
            "points": [asdict(point) for point in self.points],
            "best": asdict(self.best) if self.best else None,
            "kept": self.kept,
            "outcome": self.outcome,
            "sums": self._sums,
            "summed": self._summed,
            "seconds": self._elapsed(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        restore_state(self._model, self._optimizer, state["model"], state["optimizer"])
        self.step, self.outcome = state["step"], state["outcome"]
        # Not as a part of the file, which would be in use when it is removed.
        self.kept = {name: value.clone() for name, value in state["kept"].items()}
        self.points = [Point(**point) for point in state["points"]]
        self.best = Point(**state["best"]) if state["best"] else None
        self._sums.copy_(state["sums"])
        self._summed, self._seconds = state["summed"], state["seconds"]

    def facts(self) -> dict[str, Any]:
        """Return what is told of a run that has ended."""
        spec, best, last = self._spec, self.best, self.points[-1]
        kept = best if spec.patience is not None and best else last
        return {
            "run": spec.name,
            "spec": spec.model_dump(mode="json"),
            "N": spec.N,
            "N_total": spec.N_total,
            "outcome": self.outcome,
            "step": kept.step,
            "steps": last.step,
            "tokens": last.tokens,
            "test_loss": last.test_loss if math.isfinite(last.test_loss) else None,
            "best_test_loss": best.test_loss if best else None,
            "best_step": best.step if best else None,
            "seconds": last.seconds,
            "processes": self._here.size,
            "device": device_name(self._here.device),
            "precision": self._precision,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }


def _copy(folder: Path, output: Path) -> None:
    """Make `output` a copy of a folder, empty if there is none, whole or not at all."""
    shutil.rmtree(output, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(output) as partial:
        shutil.copytree(folder, partial)
