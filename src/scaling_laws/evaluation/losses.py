"""Losses of a run on every corpus, and by position in the context (paper, sections 3.2, D.5)."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_model

from scaling_laws.models.build import build
from scaling_laws.models.objective import Objective, mean_over_sequences, sequence_losses
from scaling_laws.models.processor import prepare_processor
from scaling_laws.progress import track
from scaling_laws.tables import write_table
from scaling_laws.tokens.reader import TokenStream
from scaling_laws.training.spec import RunSpec


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
) -> dict[str, object]:
    """Evaluate the weights of a run, and its snapshots, on a sample of every corpus.

    Args:
        corpora: Token files; the name of each is the name of its corpus.
        run: JSON file of the run.
        model: Weights of the run.
        snapshots: Folder of the weights kept along the run.
        losses: Parquet file: run, step, corpus, loss, loss_se (nats per token), tokens.
        positions: Parquet file: run, step, corpus, position (from 1), loss.
        tokens: Tokens of each corpus, spread evenly over it, or all where it has fewer.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    prepare_processor()
    facts = json.loads(run.read_text())
    spec = RunSpec.model_validate(facts["spec"])
    network = build(spec)
    objective = Objective(network)
    weights = {int(path.stem): path for path in snapshots.glob("*.safetensors")}
    weights[facts["step"]] = model
    texts = {}
    for path in corpora:
        sample = TokenStream(path).spread(tokens, spec.n_ctx)
        texts[path.stem] = torch.from_numpy(sample)
    rows, places = [], []
    final: dict[str, object] = {}
    work = [(step, corpus) for step in sorted(weights) for corpus in texts]
    loaded = None
    for step, corpus in track(work, f"{spec.name}: evaluations", len(work)):
        if loaded != step:
            load_model(network, weights[step])
            loaded = step
        table = sequence_losses(objective, texts[corpus])
        loss, standard_error = mean_over_sequences(table)
        final[corpus] = round(loss, 4)  # the last step is evaluated last
        rows.append(
            {
                "run": spec.name,
                "step": step,
                "corpus": corpus,
                "loss": loss,
                "loss_se": standard_error,
                "tokens": table.numel(),
            }
        )
        by_position = pd.DataFrame({"position": range(1, spec.n_ctx + 1), "loss": table.mean(0)})
        places.append(by_position.assign(run=spec.name, step=step, corpus=corpus))
    write_table(pd.DataFrame(rows), losses)
    columns = ["run", "step", "corpus", "position", "loss"]
    write_table(pd.concat(places)[columns], positions)
    return final
