"""The runs of every study, from the configuration alone.

Snakemake builds its graph from this, so it imports neither PyTorch nor pandas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from pydantic import ValidationError

from scaling_laws.config import Config, LearningRate, PeakRate, Shape, Training
from scaling_laws.errors import InputError
from scaling_laws.models.architecture import Architecture
from scaling_laws.models.counts import parameters
from scaling_laws.training.memory import fits, slots_of, training_memory
from scaling_laws.training.schedule import paper_peak, porian_peak
from scaling_laws.training.spec import RunSpec

ADAFACTOR_ABOVE = 1e9  # parameters in all (section 2.2)
DECAYING = ("cosine", "linear", "wsd")  # to training.final_lr


class Run(NamedTuple):
    """An entry of the run table.

    Attributes:
        spec: What the run is.
        studies: The studies that want it.
        gpus: GPUs that it is trained on; none for the CPU. Its result does not depend on them.
        sharded: Whether each of them holds a part of the weights only.
        slots: Slots that it takes of a GPU that it may share with other runs; all slots of several
            GPUs.
        nodes: Machines that the GPUs are in.
    """

    spec: RunSpec
    studies: list[str]
    gpus: int
    sharded: bool
    slots: int
    nodes: int

    @property
    def memory(self) -> int:
        """Bytes that training needs on each GPU, or on the CPU."""
        return sum(training_memory(self.spec, max(self.gpus, 1), self.sharded).values())

    @property
    def main_memory(self) -> int:
        """Bytes on the CPU of what a run on GPUs saves, and of the weights that it keeps."""
        whole = training_memory(self.spec)
        return 2 * whole["weights"] + whole["optimizer"]


def runs(config: Config) -> dict[str, Run]:
    """Return the run table by name of the run: those of all studies, each once.

    Raises:
        InputError: When a run that a study wants cannot be made.
    """
    table: dict[str, Run] = {}
    for study in config.studies:
        for run in runs_of(config, study):
            known = table.setdefault(run.spec.name, run)
            if study not in known.studies:
                known.studies.append(study)
    return table


def runs_of(config: Config, name: str) -> Iterator[Run]:
    """Yield the runs of a study: each shape with each combination of what it varies, each seed."""
    study = config.studies[name]
    varied = study.vary.model_dump(exclude_none=True)
    for place, shape in enumerate(study.shapes):
        for values in product(*varied.values()):
            settings = (
                config.training.model_dump()
                | study.training.model_dump(exclude_none=True)
                | shape.training.model_dump(exclude_none=True)
                | dict(zip(varied, values, strict=True))
            )
            try:
                training = Training.model_validate(settings)
                for seed in shape.seeds:
                    yield _run(config, name, shape, training, seed)
            except (ValidationError, InputError) as error:
                given = shape.model_dump_json(exclude_defaults=True)
                where = f"studies.{name}.shapes.{place} = {given}"
                raise InputError(f"config: {where}: {_reason(error)}") from None


def _run(config: Config, study: str, shape: Shape, training: Training, seed: int) -> Run:
    architecture = _architecture(config.tokenizer.vocab_size, shape, training)
    fields = architecture.model_dump() | _optimisation(training, architecture)
    spec = RunSpec.model_validate(fields | {"seed": seed})
    if config.evaluation.tokens <= spec.n_ctx:
        raise InputError(
            f"evaluation.tokens = {config.evaluation.tokens}: no sequence of n_ctx = {spec.n_ctx} "
            f"and a next token; expected {spec.n_ctx + 1} or more"
        )
    gpus = training.gpus
    spec.micro_batches_of(max(gpus, 1))
    sharded = gpus > 1 and not fits(spec, gpus, training.gpu_memory)
    hardware = config.hardware
    nodes = math.ceil(max(gpus, 1) / hardware.gpus_per_node)
    if nodes > 1 and gpus % hardware.gpus_per_node:
        raise InputError(
            f"training.gpus = {gpus}: on {nodes} machines of hardware.gpus_per_node = "
            f"{hardware.gpus_per_node}; expected a multiple of it"
        )
    slots = gpus * hardware.gpu_slots
    if gpus == 1:
        slots = slots_of(spec, training.gpu_memory, hardware.gpu_slots)
    return Run(spec, [study], gpus, sharded, slots, nodes)


def _architecture(vocab_size: int, shape: Shape, training: Training) -> Architecture:
    recurrent = shape.architecture == "lstm"
    return Architecture.model_validate(
        {
            "architecture": shape.architecture,
            "n_layer": shape.n_layer,
            "d_model": shape.d_model,
            "n_head": shape.n_head or 0,
            "d_ff": shape.d_ff or (0 if recurrent else 4 * shape.d_model),
            "n_ctx": training.n_ctx,
            "vocab_size": vocab_size,
            "reuse": shape.reuse,
            "tied_head": training.tied_head,
            "dropout": training.dropout,
        }
    )


def _optimisation(training: Training, architecture: Architecture) -> dict[str, object]:
    """Return the fields of a spec that say how its model is trained."""
    # Without layers there is no N to take a rate, a warm-up or a budget from: one layer lends it.
    layers = max(architecture.n_layer, 1)
    sized = architecture.model_copy(update={"n_layer": layers})
    N = parameters(sized, "non_embedding")
    steps, warmup_steps = training.steps(N), training.warmup_steps(N)
    batch_tokens = training.batch_sequences * training.n_ctx
    if steps == 0:
        raise InputError(
            f"training.tokens = {training.tokens}: less than a batch of {batch_tokens} for N = {N}"
        )
    if warmup_steps > steps:
        raise InputError(
            f"training.warmup = {training.warmup}: {warmup_steps:.6g} steps, and the run has "
            f"{steps}"
        )
    lr = _peak_rate(training.learning_rate, sized)
    large = parameters(architecture, "total") > ADAFACTOR_ABOVE
    automatic = "adafactor" if large else "adamw"
    return {
        "data_tokens": training.data_tokens or steps * batch_tokens + 1,
        "batch_sequences": training.batch_sequences,
        "micro_batches": min(training.micro_batches, training.batch_sequences),
        "steps": steps,
        "optimizer": automatic if training.optimizer == "auto" else training.optimizer,
        "beta1": training.beta1,
        "beta2": training.beta2,
        "weight_decay": training.weight_decay,
        "gradient_clip": training.gradient_clip,
        "schedule": training.schedule,
        "warmup_steps": warmup_steps,
        "decay_steps": round(training.decay * steps) if training.schedule == "wsd" else 0,
        "lr": lr,
        "final_lr": training.final_lr * lr if training.schedule in DECAYING else 0.0,
        "precision": training.precision,
        "evaluations": training.evaluations,
        "test_tokens": training.test_tokens,
        "patience": training.patience,
        "snapshots": training.snapshots,
    }


def _peak_rate(rule: PeakRate, model: Architecture) -> float:
    """Return the peak learning rate of a model, that of a rule to four significant digits."""
    if isinstance(rule, float):
        return rule
    N = parameters(model, "non_embedding")
    if isinstance(rule, LearningRate):
        rate = rule(N)
    elif rule == "porian":
        rate = porian_peak(parameters(model, "with_head"))
    else:
        rate = paper_peak(N)
    if not 0 < rate < math.inf:
        raise InputError(
            f"learning_rate = {rule}: {rate:.2g} for N = {N}; expected a rule that gives a rate "
            "above 0, or a number"
        )
    return float(f"{rate:.4g}")


def _reason(error: ValidationError | InputError) -> str:
    if isinstance(error, InputError):
        return str(error)
    return "; ".join(
        ": ".join([*map(str, fault["loc"]), fault["msg"].removeprefix("Value error, ")])
        for fault in error.errors()
    )
