"""Tables of runs that were never trained: losses follow planted laws, with a little noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_laws.laws.efficient import Efficient
from scaling_laws.laws.fit import fit
from scaling_laws.laws.forms import LAWS
from scaling_laws.models.counts import FLOP_PER_PF_DAY

ALPHA_N, N_C = 0.07, 4e13
TOKENS, B = 4_000_000, 2048
WARMUP_STEPS = 195
SHAPES = ((1, 8), (2, 8), (2, 12), (2, 16), (3, 20), (4, 32), (4, 48), (6, 48), (5, 80))
SUBSETS = tuple(62_500 * 2**k for k in range(6))
JOINT = {"alpha_N": 0.08, "alpha_D": 0.16, "N_c": 1e12, "D_c": 4e9}
CORPORA = {"books": 0.30, "wikipedia": 0.20, "common_crawl": 0.25, "internet_books": 0.40}

# Learning curves: the loss at t tokens is the frontier times exp(CURVATURE log(t / OPTIMUM)^2),
# so that every size touches the frontier after as many tokens.
CURVATURE, OPTIMUM = 0.02, TOKENS / 3
C_C = 6 * N_C * TOKENS * np.exp(-CURVATURE * np.log(TOKENS / OPTIMUM) ** 2 / ALPHA_N)
C_C_PF_DAYS = C_C / FLOP_PER_PF_DAY


def size_law(N: int) -> float:
    return (N_C / N) ** ALPHA_N


def joint(N: float, D: float) -> float:
    return float(LAWS["L_ND"](JOINT, N=N, D=D))


def model_size(
    folder: Path,
    loss: Callable[[int], float] = size_law,
    noise: float = 0.002,
    seed: int = 0,
    again: tuple[int, ...] = (3, 5),
) -> Path:
    """Write a study of model size: `SHAPES`, those of index `again` with a second seed."""
    generator = np.random.default_rng(seed)
    runs, curves, evaluations = [], [], []
    wanted = [(shape, 0) for shape in SHAPES] + [(SHAPES[index], 1) for index in again]
    for (n_layer, d_model), run_seed in wanted:
        run = run_row("model_size", n_layer, d_model, TOKENS, run_seed)
        steps = np.unique(np.geomspace(1, run["steps"], 24).round().astype(int))
        tokens = steps * B
        end = tokens[-1]
        shift = np.log(tokens / OPTIMUM) ** 2 - np.log(end / OPTIMUM) ** 2
        losses = loss(run["N"]) * (end / tokens) ** ALPHA_N * np.exp(CURVATURE * shift)
        losses = np.minimum(losses * np.exp(generator.normal(0, noise)), np.log(1024))
        run |= {"test_loss": losses[-1], "best_test_loss": losses.min(), "best_step": steps[-1]}
        runs.append(run)
        curves.append(curve_rows(run, steps, losses))
        snapshots = steps[[6, 10, 14, 18]] if (n_layer, d_model) == SHAPES[-1] else []
        for step, test_loss in zip(steps, losses, strict=True):
            if step in snapshots or step == steps[-1]:
                evaluations += evaluation_rows(run["run"], step, test_loss)
    return write(folder, runs, curves, evaluations)


def data_size(
    folder: Path,
    loss: Callable[[float, float], float] = joint,
    noise: float = 0.002,
    seed: int = 1,
    shapes: tuple[tuple[int, int], ...] = ((4, 48), (6, 48)),
) -> Path:
    """Write a study of data set size: `shapes` on `SUBSETS`, which overfit after their best."""
    generator = np.random.default_rng(seed)
    runs, curves, evaluations = [], [], []
    for n_layer, d_model in shapes:
        for D in SUBSETS:
            run = run_row("data_size", n_layer, d_model, D, 0)
            steps = np.linspace(100, run["steps"], 20).round().astype(int)
            best = loss(run["N"], D) * np.exp(generator.normal(0, noise))
            losses = best * (1 + 0.3 * np.log(steps / steps[14]) ** 2)
            run |= {
                "test_loss": losses[-1],
                "best_test_loss": losses.min(),
                "best_step": steps[14],
                "outcome": "early_stopped",
            }
            runs.append(run)
            curves.append(curve_rows(run, steps, losses))
            evaluations += evaluation_rows(run["run"], steps[-1], losses[-1])
    return write(folder, runs, curves, evaluations)


EFFICIENT = Efficient(alpha_N=0.09, N_c=2e11, alpha_S=0.7, S_c=60.0, alpha_B=0.25, B_star=4e6)
"""Constants of the learning curves below; L(N, S_min) of eq. 5.6 at the critical batch of 5.3."""


def loss_at(N: float, B: float, steps: np.ndarray) -> np.ndarray:
    """Return the loss after steps of batch B, by eqs. 5.3, 5.4 and 5.6, which need each other."""
    low, high = np.full(len(steps), 0.5), np.full(len(steps), 50.0)
    for _ in range(100):
        middle = np.sqrt(low * high)
        least = steps / (1 + EFFICIENT.B_star / middle ** (1 / EFFICIENT.alpha_B) / B)
        right = (EFFICIENT.N_c / N) ** EFFICIENT.alpha_N
        right = right + (EFFICIENT.S_c / least) ** EFFICIENT.alpha_S
        low, high = np.where(right > middle, middle, low), np.where(right > middle, high, middle)
    return middle


def scanned(
    folder: Path,
    study: str,
    shapes: tuple[tuple[int, int], ...],
    batches: tuple[int, ...],
    steps: Callable[[int], int],
    noise: float = 0.002,
    seed: int = 0,
) -> Path:
    """Write a study of some shapes at some batches, at a constant rate: `loss_at`."""
    generator = np.random.default_rng(seed)
    runs, curves, evaluations = [], [], []
    for n_layer, d_model in shapes:
        for batch in batches:
            run = run_row(study, n_layer, d_model, TOKENS, 0)
            run |= {"run": f"{run['run']}-{batch}", "B": batch, "steps": steps(batch)}
            run |= {"tokens": batch * run["steps"], "C": 6.0 * run["N"] * batch * run["steps"]}
            at = np.unique(np.geomspace(4, run["steps"], 40).round().astype(int))
            losses = loss_at(run["N"], batch, at) * np.exp(generator.normal(0, noise))
            run |= {"test_loss": losses[-1], "best_test_loss": losses[-1], "best_step": at[-1]}
            runs.append(run)
            curve = {"run": run["run"], "step": at, "tokens": at * batch, "lr": 0.01}
            curves.append(pd.DataFrame(curve | {"test_loss": losses, "test_loss_se": 0.01}))
            evaluations += evaluation_rows(run["run"], at[-1], losses[-1])
    return write(folder, runs, curves, evaluations)


def run_row(study: str, n_layer: int, d_model: int, D: int, seed: int) -> dict:
    N = 12 * n_layer * d_model**2
    steps = TOKENS // B
    return {
        "run": f"transformer-{n_layer}x{d_model}-{study[0]}{D:08d}{seed}",
        "study": [study],
        "architecture": "transformer",
        "n_layer": n_layer,
        "d_model": d_model,
        "n_head": 2,
        "d_ff": 4 * d_model,
        "n_ctx": 128,
        "reuse": 1,
        "N": N,
        "N_total": N + (1024 + 128) * d_model,
        "D": D,
        "B": B,
        "steps": steps,
        "tokens": steps * B,
        "C": 6.0 * N * B * steps,
        "C_full": 7.0 * N * B * steps,
        "optimizer": "adamw",
        "schedule": "cosine",
        "lr": 0.01,
        "dropout": 0.1 if study == "data_size" else 0.0,
        "seed": seed,
        "outcome": "finished",
        "seconds": 60.0,
    }


def curve_rows(run: dict, steps: np.ndarray, losses: np.ndarray) -> pd.DataFrame:
    warmup = np.minimum(steps / WARMUP_STEPS, 1)
    decay = 0.55 + 0.45 * np.cos(np.pi * np.clip((steps - WARMUP_STEPS) / run["steps"], 0, 1))
    return pd.DataFrame(
        {
            "run": run["run"],
            "step": steps,
            "tokens": steps * B,
            "lr": run["lr"] * warmup * decay,
            "train_loss": np.r_[np.nan, losses[1:]],
            "test_loss": losses,
            "test_loss_se": 0.01,
        }
    )


def evaluation_rows(run: str, step: int, test_loss: float) -> list[dict]:
    rows = {"test": test_loss} | {name: 1.02 * test_loss + d for name, d in CORPORA.items()}
    return [
        {"run": run, "step": step, "corpus": corpus, "loss": loss, "loss_se": 0.01, "tokens": 65536}
        for corpus, loss in rows.items()
    ]


def write(folder: Path, runs: list, curves: list, evaluations: list) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(runs).to_parquet(folder / "runs.parquet", index=False)
    pd.concat(curves).to_parquet(folder / "curves.parquet", index=False)
    pd.DataFrame(evaluations).to_parquet(folder / "evaluations.parquet", index=False)
    return folder


def change(folder: Path, name: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Rewrite a table of a study."""
    path = folder / f"{name}.parquet"
    edit(pd.read_parquet(path)).to_parquet(path, index=False)


def results(folder: Path) -> Path:
    """Write tables and fits of both studies, as the stages before the figures do."""
    sizes = model_size(folder / "tables" / "model_size", lambda N: joint(N, TOKENS))
    subsets = data_size(folder / "tables" / "data_size")
    studies = {"L_N": [sizes], "L_D": [subsets], "L_C": [sizes], "L_ND": [sizes, subsets]}
    for law, tables in studies.items():
        fit(law, tables, json=folder / "fits" / f"{law}.json", bootstrap=50)
    runs = pd.concat([pd.read_parquet(study / "runs.parquet") for study in (sizes, subsets)])
    runs.to_parquet(folder / "tables" / "runs.parquet", index=False)
    return folder
