"""The runs of every study, from the configuration alone.

Snakemake builds its graph from this, so it imports neither PyTorch nor pandas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from pydantic import ValidationError

from scaling_laws.config import Config, DataSize, LearningRate, ModelSize, PeakRate, Shape, Training
from scaling_laws.errors import InputError
from scaling_laws.models.architecture import Architecture
from scaling_laws.models.counts import parameters
from scaling_laws.training.memory import fits, training_memory
from scaling_laws.training.schedule import paper_peak, porian_peak
from scaling_laws.training.spec import RunSpec

ADAFACTOR_ABOVE = 1e9  # parameters in all (section 2.2)


class Run(NamedTuple):
    """An entry of the run table.

    Attributes:
        spec: What the run is.
        studies: The studies that want it.
        gpus: GPUs that it is trained on; none for the CPU. Its result does not depend on them.
        sharded: Whether each of them holds a part of the weights only.
    """

    spec: RunSpec
    studies: list[str]
    gpus: int
    sharded: bool

    @property
    def memory(self) -> int:
        """Bytes that training needs on each GPU, or on the CPU."""
        return sum(training_memory(self.spec, max(self.gpus, 1), self.sharded).values())


def runs(config: Config) -> dict[str, Run]:
    """Return the run table by name of the run: those of all studies, each once."""
    table: dict[str, Run] = {}
    for study, yield_runs in STUDIES.items():
        for run in yield_runs(config):
            known = table.setdefault(run.spec.name, run)
            if study not in known.studies:
                known.studies.append(study)
    return table


def model_size(config: Config) -> Iterator[Run]:
    """Yield runs of growing size on as much data as there is: L(N), L(C) (section 3.2)."""
    study = config.studies.model_size
    if study is None:
        return
    wanted = [
        _run(
            config,
            "model_size",
            place,
            dropout=config.training.dropout,
            data_tokens=study.data_tokens or config.training.tokens,
            evaluations=config.training.evaluations,
            seed=seed,
        )
        for place, shape in enumerate(study.shapes)
        for seed in shape.seeds
    ]
    largest = max((run.spec for run in wanted), key=lambda spec: spec.N)
    for run in wanted:
        kept = study.snapshots if run.spec == largest else 0
        yield run._replace(spec=run.spec.model_copy(update={"snapshots": kept}))


def data_size(config: Config) -> Iterator[Run]:
    """Yield runs on nested subsets with dropout and early stopping: L(D), L(N, D) (section 4.2)."""
    study = config.studies.data_size
    if study is None:
        return
    for place, shape in enumerate(study.shapes):
        for subset, seed in product(study.subsets, shape.seeds):
            yield _run(
                config,
                "data_size",
                place,
                dropout=study.dropout,
                data_tokens=subset,
                evaluations=study.evaluations,
                patience=study.patience,
                seed=seed,
            )


STUDIES = {"model_size": model_size, "data_size": data_size}


def _run(config: Config, name: str, place: int, *, dropout: float, **particulars: object) -> Run:
    """Return one run: what all runs share, and the particulars of its study.

    Args:
        config: The configuration.
        name: Name of the study.
        place: Place of the run's shape among those of the study.
        dropout: Dropout probability.
        **particulars: Further fields of the spec that the study sets.

    Raises:
        InputError: When no such run can be made.
    """
    study: ModelSize | DataSize = getattr(config.studies, name)
    shape = study.shapes[place]
    try:
        architecture = _architecture(config, shape, dropout)
        fields = _optimisation(config.training, study.learning_rate, architecture)
        spec = RunSpec.model_validate(architecture.model_dump() | fields | particulars)
        gpus = config.training.gpus if shape.gpus is None else shape.gpus
        spec.micro_batches_of(max(gpus, 1))
        sharded = gpus > 1 and not fits(spec, gpus, config.training.gpu_memory)
        return Run(spec, [name], gpus, sharded)
    except (ValidationError, InputError) as error:
        where = f"studies.{name}.shapes.{place} = {shape.model_dump_json(exclude_defaults=True)}"
        raise InputError(f"config: {where}: {_reason(error)}") from None


def _architecture(config: Config, shape: Shape, dropout: float) -> Architecture:
    recurrent = shape.architecture == "lstm"
    return Architecture.model_validate(
        {
            "architecture": shape.architecture,
            "n_layer": shape.n_layer,
            "d_model": shape.d_model,
            "n_head": shape.n_head or 0,
            "d_ff": shape.d_ff or (0 if recurrent else 4 * shape.d_model),
            "n_ctx": config.training.n_ctx,
            "vocab_size": config.tokenizer.vocab_size,
            "reuse": shape.reuse,
            "tied_head": config.training.tied_head,
            "dropout": dropout,
        }
    )


def _optimisation(
    common: Training, rule: PeakRate | None, architecture: Architecture
) -> dict[str, object]:
    """Return the fields of a spec that say how its model is trained."""
    # Without layers there is no N to take a rate or a warm-up from: one layer lends it.
    layers = max(architecture.n_layer, 1)
    sized = architecture.model_copy(update={"n_layer": layers})
    warmup_steps = common.warmup_steps(parameters(sized, "non_embedding"))
    if warmup_steps > common.steps:
        raise InputError(
            f"training.warmup = {common.warmup}: {warmup_steps:.6g} steps, and the run has "
            f"{common.steps}"
        )
    lr = _peak_rate(rule or common.learning_rate, sized)
    large = parameters(architecture, "total") > ADAFACTOR_ABOVE
    automatic = "adafactor" if large else "adamw"
    return {
        "batch_sequences": common.batch_sequences,
        "micro_batches": common.micro_batches,
        "steps": common.steps,
        "optimizer": automatic if common.optimizer == "auto" else common.optimizer,
        "beta1": common.beta1,
        "beta2": common.beta2,
        "weight_decay": common.weight_decay,
        "gradient_clip": common.gradient_clip,
        "schedule": common.schedule,
        "warmup_steps": warmup_steps,
        "decay_steps": round(common.decay * common.steps) if common.schedule == "wsd" else 0,
        "lr": lr,
        "final_lr": common.final_lr * lr,
        "precision": common.precision,
        "test_tokens": common.test_tokens,
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
