"""What one run is: everything its result depends on, beside the tokens."""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from scaling_laws.errors import InputError
from scaling_laws.models import counts
from scaling_laws.models.architecture import Architecture, Count, Natural

# Raised when the same spec would give another result. An edit of the code alone does not retrain.
TRAINING_VERSION = 2
FIRST_EVALUATION = 8  # steps; before, all models know nothing but the frequent tokens


class RunSpec(Architecture):
    """One run: architecture, data, optimisation and what is measured.

    Tokens are counted in tokens of the run's own encoding, steps in parameter updates.
    """

    data_tokens: Count
    """Unique training tokens D that the run may see."""
    data_seed: Natural = 0
    """Seed of the documents' order: subsets of one seed are nested."""
    batch_sequences: Count
    """Sequences of n_ctx tokens in a batch."""
    micro_batches: Count = 1
    """Parts of a batch whose gradients are taken one after the other and summed."""
    steps: Count
    """Parameter updates, unless the run stops early."""

    optimizer: Literal["adam", "adamw", "adafactor"] = "adamw"
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_clip: Annotated[float, Field(gt=0)]
    schedule: Literal["cosine", "linear", "constant", "wsd", "inverse_sqrt"] = "cosine"
    """What the learning rate does after its linear warm-up."""
    warmup_steps: Natural
    decay_steps: Natural = 0
    """Last steps, in which `wsd` decays."""
    lr: Annotated[float, Field(gt=0, lt=math.inf)]
    """Peak learning rate."""
    final_lr: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate that cosine, linear and wsd end at."""
    seed: Natural = 0
    """Seed of the initial weights, the order of the sequences and dropout."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products in training; weights and test losses are float32 always."""

    evaluations: Count
    """Test losses along the run, at log-spaced steps."""
    test_tokens: Count
    """Tokens of the test split in each."""
    patience: Count | None = None
    """Evaluations without a better test loss after which the run stops; None: never."""
    snapshots: Natural = 0
    """Weights kept along the run, at evenly spaced evaluations."""
    training_version: int = TRAINING_VERSION

    @model_validator(mode="after")
    def _is_one_that_can_be_run(self) -> Self:
        if self.batch_sequences % self.micro_batches:
            raise ValueError(
                f"micro_batches = {self.micro_batches} does not divide batch_sequences = "
                f"{self.batch_sequences}"
            )
        for key in ("data_tokens", "test_tokens"):
            tokens = getattr(self, key)
            if tokens <= self.n_ctx:
                raise ValueError(
                    f"{key} = {tokens}: no sequence of n_ctx = {self.n_ctx} and a next token; "
                    f"expected {self.n_ctx + 1} or more"
                )
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr = {self.final_lr} is above the peak lr = {self.lr}")
        if self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError(
                f"warmup_steps = {self.warmup_steps} and decay_steps = {self.decay_steps} are more "
                f"than steps = {self.steps}"
            )
        return self

    @property
    def name(self) -> str:
        """A readable stem and eight hexadecimal digits of the SHA-256 of the canonical JSON."""
        canonical = self.model_dump_json()
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        return f"{self.architecture}-{self.n_layer}x{self.d_model}-{digest}"

    @property
    def N(self) -> int:
        """Non-embedding parameters."""
        return counts.non_embedding_parameters(self)

    @property
    def N_total(self) -> int:
        """All parameters."""
        return sum(counts.parameter_groups(self).values())

    @property
    def batch_tokens(self) -> int:
        """Tokens B in a batch."""
        return self.batch_sequences * self.n_ctx

    def micro_batches_of(self, processes: int) -> int:
        """Return the micro-batches of each of the processes that share the run's batches.

        Raises:
            InputError: When they cannot share them evenly.
        """
        each = math.ceil(self.micro_batches / processes)
        if self.batch_sequences % (each * processes):
            raise InputError(
                f"{self.name}: {self.batch_sequences} sequences cannot be divided into {each} "
                f"micro-batches on each of {processes} processes"
            )
        return each

    def C(self, steps: int, convention: counts.Convention = "non_embedding") -> float:
        """Return the training compute of `steps` updates in FLOP, 6 N B S by default."""
        per_token = counts.training_flop_per_token(self, convention)
        return float(per_token) * self.batch_tokens * steps

    def evaluation_steps(self) -> list[int]:
        """Return the steps after which the test loss is taken, in order; the last is `steps`."""
        points = np.geomspace(min(FIRST_EVALUATION, self.steps), self.steps, self.evaluations)
        return sorted({round(point) for point in points})

    def snapshot_steps(self) -> list[int]:
        """Return the evaluated steps at which the weights are kept, in order."""
        steps = self.evaluation_steps()[:-1]
        places = np.linspace(0, len(steps) - 1, self.snapshots + 1)[1:]
        return [steps[round(place)] for place in places]
