"""The figures: what each shows and is drawn from, without importing matplotlib."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """What a figure is called and drawn from.

    Attributes:
        title: Heading in the report.
        caption: What is seen, and what the paper finds there.
        studies: Studies whose tables it reads; it is not drawn where one is off.
        any_of: Further studies, of which one at least must be on.
        more: Studies that it reads where they are on.
        laws: Laws whose fits it reads; it is not drawn where one is off.
        more_laws: Laws that it reads where they are on.
        files: Other files that it reads, in the results folder.
        every_fit: Whether it reads all fits that there are.
    """

    title: str
    caption: str
    studies: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    laws: tuple[str, ...] = ()
    more_laws: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    every_fit: bool = False


SHAPES = ("feed_forward", "aspect", "heads", "shape")

PAPER = {
    "fig01": Needs(
        "Figure 1. Loss against compute, data set size and model size",
        "Left: learning curves of all sizes after their warm-up (thin, dark for small models), "
        "the frontier (dots), which is the least loss of any of them for that compute, and its "
        "power law (dashed). Compute is that of small batches where B_crit(L) is known, as in "
        "the paper. Middle: the largest model of the study of data, stopped at its least test "
        "loss. Right: loss after training. Bands are the fits' intervals; the paper's laws are "
        "thin, where they fall into a panel.",
        studies=("model_size", "data_size"),
        laws=("L_C", "L_D", "L_N"),
        more_laws=("L_C_min", "B_crit"),
    ),
    "fig02": Needs(
        "Figure 2. Learning curves against tokens and compute",
        "Test loss in training, of every size. The paper finds that larger models need fewer "
        "tokens for the same loss (left), and that the best size grows smoothly with compute "
        "(right).",
        studies=("model_size",),
    ),
    "fig03": Needs(
        "Figure 3. What more compute goes into",
        "How much model size, batch and serial steps grow with compute, one above the other, by"
        " the exponents of Table 6 for a billionfold and, where the runs determine them, by our"
        " own over their range. The paper finds that nearly all goes into the size.",
        more_laws=("N_opt", "B_opt", "S_opt"),
    ),
    "fig04": Needs(
        "Figure 4. The joint laws of size and data, and of size and steps",
        "Left: least test loss on nested subsets of the data, and L(N, D). Right: learning "
        "curves against the steps that large batches would need, and L(N, S_min). A line for "
        "each size.",
        studies=("model_size", "data_size"),
        laws=("L_ND",),
        more_laws=("L_NS", "B_crit"),
    ),
    "fig05": Needs(
        "Figure 5. Shape at a fixed size",
        "By how much the loss exceeds the best of a series in which one proportion varies and "
        "the size does not, small differences of size corrected by L(N). The paper finds a few "
        "percent over wide ranges.",
        any_of=SHAPES,
        more_laws=("L_N",),
    ),
    "fig06": Needs(
        "Figure 6. Loss against parameters with and without embeddings",
        "Loss after training, a line for each depth. The paper finds one trend for all depths "
        "but the shallowest once embeddings are left out (right).",
        studies=("model_size",),
        more=("depth",),
    ),
    "fig07": Needs(
        "Figure 7. LSTMs beside Transformers",
        "Left: loss after training against size. Right: loss by position in the context, of "
        "LSTMs (dashed) beside Transformers of about their size. The paper finds that LSTMs "
        "stop to gain after some hundred tokens.",
        studies=("model_size", "lstm"),
    ),
    "fig08": Needs(
        "Figure 8. Loss on other text",
        "Left: loss on every corpus against size. Right: loss on other corpora against that on "
        "the test split, both falling in the direction of progress: in training (dashed) and "
        "after it (points). The paper finds that the loss on other text depends on that on the "
        "test split alone.",
        studies=("model_size",),
    ),
    "fig09": Needs(
        "Figure 9. The data bottleneck, and how overfitting scales",
        "Left: least test loss against size, for each size of the data set. Right: by how much "
        "it exceeds that of the same model on the most data, against the one combination of N "
        "and D that L(N, D) says it depends on.",
        studies=("model_size", "data_size"),
        laws=("L_ND",),
    ),
    "fig10": Needs(
        "Figure 10. The critical batch size",
        "Critical batch sizes from the hyperbolae of figure 18 (joined points, a line for each "
        "model), by the gradient noise scale of single batches (grey), and B_crit(L). Loss "
        "falls to the right. The paper finds one law for all sizes.",
        studies=("batch_size",),
        laws=("B_crit",),
    ),
    "fig11": Needs(
        "Figure 11. Loss against size at fixed compute and at fixed steps",
        "Learning curves of all sizes, cut at some values of compute (left) and of steps "
        "(right). Dashed: L(N, S_min) with the critical batch.",
        studies=("model_size",),
        more_laws=("L_NS", "B_crit"),
    ),
    "fig12": Needs(
        "Figure 12. What another than the best size costs",
        "Compute (left) and steps (right) to the loss of the best size, over those that it "
        "takes, by equations B.16 and B.17. Shaded: 0.6 to 2.2 of the best size, which by the "
        "paper cost 20 % more at most (dotted). Smaller ones never reach the loss.",
        more_laws=("L_NS", "B_crit"),
    ),
    "fig13": Needs(
        "Figure 13. Compute as it was spent and as small batches would spend it",
        "The frontier of all learning curves for both, and their power laws. The paper finds a "
        "smaller exponent for C_min.",
        studies=("model_size",),
        laws=("L_C",),
        more_laws=("L_C_min", "B_crit"),
    ),
    "fig14": Needs(
        "Figure 14. The best size and its steps against compute",
        "Size (left) and steps (right) of the runs on the frontier, at the fixed batch and as "
        "small batches would have it.",
        studies=("model_size",),
        laws=("N_C",),
        more_laws=("N_opt", "S_opt", "B_crit"),
    ),
    "fig15": Needs(
        "Figure 15. Where the laws contradict each other",
        "L(C_min), and the loss that the tokens of compute-efficient training allow at best. "
        "Beyond the crossing one of them must fail. The paper gives the tokens two ways, and "
        "the crossing moves by an order of magnitude.",
        more_laws=("L_C_min", "L_D", "N_opt"),
    ),
    "fig16": Needs(
        "Figure 16. When to stop early",
        "Left: the step of the least test loss against the bound of equation 5.7, steps being "
        "those of large batches. Right: test loss (solid) and train loss (dashed) of the "
        "largest model of the study; a bar joins both where the test loss is least.",
        studies=("data_size",),
        laws=("L_ND",),
        more_laws=("L_NS", "B_crit"),
    ),
    "fig17": Needs(
        "Figure 17. Transformers that use their blocks again",
        "Loss after training against parameters, those used again counted each time (left) or "
        "once (right). The paper finds them slightly better for their size and slightly worse "
        "for their compute.",
        studies=("model_size", "universal"),
    ),
    "fig18": Needs(
        "Figure 18. Batch size scans",
        "Steps and tokens at which runs of several batches reach a loss, each with the best of "
        "its learning rates, and the hyperbolae of equation 5.1. Colour is the loss.",
        studies=("batch_size",),
    ),
    "fig19": Needs(
        "Figure 19. Sample efficiency against size",
        "Least steps (left) and least tokens (right) to a loss, by the learning curves and "
        "B_crit(L). The paper finds both to fall with size.",
        studies=("model_size",),
        laws=("B_crit",),
    ),
    "fig20": Needs(
        "Figure 20. Loss by position in the context",
        "Left: after training, a line for each size, and a + b T^-c (dashed). Right: in the "
        "training of the largest model, a line for each position.",
        studies=("model_size",),
    ),
    "fig21": Needs(
        "Figure 21. Loss at single positions against size",
        "Models of long contexts and, where the study is on, of short ones. The paper finds "
        "that short ones are better at the first tokens.",
        studies=("model_size",),
        more=("context",),
    ),
    "fig22": Needs(
        "Figure 22. Learning rate schedules",
        "Left: the rates. Right: loss after training against their sum. The paper finds the "
        "schedule to matter little as long as the sum is large and the rate decays in the end.",
        studies=("schedule",),
    ),
    "fig23": Needs(
        "Figure 23. A power law beside a logarithm",
        "Loss after training against size, fitted both ways. The paper finds that the power law"
        " fits better.",
        studies=("model_size",),
        laws=("L_N",),
    ),
    "fig24": Needs(
        "Figure 24. Loss on other text against depth",
        "Models of one size, after training. The paper finds no trend with depth.",
        any_of=("aspect", "shape"),
    ),
}

OWN = {
    "corpus": Needs(
        "From links to documents",
        "What each stage of the corpus kept, and what it dropped for which reason. Each bar "
        "begins with what the stage before kept; links are counted as submissions until several "
        "of one page are merged.",
        files=("tables/flow.csv",),
    ),
    "duplicates": Needs(
        "Which near duplicates are found",
        "The chance that a pair of documents becomes a candidate, against its similarity "
        "(line), and the similarities of the duplicates that were dropped (bars). Candidates "
        "are verified, so that none below the threshold (dotted) is dropped.",
        files=("tables/flow.csv", "tables/duplicates.csv"),
    ),
    "residuals": Needs(
        "Residuals of the fits",
        "Observed over fitted, in percent, against what was fitted, a panel for each law. A "
        "trend or a bow means that the form is wrong; the band is two standard deviations.",
        every_fit=True,
    ),
    "held_out": Needs(
        "Largest runs, foretold by the others",
        "The runs of most compute are held out, and the law is fitted to the rest: interval of "
        "a run by each form of the law, and what was observed (vertical line). Pale where the rest "
        "does not determine the form.",
        files=("tables/held_out.csv",),
    ),
    "conventions": Needs(
        "Exponents under every convention",
        "The exponent of the best size against compute, as parameters, FLOP, batch and schedule"
        " are counted or matched (after Porian et al. 2024), with intervals, beside the "
        "published ones.",
        any_of=("model_size", "matched"),
        files=("tables/conventions.csv",),
    ),
    "critical_batch": Needs(
        "The critical batch three ways",
        "By the hyperbola of each loss; as the largest batch that needs at most 20 % more "
        "tokens than the least (Zhang et al. 2024), read from the runs and scaled to the same "
        "meaning; and by the gradient noise scale. Merrill et al. 2025 find the noise scale too"
        " small.",
        studies=("batch_size",),
        laws=("B_crit",),
    ),
    "cost": Needs(
        "What the studies cost",
        "Training compute of each study, with attention and head, by size of the model. A run "
        "of several studies is split among them.",
        files=("plan/runs.tsv",),
    ),
}

FIGURES = PAPER | OWN


def drawable(studies: Collection[str], laws: Collection[str]) -> list[str]:
    """Return the figures that can be drawn from the tables of `studies` and the fits of `laws`."""
    return [name for name in FIGURES if not lacking(name, studies, laws)]


def lacking(name: str, studies: Collection[str], laws: Collection[str]) -> list[str]:
    """Return the studies and laws that a figure needs and that are off, by their names."""
    needs = FIGURES[name]
    missing = [
        *(f"study {study}" for study in needs.studies if study not in studies),
        *(f"law {law}" for law in needs.laws if law not in laws),
    ]
    if needs.any_of and not set(needs.any_of) & set(studies):
        missing.append(f"one of the studies {', '.join(needs.any_of)}")
    if needs.every_fit and not laws:
        missing.append("any law")
    return missing


def reads_studies(name: str, studies: Collection[str]) -> list[str]:
    """Return those of the studies that a figure reads."""
    needs = FIGURES[name]
    return [s for s in (*needs.studies, *needs.any_of, *needs.more) if s in studies]


def reads_laws(name: str, laws: Collection[str]) -> list[str]:
    """Return those of the laws that a figure reads."""
    needs = FIGURES[name]
    if needs.every_fit:
        return list(laws)
    return [law for law in (*needs.laws, *needs.more_laws) if law in laws]
