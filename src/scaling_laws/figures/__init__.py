"""The paper's figures from own runs: what each needs, without importing matplotlib."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """What a figure is called and drawn from.

    Attributes:
        title: Heading in the report.
        caption: What is seen, as text.
        studies: Studies whose tables it reads.
        laws: Laws whose fits it reads.
    """

    title: str
    caption: str
    studies: tuple[str, ...]
    laws: tuple[str, ...]


FIGURES = {
    "fig01": Needs(
        title="Figure 1. Loss against compute, data set size and model size",
        caption=(
            "Left: learning curves of all model sizes (thin, from dark for small to light for "
            "large), the compute frontier (dots), which is the lowest loss that any of them has "
            "reached with that compute, where two sizes or more can be compared after their "
            "warm-up, and its power law (dashed). The batch size is "
            "fixed, so this is L(C) of Figure 13; the paper's panel shows compute adjusted to a "
            "small batch. Middle: the largest model of the data set size study on nested subsets, "
            "stopped at its lowest test loss. Right: test loss after training on data that are "
            "not repeated. Open circles are runs that the fit leaves out."
        ),
        studies=("model_size", "data_size"),
        laws=("L_C", "L_D", "L_N"),
    ),
    "fig02": Needs(
        title="Figure 2. Learning curves against tokens and compute",
        caption=(
            "Test loss along training for every model size. Left: against tokens processed; the "
            "paper finds that larger models reach the same loss with fewer. Right: against "
            "compute; the paper finds that the best size grows with it."
        ),
        studies=("model_size",),
        laws=(),
    ),
    "fig04": Needs(
        title="Figure 4, left. Loss against data set size and model size",
        caption=(
            "Lowest test loss of runs on nested subsets of the training data (dots), and the "
            "joint fit L(N, D) for each model size (dashed). Colour is the model size."
        ),
        studies=("model_size", "data_size"),
        laws=("L_ND",),
    ),
    "fig06": Needs(
        title="Figure 6, right. Loss against non-embedding parameters, by depth",
        caption=(
            "Test loss after training against parameters without embeddings, a line through the "
            "sizes of each depth. The paper finds one trend for all depths but the shallowest."
        ),
        studies=("model_size",),
        laws=(),
    ),
    "fig08": Needs(
        title="Figure 8. Loss on other text",
        caption=(
            "Left: loss of the trained models on the test split and on other corpora. Right: "
            "loss on each other corpus against loss on the test split, for the largest model "
            "during training (dashed) and for all models at the end of training (dots). Both "
            "axes fall to the right and upwards, in the direction of progress."
        ),
        studies=("model_size",),
        laws=(),
    ),
}


def drawable(studies: Collection[str], laws: Collection[str]) -> list[str]:
    """Return the figures that can be drawn from the tables of `studies` and the fits of `laws`."""
    return [name for name in FIGURES if not lacking(name, studies, laws)]


def lacking(name: str, studies: Collection[str], laws: Collection[str]) -> list[str]:
    """Return the studies and laws that a figure needs and that are off, by their names."""
    needs = FIGURES[name]
    return [
        *(f"study {study}" for study in needs.studies if study not in studies),
        *(f"law {law}" for law in needs.laws if law not in laws),
    ]
