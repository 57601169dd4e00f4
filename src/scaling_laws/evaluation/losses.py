"""Losses of a run on every corpus, and by position in the context (paper, sections 3.2, D.5)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.models.build import build
from scaling_laws.models.device import found
from scaling_laws.models.objective import Objective, sequence_losses
from scaling_laws.models.processor import prepare_processor
from scaling_laws.progress import track
from scaling_laws.tables import write_table
from scaling_laws.tokens.reader import TokenStream
from scaling_laws.training.spec import RunSpec

Losses = npt.NDArray[np.float64]


def evaluate(
    corpora: list[Path],
    *,
    run: Path,
    model: Path,
    snapshots: Path,
    losses: Path,
    positions: Path,
    tokens: int = 65_536,
    threads: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, object]:
    """Evaluate the weights of a run, and its snapshots, on a sample of every corpus.

    Args:
        corpora: Token files; the name of each is the name of its corpus.
        run: JSON file of the run.
        model: Weights of the run.
        snapshots: Folder of the weights kept along the run.
        losses: Parquet file: run, step, corpus, loss and its standard error loss_se (nats per
            token), the tokens and documents that they are over, bits_per_byte (of the text that
            the corpus's tokens stand for on average).
        positions: Parquet file: run, step, corpus, position (from 1), loss.
        tokens: Tokens of each corpus, spread evenly over it, or all where it has fewer.
        threads: CPU threads.
        device: Where to compute; a GPU if there is one.

    Raises:
        InputError: When there is no such device, or a file is not what it should be.
    """
    torch.set_num_threads(threads)
    place = torch.device(found(device))
    if place.type == "cpu":
        prepare_processor()
    spec, last = _facts(run)
    network = build(spec).to(place)
    objective = Objective(network)
    weights = {int(path.stem): path for path in reading(snapshots).glob("*.safetensors")}
    weights[last] = model
    samples = {path.stem: Sample(TokenStream(path), tokens, spec.n_ctx) for path in corpora}
    rows, places = [], []
    final: dict[str, object] = {}
    work = [(step, corpus) for step in sorted(weights) for corpus in samples]
    loaded = None
    for step, corpus in track(work, f"{spec.name}: evaluations", len(work)):
        if loaded != step:
            _load(network, weights[step], spec)
            loaded = step
        sample = samples[corpus]
        table = sequence_losses(objective, sample.sequences.to(place)).double().cpu().numpy()
        loss = float(table.mean())
        final[corpus] = round(loss, 4)  # the last step is evaluated last
        rows.append(
            {
                "run": spec.name,
                "step": step,
                "corpus": corpus,
                "loss": loss,
                "loss_se": clustered_error(table, sample.documents),
                "tokens": table.size,
                "documents": len(np.unique(sample.documents)),
                "bits_per_byte": loss / math.log(2) * sample.tokens_per_byte,
            }
        )
        by_position = pd.DataFrame({"position": range(1, spec.n_ctx + 1), "loss": table.mean(0)})
        places.append(by_position.assign(run=spec.name, step=step, corpus=corpus))
    write_table(pd.DataFrame(rows), losses)
    columns = ["run", "step", "corpus", "position", "loss"]
    write_table(pd.concat(places)[columns], positions)
    return final


def _facts(run: Path) -> tuple[RunSpec, int]:
    """Return the spec of a run and the step of its weights.

    Raises:
        InputError: When the file does not tell.
    """
    try:
        facts = json.loads(reading(run).read_text())
        return RunSpec.model_validate(facts["spec"]), int(facts["step"])
    except (ValueError, KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise InputError(f"{run}: not the run.json of a run ({reason})") from None


def _load(network: nn.Module, weights: Path, spec: RunSpec) -> None:
    """Fill a model with weights.

    Raises:
        InputError: When the file is damaged, or they are another model's.
    """
    try:
        load_model(network, reading(weights))
    except SafetensorError as error:
        raise InputError(f"{weights}: not a safetensors file ({error})") from None
    except RuntimeError:
        raise InputError(f"{weights}: not the weights of {spec.name}") from None


class Sample:
    """Sequences spread evenly over a corpus.

    Attributes:
        sequences: Token numbers, shape (n, n_ctx + 1).
        documents: Number of the document of each predicted token, shape (n, n_ctx).
        tokens_per_byte: Tokens of the whole corpus, over bytes of its text.
    """

    def __init__(self, stream: TokenStream, tokens: int, n_ctx: int) -> None:
        """Take as many tokens of a corpus, or all where it has fewer."""
        places = stream.places(tokens, n_ctx)
        self.sequences = torch.from_numpy(stream.sequences(places, n_ctx))
        self.documents = stream.documents(places, n_ctx)
        self.tokens_per_byte = stream.facts["tokens"] / stream.facts["bytes"]


def clustered_error(losses: Losses, documents: npt.NDArray[np.int64]) -> float:
    """Return the standard error of the mean loss, documents being independent of one another.

    Tokens of one document are not: with residuals r and M documents the variance of the mean of n
    tokens is M / (M - 1) times the sum over documents of (sum of r)^2 / n^2 (a ratio estimator;
    Cochran 1977, section 9A). Of a single document it cannot be told, and is NaN.

    Args:
        losses: Losses of tokens in nats, of any shape.
        documents: Number of the document of each, of the same shape.
    """
    _, cluster = np.unique(documents, return_inverse=True)
    sums = np.bincount(cluster.ravel(), (losses - losses.mean()).ravel())
    if len(sums) == 1:
        return math.nan
    return float(math.sqrt(len(sums) / (len(sums) - 1) * np.square(sums).sum()) / losses.size)
