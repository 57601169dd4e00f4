"""Figure 5: how little the shape matters at a fixed size."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.figures import style
from scaling_laws.figures.canvas import Canvas, groups
from scaling_laws.figures.inputs import Inputs

STUDIES = ("shape", "feed_forward", "aspect", "heads")
SAME_SIZE = 1.06  # ratio of sizes that count as one
PANELS = {
    "feed_forward": r"Feed-forward ratio, $d_\mathrm{ff}/d_\mathrm{model}$",
    "aspect": r"Aspect ratio, $d_\mathrm{model}/n_\mathrm{layer}$",
    "heads": r"Head dimension, $d_\mathrm{model}/n_\mathrm{head}$",
}
ALIKE = ["n_ctx", "tokens", "B", "lr_rule", "dropout", "seed", "D"]


def draw(inputs: Inputs) -> tuple[Figure, pd.DataFrame]:
    """Return the figure and its points: y is the loss increase in percent over the least."""
    on = [study for study in STUDIES if study in inputs.studies]
    runs = inputs.runs(*on)
    runs = runs[(runs.n_layer > 0) & (runs.architecture == "transformer")]
    fit = inputs.fit("L_N")
    if fit is None:
        inputs.note("so figure 5 does not correct for the small differences of size")
    power = fit.constants["alpha_N"] if fit else 0.0
    canvas = Canvas(*PANELS)
    for panel, (name, label) in zip(canvas.panels, PANELS.items(), strict=True):
        groups = list(_series(runs, name))
        for place, (title, x, group) in enumerate(groups):
            # A larger model has a lower loss by the law of size, which is not the shape's merit.
            corrected = group.test_loss * (group.N / group.N.mean()) ** power
            increase = 100 * (corrected / corrected.min() - 1)
            panel.draw(
                title,
                x,
                increase,
                f"-{style.MARKERS[place % 8]}",
                of=group,
                color=style.CATEGORIES[place % 8],
                label=title,
            )
        if not groups:
            inputs.note(f"no two runs differ in the {name.replace('_', '-')} alone")
            panel.say("no runs that differ in this alone")
        panel.finish(
            label, "Loss increase (%)" if name == "feed_forward" else "", scales=("log", "linear")
        )
    return canvas.drawn()


def _series(runs: pd.DataFrame, panel: str) -> Iterator[tuple[str, pd.Series, pd.DataFrame]]:
    """Yield name, ratios and runs of each series: one hyper-parameter varies, the size does not."""
    usual = runs.d_ff == 4 * runs.d_model
    if panel == "heads":
        x = runs.d_model / runs.n_head
        keys = [runs.n_layer, runs.d_model, runs.d_ff, runs.tokens, runs.n_ctx]
        for (n_layer, d_model, *_), group in groups(runs, keys):
            group = group.drop_duplicates("n_head").sort_values("n_head", ascending=False)
            if len(group) > 1:
                yield f"{style.plain(group.N.mean())}: {n_layer} x {d_model}", x[group.index], group
        return
    if panel == "aspect":
        chosen, x, kinds = runs[usual], runs.d_model / runs.n_layer, ["tokens", "n_ctx"]
    else:
        chosen, x, kinds = runs, runs.d_ff / runs.d_model, ["tokens", "n_ctx", "n_layer"]
    for _, of_kind in groups(chosen, kinds):
        ordered = of_kind.sort_values("N")
        cluster = (ordered.N / ordered.N.shift(fill_value=ordered.N.iloc[0]) > SAME_SIZE).cumsum()
        for _, group in ordered.groupby(cluster):
            ratio = x[group.index].round(3)
            # Of models that differ in heads alone, the one with the usual heads.
            heads = (group.d_model / group.n_head - 32).abs()
            group = group.loc[heads.sort_values(kind="stable").index]
            group = group[~ratio[group.index].duplicated()]
            group = group.loc[x[group.index].sort_values().index]
            if len(group) > 1:
                yield style.plain(group.N.mean()), x[group.index], group
