"""The paper's claims in its order, and which laws, trends and figures bear on each."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_laws.laws.forms import LATER


@dataclass(frozen=True)
class Section:
    """A claim of the paper, or a later one, with what is shown for it.

    Attributes:
        name: Anchor in the page.
        title: Heading.
        claim: What is claimed, and where.
        laws: Laws whose constants bear on it.
        trends: Claims about tables, by the names of the functions in `claims`.
        figures: Figures.
    """

    name: str
    title: str
    claim: str
    laws: tuple[str, ...] = ()
    trends: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()


SECTIONS = (
    Section(
        "power-laws",
        "Smooth power laws",
        "Loss falls as a power of model size, of data and of compute, as long as the other two do "
        "not limit it (section 1.1, equations 1.1 to 1.3).",
        laws=("L_N", "L_D", "L_C", "L_C_min"),
        figures=("fig01", "fig13", "fig23"),
    ),
    Section(
        "shape",
        "Scale matters, shape hardly",
        "At a fixed number of parameters without embeddings, depth, width and heads change the "
        "loss by a few percent (section 3.1).",
        figures=("fig05", "fig06", "fig17"),
    ),
    Section(
        "other-text",
        "What is learnt carries over",
        "Loss on other text falls with loss on the training distribution, at an offset that is "
        "about constant, whatever the depth (section 3.2.2, appendix D.8).",
        trends=("other_text",),
        figures=("fig08", "fig24"),
    ),
    Section(
        "overfitting",
        "Overfitting follows one law",
        "Loss depends on size and data together by L(N, D); overfitting depends on one combination "
        "of both (section 4).",
        laws=("L_ND", "L_ND_rejected"),
        figures=("fig04", "fig09", "fig16"),
    ),
    Section(
        "training",
        "Learning curves follow one law",
        "Loss depends on size and on the steps of large batches by L(N, S_min) (section 5.3).",
        laws=("L_NS",),
        figures=("fig11",),
    ),
    Section(
        "sample-efficiency",
        "Larger models need fewer samples",
        "They reach the same loss with fewer steps and fewer tokens (section 1.1).",
        trends=("sample_efficiency",),
        figures=("fig02", "fig19"),
    ),
    Section(
        "batch",
        "The best batch follows the loss",
        "The batch at which steps and tokens balance is a power of the loss alone, whatever the "
        "size (section 5.1).",
        laws=("B_crit",),
        trends=("batches",),
        figures=("fig18", "fig10", "critical_batch"),
    ),
    Section(
        "allocation",
        "Compute goes into size",
        "The best size grows fast with compute, the batch slowly and the steps hardly; training to "
        "convergence is inefficient (sections 6.1, 6.2, appendix B).",
        laws=("N_opt", "B_opt", "S_opt", "D_opt", "N_C"),
        figures=("fig03", "fig14", "fig12"),
    ),
    Section(
        "contradiction",
        "The laws must break somewhere",
        "Compute-efficient training uses data so slowly that its law crosses that of the data "
        "(section 6.3).",
        figures=("fig15",),
    ),
    Section(
        "context",
        "The whole context is used",
        "Loss falls along the context, faster for larger models; LSTMs stop to gain early "
        "(sections 3.2.1, appendix D.5).",
        trends=("positions",),
        figures=("fig20", "fig21", "fig07"),
    ),
    Section(
        "schedule",
        "Schedules matter little",
        "As long as the rates sum to enough and decay in the end; what is left is the noise of "
        "seeds (appendix D.6).",
        trends=("seeds",),
        figures=("fig22",),
    ),
    Section(
        "later",
        "What later work holds against it",
        "With schedules matched to each run, all parameters counted and an irreducible loss, size "
        "and data grow alike (Hoffmann et al. 2022, Porian et al. 2024, Pearce and Song 2024).",
        laws=LATER,
        figures=("conventions",),
    ),
    Section(
        "trust",
        "How far these fits can be trusted",
        "Residuals without a trend, and largest runs that the others foretell.",
        laws=("L_T", "S_stop", "D_min", "LR_N", "S_B"),
        figures=("residuals", "held_out"),
    ),
)
"""In the order of the report. Figures of the data and of the plan stand in their own sections."""
