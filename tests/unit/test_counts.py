"""Counts: parameters are those of the tensors, FLOP those of the products, and both the papers'."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scaling_laws.models.architecture import Architecture
from scaling_laws.models.build import build
from scaling_laws.models.counts import (
    non_embedding_parameters,
    parameter_groups,
    parameters,
    training_flop_per_token,
)

TRANSFORMER = {"n_head": 2, "n_ctx": 24, "vocab_size": 50}
UNIVERSAL = TRANSFORMER | {"architecture": "universal"}
LSTM = {"architecture": "lstm", "n_ctx": 24, "vocab_size": 50}
ARCHITECTURES = {
    "transformer": Architecture(n_layer=3, d_model=24, d_ff=96, **TRANSFORMER),
    "narrow feed-forward, untied": Architecture(
        n_layer=2, d_model=16, d_ff=40, tied_head=False, **TRANSFORMER
    ),
    "no layers": Architecture(n_layer=0, d_model=8, d_ff=32, **TRANSFORMER),
    "universal": Architecture(n_layer=2, d_model=16, d_ff=48, reuse=4, **UNIVERSAL),
    "lstm": Architecture(n_layer=1, d_model=12, **LSTM),
    "deep lstm, untied": Architecture(n_layer=4, d_model=10, tied_head=False, **LSTM),
}
every_architecture = pytest.mark.parametrize("model", ARCHITECTURES.values(), ids=ARCHITECTURES)


def gpt2(n_layer, d_model, n_ctx=1024, vocab_size=50257, n_head=1):
    return Architecture(
        n_layer=n_layer,
        d_model=d_model,
        n_head=n_head,
        d_ff=4 * d_model,
        n_ctx=n_ctx,
        vocab_size=vocab_size,
    )


def group_of(name):
    """Return the group that a tensor of this name belongs to."""
    if "untied_head" in name:
        return "head"
    if "norm" in name:
        return "norms"
    if "embedding" in name:
        return name.split(".")[0]
    if "bias" in name:
        return "biases"
    if "layers" in name:
        return "recurrence"
    return "attention" if "query" in name or "projection" in name else "feed_forward"


@every_architecture
def test_counted_parameters_are_those_of_the_tensors_group_by_group(model):
    groups = dict.fromkeys(parameter_groups(model), 0)
    for name, tensor in build(model).named_parameters():
        groups[group_of(name)] += tensor.numel()
    assert groups == parameter_groups(model)
    outside = {"token_embedding", "position_embedding", "head", "norms"}
    if model.architecture != "lstm":
        outside.add("biases")
    inside = sum(count for group, count in groups.items() if group not in outside)
    assert parameters(model, "non_embedding") == non_embedding_parameters(model) == inside
    assert parameters(model, "with_head") == inside + 50 * model.d_model
    assert parameters(model, "total") == sum(groups.values())


def test_an_lstm_has_four_gates_of_inputs_state_and_one_bias_in_each_layer():
    assert non_embedding_parameters(Architecture(n_layer=2, d_model=3, **LSTM)) == 2 * 4 * 7 * 3


def test_a_universal_transformer_counts_its_weights_once_and_its_operations_each_pass():
    universal = ARCHITECTURES["universal"]
    once = universal.model_copy(update={"architecture": "transformer", "reuse": 1})
    unrolled = once.model_copy(update={"n_layer": 8})
    assert parameter_groups(universal) == parameter_groups(once)
    assert non_embedding_parameters(universal) == non_embedding_parameters(once)
    for convention in ("non_embedding", "attention", "head", "full", "chinchilla"):
        assert training_flop_per_token(universal, convention) == training_flop_per_token(
            unrolled, convention
        )


@every_architecture
def test_counted_operations_are_those_of_the_matrix_products(model):
    with torch.device("meta"):
        network = build(model)
        tokens = torch.zeros(1, model.n_ctx, dtype=torch.long)
    with FlopCounterMode(display=False) as performed:
        network(tokens)
    counted = {
        convention: training_flop_per_token(model, convention) // 3
        for convention in ("non_embedding", "attention", "head", "full")
    }
    # Table 1 takes the causal mask to halve attention, which products do not; an LSTM's N has
    # its biases, which are no products.
    attention = counted["attention"] - counted["non_embedding"]
    biases = 2 * 4 * model.n_layer * model.d_model if model.architecture == "lstm" else 0
    products = counted["full"] + attention - biases
    assert performed.get_total_flops() == products * model.n_ctx
    assert counted["head"] - counted["non_embedding"] == 2 * 50 * model.d_model
    assert (attention > 0) == (model.architecture != "lstm" and model.n_layer > 0)


# n_layer, d_model, N, N with embeddings, FLOP over 6 N: with attention, with attention and head.
PAPER = [
    (1, 8, 768, 411_016, 11.7, 535),
    (2, 128, 393_216, 6.96e6, 1.67, 18.0),
    (4, 256, 3_145_728, 16.3e6, 1.33, 5.42),
    (8, 512, 25_165_824, 51.4e6, 1.17, 2.19),
    (12, 768, 84_934_656, 124.3e6, 1.11, 1.57),
    (24, 1024, 301_989_888, 354.5e6, 1.08, 1.25),
    (36, 1280, 707_788_800, 773.4e6, 1.07, 1.16),
    (48, 1600, 1_474_560_000, 1.557e9, 1.05, 1.11),
    (6, 4288, 1_323_859_968, 1.544e9, 1.02, 1.18),
    (207, 768, 1_465_122_816, 1.505e9, 1.11, 1.14),
]


@pytest.mark.parametrize(("n_layer", "d_model", "N", "total", "attention", "full"), PAPER)
def test_the_papers_sizes_have_the_papers_counts(n_layer, d_model, N, total, attention, full):
    model = gpt2(n_layer, d_model)
    groups = parameter_groups(model)
    assert non_embedding_parameters(model) == N
    embeddings = groups["token_embedding"] + groups["position_embedding"]
    assert N + embeddings == pytest.approx(total, rel=2e-3)
    assert parameters(model, "total") == N + embeddings + groups["biases"] + groups["norms"]
    assert training_flop_per_token(model) == 6 * N
    for convention, factor in (("attention", attention), ("full", full)):
        rounding = 0.5 if factor > 100 else 0.05 if factor > 10 else 0.005
        assert training_flop_per_token(model, convention) / (6 * N) == pytest.approx(
            factor, abs=1.01 * rounding
        )


# Hoffmann et al. 2022, table A4: parameters, n_layer, d_model, n_head, FLOP over 6 N.
CHINCHILLA = [
    (73_825_280, 10, 640, 10, 1.03),
    (305_707_008, 20, 1024, 16, 1.10),
    (552_604_160, 24, 1280, 10, 1.08),
    (1_143_453_696, 26, 1792, 14, 1.04),
    (1_593_126_912, 28, 2048, 16, 1.03),
    (6_796_274_688, 40, 3584, 28, 0.99),
]


@pytest.mark.parametrize(("total", "n_layer", "d_model", "n_head", "ratio"), CHINCHILLA)
def test_chinchillas_convention_gives_chinchillas_table(total, n_layer, d_model, n_head, ratio):
    model = gpt2(n_layer, d_model, 2048, 32_000, n_head)
    flop = training_flop_per_token(model, "chinchilla")
    # The table leaves out the embedding and the head, which the formula above it counts.
    vocabulary = 3 * 2 * (2 * 32_000 * d_model)
    assert (flop - vocabulary) / (6 * total) == pytest.approx(ratio, abs=0.0055)
