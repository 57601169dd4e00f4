"""The runs of every study, from the configuration alone.

Snakemake builds its graph from this, so it imports neither PyTorch nor pandas.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product

from scaling_laws.config import Config, LearningRate, Shape
from scaling_laws.models.counts import non_embedding_parameters
from scaling_laws.training.spec import RunSpec


def runs(config: Config) -> dict[str, tuple[RunSpec, list[str]]]:
    """Return the run table: name of the run, its spec, and the studies that want it."""
    specs: dict[str, RunSpec] = {}
    studies: dict[str, list[str]] = defaultdict(list)
    for study, yield_specs in STUDIES.items():
        for spec in yield_specs(config):
            specs[spec.name] = spec
            if study not in studies[spec.name]:
                studies[spec.name].append(study)
    return {name: (spec, studies[name]) for name, spec in specs.items()}


def model_size(config: Config) -> Iterator[RunSpec]:
    """Yield runs of growing size that see no token twice: L(N) and L(C) (section 3.2)."""
    study = config.studies.model_size
    if study is None:
        return
    largest = max(study.shapes, key=lambda shape: _N(shape))
    for shape in study.shapes:
        for seed in shape.seeds:
            yield _spec(
                config,
                shape,
                study.learning_rate,
                dropout=config.training.dropout,
                data_tokens=config.training.tokens,
                evaluations=config.training.evaluations,
                snapshots=study.snapshots if shape is largest and seed == shape.seeds[0] else 0,
                seed=seed,
            )


def data_size(config: Config) -> Iterator[RunSpec]:
    """Yield runs on nested subsets with dropout and early stopping: L(D), L(N, D) (section 4.2)."""
    study = config.studies.data_size
    if study is None:
        return
    for shape in study.shapes:
        for subset, seed in product(study.subsets, shape.seeds):
            yield _spec(
                config,
                shape,
                study.learning_rate,
                dropout=study.dropout,
                data_tokens=subset,
                evaluations=study.evaluations,
                patience=study.patience,
                seed=seed,
            )


STUDIES = {"model_size": model_size, "data_size": data_size}


def _spec(
    config: Config, shape: Shape, rule: LearningRate | None, **particulars: object
) -> RunSpec:
    """Return the spec of one run: what all runs share, and the particulars of its study."""
    common = config.training
    steps = common.tokens // (common.batch_sequences * common.n_ctx)
    return RunSpec.model_validate(
        {
            "n_layer": shape.n_layer,
            "d_model": shape.d_model,
            "n_head": shape.n_head,
            "d_ff": _d_ff(shape),
            "n_ctx": common.n_ctx,
            "vocab_size": config.tokenizer.vocab_size,
            "batch_sequences": common.batch_sequences,
            "steps": steps,
            "beta1": common.beta1,
            "beta2": common.beta2,
            "weight_decay": common.weight_decay,
            "gradient_clip": common.gradient_clip,
            "warmup_steps": round(common.warmup_fraction * steps),
            "lr": (rule or common.learning_rate)(_N(shape)),
            "test_tokens": common.test_tokens,
            **particulars,
        }
    )


def _N(shape: Shape) -> int:
    return non_embedding_parameters(shape.n_layer, shape.d_model, _d_ff(shape))


def _d_ff(shape: Shape) -> int:
    return shape.d_ff or 4 * shape.d_model
