"""Training: the model is the paper's, the loss is right, and a run says how it ended."""

import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from scaling_laws.errors import InputError
from scaling_laws.evaluation.losses import evaluate
from scaling_laws.models import counts
from scaling_laws.models.loss import (
    mean_loss,
    mean_over_sequences,
    sequence_losses,
    token_losses,
)
from scaling_laws.models.transformer import Transformer
from scaling_laws.tokens.reader import TokenStream
from scaling_laws.training.loop import adamw, build, train
from scaling_laws.training.schedule import learning_rate
from scaling_laws.training.spec import RunSpec

torch.set_num_threads(1)

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


def write_tokens(path, tokens, vocab_size=64):
    np.asarray(tokens, "<u2").tofile(path)
    facts = {"dtype": "uint16", "tokens": len(tokens), "vocab_size": vocab_size}
    path.with_suffix(".json").write_text(json.dumps(facts))
    rows = pd.DataFrame({"doc_id": ["a"], "offset": [0], "tokens": [len(tokens)]})
    rows.to_parquet(path.with_suffix(".documents.parquet"))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text with a pattern to learn: each token is the one before plus 1 or 2, modulo 64."""
    folder = tmp_path_factory.mktemp("training")
    rng = np.random.default_rng(0)
    for name, length in (("train", 10_000), ("test", 2_000)):
        write_tokens(folder / f"{name}.bin", np.cumsum(rng.integers(1, 3, length)) % 64)
    return folder


def run(folder, out, spec=SPEC, **changes):
    spec = spec.model_copy(update=changes)
    train(
        spec=spec,
        tokens=folder / "train.bin",
        test=folder / "test.bin",
        curve=out / "curve.parquet",
        model=out / "model.safetensors",
        run=out / "run.json",
        snapshots=out / "snapshots",
    )
    return pd.read_parquet(out / "curve.parquet"), json.loads((out / "run.json").read_text())


def loss_on_test(model, folder):
    held_out = torch.from_numpy(TokenStream(folder / "test.bin", 1000).sequences(16))
    return mean_over_sequences(sequence_losses(model, held_out))[0]


@pytest.mark.parametrize(("n_layer", "d_model", "d_ff"), [(1, 8, 32), (3, 24, 96), (2, 16, 40)])
def test_counted_parameters_are_those_of_the_tensors_group_by_group(n_layer, d_model, d_ff):
    model = Transformer(
        n_layer=n_layer, d_model=d_model, n_head=2, d_ff=d_ff, n_ctx=32, vocab_size=50
    )
    groups = dict.fromkeys(counts.parameter_groups(1, 1, 1, 1, 1), 0)
    for name, tensor in model.named_parameters():
        if "norm" in name:
            group = "norms"
        elif "embedding" in name:
            group = name.split(".")[0]
        elif name.endswith("bias"):
            group = "biases"
        else:
            attends = "query" in name or "projection" in name
            group = "attention" if attends else "feed_forward"
        groups[group] += tensor.numel()
    assert groups == counts.parameter_groups(n_layer, d_model, d_ff, 32, 50)
    N = counts.non_embedding_parameters(n_layer, d_model, d_ff)
    assert groups["attention"] + groups["feed_forward"] == N


def test_the_papers_sizes_have_the_papers_parameters():
    assert counts.non_embedding_parameters(2, 128, 512) == 393_216
    assert counts.non_embedding_parameters(48, 1600, 6400) == 1_474_560_000
    total = sum(counts.parameter_groups(36, 1280, 5120, 1024, 50257).values())
    assert total == pytest.approx(773.4e6, rel=0.01)
    # Attention and head on top of 6 N, as factors, for (8, 512) at context 1,024.
    N = counts.non_embedding_parameters(8, 512, 2048)
    assert counts.training_flop_per_token(8, 512, 2048, 1024, 50257) / (6 * N) == pytest.approx(
        2.19, abs=0.01
    )


def test_the_loss_and_its_gradients_are_those_of_cross_entropy():
    torch.manual_seed(0)
    hidden = torch.randn(700, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(900, 12, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 900, (700,))
    ours = mean_loss(hidden, weight, targets)
    theirs = F.cross_entropy(hidden @ weight.t(), targets)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    for a, b in zip(
        torch.autograd.grad(3 * ours, (hidden, weight)),
        torch.autograd.grad(3 * theirs, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    each = F.cross_entropy(hidden @ weight.t(), targets, reduction="none")
    torch.testing.assert_close(token_losses(hidden, weight, targets), each)


def test_huge_logits_give_a_finite_loss():
    hidden = torch.full((4, 2), 1e4, requires_grad=True)
    loss = mean_loss(hidden, torch.eye(2), torch.tensor([0, 1, 0, 1]))
    assert loss.item() == pytest.approx(math.log(2))


def test_no_token_sees_a_later_one():
    torch.manual_seed(0)
    model = build(SPEC).eval()
    one = torch.randint(0, 64, (1, 16))
    other = one.clone()
    other[0, 9:] = torch.randint(0, 64, (7,))
    torch.testing.assert_close(model(one)[0, :9], model(other)[0, :9])
    assert not torch.allclose(model(one)[0, 9:], model(other)[0, 9:])


def test_a_new_model_guesses_about_uniformly():
    torch.manual_seed(0)
    losses = sequence_losses(build(SPEC), torch.randint(0, 64, (40, 17)))
    assert losses.shape == (40, 16)
    assert float(losses.mean()) == pytest.approx(math.log(64), abs=0.1)


def test_the_learning_rate_warms_up_linearly_and_decays_to_zero():
    rates = [learning_rate(s, peak=2.0, warmup_steps=10, steps=110) for s in range(110)]
    assert rates[:10] == pytest.approx([0.2 * n for n in range(1, 11)])
    assert rates[10] == 2.0 and rates[60] == pytest.approx(1.0) and 0 < rates[-1] < 0.001
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_weight_decay_spares_biases_and_norms():
    decay = {
        parameter.dim() >= 2: group["weight_decay"]
        for group in adamw(build(SPEC), SPEC).param_groups
        for parameter in group["params"]
    }
    assert decay == {True: 0.1, False: 0.0}


def test_a_run_learns_and_leaves_its_curve_weights_and_facts(folder, tmp_path):
    curve, facts = run(folder, tmp_path)
    assert list(curve["step"]) == SPEC.evaluation_steps() and curve["step"].iloc[-1] == 120
    assert (curve["tokens"] == curve["step"] * 128).all()
    # The pattern leaves one bit a token: ln 2.
    assert curve["test_loss"].iloc[0] > 3.5 and curve["test_loss"].iloc[-1] < 1.5
    assert facts["outcome"] == "finished" and facts["run"] == SPEC.name
    assert facts["test_loss"] == curve["test_loss"].iloc[-1]
    model = build(SPEC)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert loss_on_test(model, folder) == facts["test_loss"]


def test_the_same_spec_gives_the_same_weights(folder, tmp_path):
    for name in "ab":
        run(folder, tmp_path / name, dropout=0.1)
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert a == b
    run(folder, tmp_path / "c", dropout=0.1, seed=1)
    assert (tmp_path / "c" / "model.safetensors").read_bytes() != a


def test_a_run_that_overfits_stops_and_keeps_its_best_weights(folder, tmp_path):
    curve, facts = run(
        folder,
        tmp_path,
        data_tokens=200,
        steps=600,
        evaluations=60,
        patience=3,
    )
    best = curve["test_loss"].idxmin()
    assert facts["outcome"] == "early_stopped" and facts["steps"] < 600
    assert len(curve) == best + 1 + 3
    assert facts["step"] == facts["best_step"] == curve["step"][best]
    model = build(SPEC)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert loss_on_test(model, folder) == curve["test_loss"][best]


def test_a_run_that_diverges_is_recorded_with_its_step(folder, tmp_path):
    curve, facts = run(folder, tmp_path, lr=1e6, gradient_clip=1e9, warmup_steps=0)
    assert facts["outcome"] == "diverged"
    assert facts["steps"] == curve["step"].iloc[-1] < 120
    assert not curve["test_loss"].iloc[-1] < 1.5 * math.log(64)
    assert all(torch.isfinite(t).all() for t in load_file(tmp_path / "model.safetensors").values())


def test_tokens_of_another_vocabulary_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="encoded with 64 entries, the run has 65"):
        run(folder, tmp_path, vocab_size=65)


def test_evaluation_gives_losses_of_weights_and_snapshots_by_corpus_and_position(folder, tmp_path):
    _, facts = run(folder, tmp_path, snapshots=2)
    write_tokens(tmp_path / "noise.bin", np.random.default_rng(1).integers(0, 64, 500))
    evaluate(
        [folder / "test.bin", tmp_path / "noise.bin"],
        run=tmp_path / "run.json",
        model=tmp_path / "model.safetensors",
        snapshots=tmp_path / "snapshots",
        losses=tmp_path / "evaluation.parquet",
        positions=tmp_path / "positions.parquet",
        tokens=1000,
    )
    losses = pd.read_parquet(tmp_path / "evaluation.parquet")
    assert len(losses) == 3 * 2
    final = losses[losses["step"] == 120].set_index("corpus")
    assert final["loss"]["test"] == pytest.approx(facts["test_loss"], abs=1e-6)
    assert final["loss"]["noise"] > math.log(64)
    assert list(final["tokens"][["test", "noise"]]) == [992, 496]
    positions = pd.read_parquet(tmp_path / "positions.parquet")
    by_position = positions[(positions["step"] == 120) & (positions["corpus"] == "test")]
    assert list(by_position["position"]) == list(range(1, 17))
    assert by_position["loss"].mean() == pytest.approx(facts["test_loss"], abs=1e-5)


def test_the_name_of_a_run_changes_with_whatever_changes_its_result():
    assert SPEC.name.startswith("transformer-2x16-") and len(SPEC.name) == 25
    changed = {field: SPEC.model_copy(update={field: 7}).name for field in RunSpec.model_fields}
    assert len({SPEC.name, *changed.values()}) == len(RunSpec.model_fields) + 1


def test_evaluations_are_spaced_evenly_in_the_logarithm():
    steps = SPEC.model_copy(update={"steps": 2000, "evaluations": 20}).evaluation_steps()
    ratios = np.diff(np.log(steps))
    assert steps[0] == 8 and steps[-1] == 2000 and ratios.max() < 2 * ratios.min()
    assert SPEC.model_copy(update={"steps": 5}).evaluation_steps() == [5]
