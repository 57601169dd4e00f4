"""The checklist of (Mis)Fitting (Li et al. 2025), filled in from the fits, runs and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import BaseModel

from scaling_laws.config import Config
from scaling_laws.laws.forms import law_of
from scaling_laws.report.comparison import number

UNKNOWN = "not known: no table of runs in these results"
OTHERS = "not known: the table of your runs does not say; say it where you publish the fit"
Answers = list[tuple[str, str]]


def checklist(
    fits: Mapping[str, Mapping[str, Any]],
    runs: pd.DataFrame | None,
    config: Config | None,
    held_out: pd.DataFrame | None,
) -> dict[str, Answers]:
    """Return questions with answers by group: form, training, data, fit.

    Args:
        fits: Contents of the fits, by law.
        runs: The runs table.
        config: The resolved configuration.
        held_out: What the smaller runs foretold of the largest.
    """
    return {
        "Form": _form(fits, runs),
        "Training": _training(runs, config),
        "Data": _data(fits, config),
        "Fit": _fit(fits, held_out),
    }


def _form(fits: Mapping[str, Mapping[str, Any]], runs: pd.DataFrame | None) -> Answers:
    laws = [law_of(fit) for fit in fits.values()]
    units = {f"{name} ({unit})" for law in laws for name, unit in law.variables.items()}
    answers = [
        ("Equations", "; ".join(law.equation for law in laws)),
        ("Variables and units", ", ".join(sorted(units))),
    ]
    if any(not fit.get("columns") for fit in fits.values()):
        counted = "parameters without embeddings and head, if not said otherwise"
        answers.append(("What N counts", counted))
    if own := {name: fit["columns"] for name, fit in fits.items() if fit.get("columns")}:
        answers.append(("Columns of your own runs", _columns(own)))
        if any("N" in law_of(fits[name]).variables for name in own):
            answers.append(("What N counts there", OTHERS))
    if runs is None:
        return [*answers, ("What else varies between runs", OTHERS if own else UNKNOWN)]
    held = {
        "batch": runs["B"], "context": runs["n_ctx"], "schedule": runs["schedule"],
        "optimizer": runs["optimizer"],
    }  # fmt: skip
    for question, varies in (
        ("What else varies between runs", True),
        ("What is the same in all runs", False),
    ):
        columns = {
            name: column for name, column in held.items() if (column.nunique() > 1) == varies
        }
        said = "; ".join(f"{name}: {_values(column)}" for name, column in columns.items())
        answers.append((question, said or "none of batch, context, schedule and optimizer"))
    return answers


def _training(runs: pd.DataFrame | None, config: Config | None) -> Answers:
    if runs is None:
        return [("Models", UNKNOWN)]
    epochs = (runs["tokens"] / runs["D"]).max()
    answers = [
        ("Models", f"{len(runs)} runs, {runs['N'].nunique()} sizes"),
        ("Range of N", f"{runs['N'].min():,} to {runs['N'].max():,}"),
        ("Range of distinct tokens", f"{runs['D'].min():,} to {runs['D'].max():,}"),
        ("Most passes over the data", f"{epochs:.3g}"),
        ("FLOP", "C = 6 N B steps; C_full has attention and head as well; columns of the table"),
        ("Learning rates", f"peaks from {number(runs['lr'].min())} to {number(runs['lr'].max())}"),
    ]
    if config is not None:
        training = config.training
        answers += [
            ("Rule of the learning rate", _rule(training.learning_rate)),
            ("Schedule and warm-up", f"{training.schedule}, {training.warmup}"),
            ("Tokenizer", f"byte-pair encoding, {config.tokenizer.vocab_size:,} entries"),
        ]
    return answers


def _data(fits: Mapping[str, Mapping[str, Any]], config: Config | None) -> Answers:
    used = "; ".join(f"{name}: {_losses(fit)}" for name, fit in fits.items())
    left = {name: len(fit["excluded"]) for name, fit in fits.items() if fit["excluded"]}
    answers = [
        ("Which losses", used),
        ("Points", ", ".join(f"{name}: {fit['n_points']}" for name, fit in fits.items())),
        ("Runs left out", ", ".join(f"{name}: {n}" for name, n in left.items()) or "none"),
    ]
    if any(not fit.get("columns") for fit in fits.values()):
        between = "linear in the logarithms of loss and compute"
        answers.append(("Between points of a curve", between))
    if config is not None:
        tokens = config.training.test_tokens
        answers.append(("Metric", f"cross-entropy in nats per token, on {tokens:,} test tokens"))
    return answers


def _fit(fits: Mapping[str, Mapping[str, Any]], held_out: pd.DataFrame | None) -> Answers:
    objectives = sorted({fit["objective"]["name"] for fit in fits.values()})
    levels = sorted({f"{100 * fit['confidence']:g} %" for fit in fits.values()})
    answers = [
        ("Objective", "; ".join(objectives)),
        ("Optimizer", "damped Newton steps with the laws' own derivatives, from many starts"),
        (
            "Starts that agree",
            ", ".join(
                f"{name}: {fit['starts']['agreeing']} of {fit['starts']['tried']}"
                for name, fit in fits.items()
                if "starts" in fit
            ),
        ),
        ("Intervals", f"{', '.join(levels)}, percentiles of a bootstrap over runs"),
        (
            "Replicates that converged",
            ", ".join(
                f"{name}: {fit['bootstrap']['converged']} of {fit['bootstrap']['replicates']}"
                for name, fit in fits.items()
            ),
        ),
        (
            "Goodness of fit",
            ", ".join(
                f"{name}: R² of logarithms {fit['r2_log']:.4f}"
                for name, fit in fits.items()
                if fit["r2_log"] is not None
            ),
        ),
        (
            "Not determined",
            ", ".join(n for n, f in fits.items() if f["status"] != "converged") or "none",
        ),
    ]
    if held_out is not None and held_out["error"].notna().any():
        told = held_out[held_out["error"].notna()].drop_duplicates("law")
        errors = [
            f"{law}: {error:.2f} %" for law, error in zip(told["law"], told["error"], strict=True)
        ]
        answers.append(("Error for the largest run, held out", ", ".join(errors)))
    return answers


def _losses(fit: Mapping[str, Any]) -> str:
    """Return which losses of the runs a law was fitted to, in words."""
    if columns := fit.get("columns"):
        response, _ = law_of(fit).response
        return f"column {columns[response]}" if response in columns else "of columns given"
    of_ours = {
        "test_loss": "after training",
        "best_test_loss": "least of a run",
        "curves": "learning curves after their warm-up",
        None: "quantities derived from runs",
    }
    return of_ours[fit.get("loss")]


def _columns(own: Mapping[str, Mapping[str, str]]) -> str:
    """Return which columns of your own runs the quantities of each law were read from."""
    return "; ".join(
        f"{law}: {', '.join(f'{name} = {column}' for name, column in columns.items())}"
        for law, columns in own.items()
    )


def _rule(rule: object) -> str:
    """Return the rule of the learning rate in words."""
    if not isinstance(rule, BaseModel):
        return str(rule)
    return ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in rule.model_dump().items()
    )


def _values(column: pd.Series[Any]) -> str:
    found = sorted(column.dropna().unique().tolist())
    if len(found) > 4:
        return f"{len(found)} values from {found[0]} to {found[-1]}"
    return ", ".join(map(str, found))
