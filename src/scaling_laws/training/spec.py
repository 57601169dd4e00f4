"""What one run is: everything its result depends on, beside the tokens."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from scaling_laws.models import counts

# Raised when the same spec would give another result. An edit of the code alone does not retrain.
TRAINING_VERSION = 1
FIRST_EVALUATION = 8  # steps; before, all models know nothing but the frequent tokens

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


class RunSpec(BaseModel):
    """One run: architecture, data, optimisation and what is measured.

    Tokens are counted in tokens of the run's own encoding, steps in parameter updates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["transformer"] = "transformer"
    n_layer: Count
    d_model: Count
    n_head: Count
    d_ff: Count
    n_ctx: Count
    vocab_size: Count
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    data_tokens: Count
    """Unique training tokens D that the run may see."""
    data_seed: Natural = 0
    """Seed of the documents' order: subsets of one seed are nested."""
    batch_sequences: Count
    """Sequences of n_ctx tokens in a batch."""
    steps: Count
    """Parameter updates, unless the run stops early."""

    optimizer: Literal["adamw"] = "adamw"
    beta1: float
    beta2: float
    weight_decay: float
    gradient_clip: float
    schedule: Literal["cosine"] = "cosine"
    """Linear warm-up, then half a cosine to zero at the last step."""
    warmup_steps: Natural
    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    seed: Natural = 0
    """Seed of the initial weights, the order of the sequences and dropout."""
    precision: Literal["float32"] = "float32"

    evaluations: Count
    """Test losses along the run, at log-spaced steps."""
    test_tokens: Count
    """Tokens of the test split in each."""
    patience: Count | None = None
    """Evaluations without a better test loss after which the run stops; None: never."""
    snapshots: Natural = 0
    """Weights kept along the run, at evenly spaced evaluations."""
    training_version: int = TRAINING_VERSION

    @property
    def name(self) -> str:
        """A readable stem and eight hexadecimal digits of the SHA-256 of the canonical JSON."""
        canonical = self.model_dump_json()
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        return f"{self.architecture}-{self.n_layer}x{self.d_model}-{digest}"

    @property
    def N(self) -> int:
        """Non-embedding parameters."""
        return counts.non_embedding_parameters(self.n_layer, self.d_model, self.d_ff)

    @property
    def N_total(self) -> int:
        """All parameters."""
        return sum(
            counts.parameter_groups(
                self.n_layer, self.d_model, self.d_ff, self.n_ctx, self.vocab_size
            ).values()
        )

    @property
    def batch_tokens(self) -> int:
        """Tokens B in a batch."""
        return self.batch_sequences * self.n_ctx

    def C(self, steps: int) -> float:
        """Return the non-embedding training compute 6 N B S of `steps` updates, in FLOP."""
        return 6.0 * self.N * self.batch_tokens * steps

    def C_full(self, steps: int) -> float:
        """Return the training compute of `steps` updates with attention and head, in FLOP."""
        per_token = counts.training_flop_per_token(
            self.n_layer, self.d_model, self.d_ff, self.n_ctx, self.vocab_size
        )
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
