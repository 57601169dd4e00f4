"""Small token files with something to learn, and a run on them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_laws.ledger import sha256
from scaling_laws.training.spec import RunSpec

SPEC = RunSpec(
    n_layer=2,
    d_model=16,
    n_head=2,
    d_ff=64,
    n_ctx=16,
    vocab_size=64,
    data_tokens=6000,
    batch_sequences=8,
    steps=120,
    beta1=0.9,
    beta2=0.95,
    weight_decay=0.1,
    gradient_clip=1.0,
    warmup_steps=6,
    lr=0.01,
    evaluations=8,
    test_tokens=1000,
)


def write_tokens(path: Path, tokens, vocab_size=64, documents=1) -> Path:
    """Write a token file of documents of one length, each token standing for two bytes."""
    np.asarray(tokens, "<u2").tofile(path)
    facts = {"dtype": "uint16", "tokens": len(tokens), "vocab_size": vocab_size}
    facts |= {"documents": documents, "bytes": 2 * len(tokens), "sha256": sha256(path)}
    path.with_suffix(".json").write_text(json.dumps(facts))
    each = len(tokens) // documents
    names = [f"document {number}" for number in range(documents)]
    offsets = [number * each for number in range(documents)]
    rows = pd.DataFrame({"doc_id": names, "offset": offsets, "tokens": each})
    rows.to_parquet(path.with_suffix(".documents.parquet"))
    return path


def counting_tokens(folder: Path, train=10_000, test=2_000) -> Path:
    """Write token files in which each token is the one before plus 1 or 2, modulo 64."""
    rng = np.random.default_rng(0)
    for name, length in (("train", train), ("test", test)):
        write_tokens(folder / f"{name}.bin", np.cumsum(rng.integers(1, 3, length)) % 64)
    return folder


def evaluated(out: Path) -> dict[str, Path]:
    """Return the files of `evaluate` for a folder of outputs of `train`."""
    return {
        "run": out / "run.json",
        "model": out / "model.safetensors",
        "snapshots": out / "snapshots",
        "losses": out / "evaluation.parquet",
        "positions": out / "positions.parquet",
    }


def outputs(folder: Path, out: Path) -> dict[str, Path]:
    """Return the files of `train` for token files in a folder and a folder of outputs."""
    return {
        "tokens": folder / "train.bin",
        "test": folder / "test.bin",
        "curve": out / "curve.parquet",
        "model": out / "model.safetensors",
        "run": out / "run.json",
        "snapshots": out / "snapshots",
        "checkpoints": out / "checkpoints",
    }
