"""Tables of runs that were never trained: losses follow planted laws, with a little noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_laws.laws.conventions import conventions
from scaling_laws.laws.efficient import Efficient
from scaling_laws.laws.fit import fit
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.judge import held_out
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
            kept = [*at[10:-1:8], at[-1]] if (n_layer, d_model) == shapes[-1] else [at[-1]]
            for step, loss in zip(at, losses, strict=True):
                if step in kept:
                    evaluations += evaluation_rows(run["run"], step, loss)
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
        "lr_sum": 0.006 * steps,
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


# A results folder with every study that the figures read, for what draws and reports them.

FAMILIES: dict[str, list[dict]] = {
    "depth": [
        {"n_layer": n, "d_model": d} for n in (0, 1, 3, 6, 8) for d in (16, 32, 64)
    ],
    "feed_forward": [
        {"n_layer": 2, "d_model": d, "d_ff": f}
        for d, f in ((50, 25), (46, 46), (32, 128), (17, 340))
    ],
    "aspect": [
        {"n_layer": n, "d_model": d} for n, d in ((1, 97), (2, 68), (3, 56), (6, 40), (16, 24))
    ],
    "heads": [{"n_layer": 3, "d_model": 56, "n_head": h} for h in (1, 2, 4, 7, 14)],
    "lstm": [
        {"architecture": "lstm", "n_layer": n, "d_model": d} for n in (1, 2) for d in (16, 40, 100)
    ],
    "universal": [
        {"architecture": "universal", "reuse": r, "n_layer": 1, "d_model": d}
        for r in (2, 4) for d in (24, 48)
    ],
    "context": [{"n_layer": 2, "d_model": d, "n_ctx": 8} for d in (16, 32, 64)],
    "schedule": [
        {"n_layer": 2, "d_model": 32, "schedule": kind, "lr": lr, "lr_sum": share * lr * 1953}
        for kind, share in (("cosine", 0.55), ("linear", 0.55), ("constant", 0.95))
        for lr in (0.003, 0.01)
    ],
}  # fmt: skip
LAWS_OF = {
    "L_N": ["model_size"],
    "L_D": ["data_size"],
    "L_C": ["model_size"],
    "L_ND": ["model_size", "data_size"],
    "B_crit": ["batch_size"],
    "N_C": ["model_size"],
    **{
        law: ["model_size", "batch_size"]
        for law in ("L_C_min", "L_NS", "N_opt", "B_opt", "S_opt", "D_opt")
    },
}
SIZES = ((2, 8), (2, 12), (2, 16), (2, 24), (3, 32), (4, 40), (4, 64), (6, 80))
SCANNED = ((2, 16), (3, 32))
BATCHES = (128, 512, 1024, 2048, 4096, 8192, 16384)


def everything(folder: Path) -> Path:
    """Write tables, fits and counts of all studies, as the stages before the figures do."""
    tables = folder / "tables"
    scanned(tables / "model_size", "model_size", SIZES, (B,), lambda _: 1953)
    change(tables / "model_size", "runs", lambda runs: runs.assign(schedule="cosine"))
    data_size(tables / "data_size", shapes=((2, 16), (3, 32), (4, 48)))
    scanned(
        tables / "batch_size", "batch_size", SCANNED, BATCHES, lambda batch: 4_000_000 * 4 // batch,
        seed=3,
    )  # fmt: skip
    change(tables / "batch_size", "curves", _with_norms)
    for place, (study, shapes) in enumerate(FAMILIES.items()):
        family(tables / study, study, shapes, seed=10 + place)
    for study in ("model_size", "lstm", "context"):
        positions(tables / study, snapshots=study == "model_size")
    for law, studies in LAWS_OF.items():
        path = folder / "fits" / f"{law}.json"
        fit(law, [tables / study for study in studies], json=path, bootstrap=100, minimum_layers=1)
    runs = pd.concat([pd.read_parquet(path) for path in sorted(tables.glob("*/runs.parquet"))])
    runs = runs.drop_duplicates("run")
    runs.to_parquet(tables / "runs.parquet", index=False)
    for name in ("curves", "evaluations", "positions"):
        parts = [pd.read_parquet(path) for path in sorted(tables.glob(f"*/{name}.parquet"))]
        pd.concat(parts).drop_duplicates().to_parquet(tables / f"{name}.parquet", index=False)
    (folder / "plan").mkdir()
    planned = runs.assign(study=runs["study"].str.join(","))[["run", "study", "N", "C_full"]]
    planned.to_csv(folder / "plan" / "runs.tsv", sep="\t", index=False)
    flow_tables(tables)
    held_out([f"L_N={tables / 'model_size'}"], output=tables / "held_out.csv", bootstrap=50)
    conventions([tables / "model_size"], output=tables / "conventions.csv", bootstrap=50)
    return folder


def family(
    folder: Path, study: str, shapes: list[dict], noise: float = 0.002, seed: int = 0
) -> Path:
    """Write a study of shapes whose losses after training follow `loss_at`."""
    generator = np.random.default_rng(seed)
    runs, curves, evaluations = [], [], []
    for place, shape in enumerate(shapes):
        run = run_row(study, shape["n_layer"], shape["d_model"], TOKENS, 0) | shape
        run["run"] = f"{run['architecture']}-{study}-{place}"
        run["d_ff"] = shape.get("d_ff", 4 * run["d_model"])
        N = 2 * run["n_layer"] * run["d_model"] * (2 * run["d_model"] + run["d_ff"])
        run |= {"N": N, "N_total": N + 1152 * run["d_model"]}
        at = np.unique(np.geomspace(4, run["steps"], 20).round().astype(int))
        losses = loss_at(max(N, 3000), B, at) * np.exp(generator.normal(0, noise))
        run |= {"test_loss": losses[-1], "best_test_loss": losses[-1], "best_step": at[-1]}
        runs.append(run)
        curves.append(curve_rows(run, at, losses))
        evaluations += evaluation_rows(run["run"], at[-1], losses[-1])
    return write(folder, runs, curves, evaluations)


def positions(folder: Path, snapshots: bool) -> None:
    """Write losses by position whose mean is the run's: L_T = a + b T^-0.5."""
    runs = pd.read_parquet(folder / "runs.parquet")
    rows = []
    for run in runs.itertuples():
        T = np.arange(1, run.n_ctx + 1)
        shape = T**-0.5
        steps = [20, 100, 500, run.steps] if snapshots else [run.steps]
        for step in steps:
            loss = run.test_loss * (run.steps / step) ** 0.05 + 2.0 * (shape - shape.mean())
            rows.append(
                pd.DataFrame(
                    {"run": run.run, "step": step, "corpus": "test", "position": T, "loss": loss}
                )
            )
    pd.concat(rows).to_parquet(folder / "positions.parquet", index=False)


def flow_tables(tables: Path) -> None:
    """Write what the corpus stages count."""
    rows = [
        ("links", "pages", "kept", "", 5000),
        ("links", "submissions", "dropped", "score", 900),
        ("links", "submissions", "dropped", "media", 300),
        ("crawl", "pages", "kept", "", 4700),
        ("crawl", "pages", "dropped", "http_error", 200),
        ("crawl", "pages", "dropped", "robots", 100),
        ("extract", "documents", "kept", "", 4500),
        ("extract", "documents", "dropped", "short", 200),
        ("dedup", "documents", "kept", "", 4300),
        ("dedup", "documents", "dropped", "near", 150),
        ("dedup", "documents", "dropped", "exact", 50),
        ("split", "documents", "kept", "", 4085),
        ("split", "documents", "held out", "", 215),
        ("corpora", "documents", "kept", "books", 70),
        ("tokens", "documents", "kept", "train", 4085),
        ("tokens", "tokens", "kept", "train", 9_600_000),
    ]
    columns = ["stage", "unit", "outcome", "reason", "count"]
    pd.DataFrame(rows, columns=columns).to_csv(tables / "flow.csv", index=False)
    s = np.linspace(0, 1, 101)
    chance = pd.DataFrame({"series": "chance", "similarity": s, "value": 1 - (1 - s**5) ** 51})
    middle = np.arange(0.025, 1, 0.05)
    found = pd.DataFrame({"series": "found", "similarity": middle, "value": 20 * (middle > 0.5)})
    least = pd.DataFrame({"series": ["threshold"], "similarity": [0.5], "value": [np.nan]})
    pd.concat([chance, found, least]).to_csv(tables / "duplicates.csv", index=False)


def _with_norms(curves: pd.DataFrame) -> pd.DataFrame:
    """Return curves with gradient norms whose noise scale is the planted critical batch."""
    batch = curves.tokens / curves.step
    critical = EFFICIENT.B_star / curves.test_loss ** (1 / EFFICIENT.alpha_B)
    big, small = 1 + critical / batch, 1 + critical / (batch / 2)
    return curves.assign(grad_sq_big=big, grad_sq_small=small, grad_tokens_small=batch / 2)


TITLES = json.dumps(
    {
        "books": "Books",
        "common_crawl": "Common Crawl",
        "internet_books": "Internet Books",
        "wikipedia": "Wikipedia",
    }
)


CONFIG = """results: results
# a <tag> & more
corpora: {{books: {{format: jsonl, path: books.jsonl, title: Books}}}}
studies:
{studies}
fits: {{laws: {laws}}}
"""
ANY_SHAPE = "{shapes: [{n_layer: 1, d_model: 8, n_head: 1}]}"


def configure(results: Path, studies: Iterable[str], laws: Iterable[str]) -> None:
    """Write the resolved configuration of some studies and laws."""
    lines = "\n".join(f"  {study}: {ANY_SHAPE}" for study in studies)
    of = {law: LAWS_OF[law] for law in laws}
    (results / "config.yaml").write_text(CONFIG.format(studies=lines, laws=json.dumps(of)))


STUDIES = ("model_size", "data_size", "batch_size", *FAMILIES)
