"""Training: the model is the paper's, the loss is right, and a run says how it ended."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from synthetic_tokens import SPEC, counting_tokens, evaluated, outputs, write_tokens

from scaling_laws.errors import InputError
from scaling_laws.evaluation.basis import basis
from scaling_laws.evaluation.losses import clustered_error, evaluate
from scaling_laws.models.build import build
from scaling_laws.models.objective import Objective, mean_over_sequences, sequence_losses
from scaling_laws.tokens import reader
from scaling_laws.tokens.reader import TokenStream
from scaling_laws.training.loop import train
from scaling_laws.training.spec import RunSpec

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return counting_tokens(tmp_path_factory.mktemp("tokens"))


def run(folder, out, **changes):
    train(spec=SPEC.model_copy(update=changes), **outputs(folder, out))
    return pd.read_parquet(out / "curve.parquet"), json.loads((out / "run.json").read_text())


def loss_on_test(model, folder):
    held_out = torch.from_numpy(TokenStream(folder / "test.bin").spread(1000, 16))
    return mean_over_sequences(sequence_losses(Objective(model), held_out))[0]


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


def test_a_run_on_a_copy_of_its_tokens_is_the_same_run(folder, tmp_path, monkeypatch):
    train(spec=SPEC, **outputs(folder, tmp_path / "a"))
    monkeypatch.setattr(reader, "HELD_BYTES", 0)
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    train(spec=SPEC, **outputs(folder, tmp_path / "b"), scratch="$NODE_DISK/tokens")
    assert len(list((tmp_path / "disk/tokens").glob("*.bin"))) == 1
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert a == b


def test_the_basis_of_evaluations_changes_with_each_of_its_files(folder, tmp_path):
    files = [write_tokens(tmp_path / f"{name}.bin", range(60)) for name in ("test", "books")]
    code = tmp_path / "losses.py"
    code.write_text("LOSS = 1\n")
    seen = set()
    for path in (None, code, *(tmp_path.glob("*.json")), *tmp_path.glob("*.parquet"), *files):
        if path and path.suffix == ".json":
            path.write_text(path.read_text() + " ")
        elif path:
            path.write_bytes(path.read_bytes()[::-1] if path in files else changed(path))
        said = basis(files, code=[code], output=tmp_path / "out" / "basis.json")
        seen.add((tmp_path / "out/basis.json").read_bytes())
        assert said == {"files": 6}
    assert len(seen) == 1 + 1 + 3 * len(files)
    with pytest.raises(InputError, match=r"none\.bin: no such file"):
        basis([tmp_path / "none.bin"], output=tmp_path / "basis.json")


def changed(path):
    """Return the content of a source file or a table of documents after an edit."""
    if path.suffix == ".py":
        return path.read_bytes() + b"# an edit\n"
    table = pd.read_parquet(path).assign(doc_id="another")
    return table.to_parquet()


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


def test_a_spec_of_another_way_of_training_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"training_version = 1; this code trains as of \d"):
        run(folder, tmp_path, training_version=1)


def test_weights_and_facts_that_are_not_of_the_run_are_refused_by_name(folder, tmp_path):
    run(folder, tmp_path, steps=8)
    run(folder, tmp_path / "other", steps=8, d_model=8, d_ff=32)

    def evaluated_with(**files):
        evaluate([folder / "test.bin"], **(evaluated(tmp_path) | files))

    (tmp_path / "noise").write_bytes(b"noise" * 100)
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(InputError, match="not the weights of transformer-2x16-"):
        evaluated_with(model=tmp_path / "other/model.safetensors")
    with pytest.raises(InputError, match="noise: not a safetensors file"):
        evaluated_with(model=tmp_path / "noise")
    for name, said in (("empty.json", "no 'spec'"), ("noise", "Expecting value")):
        with pytest.raises(InputError, match=rf"not the run\.json of a run \({said}"):
            evaluated_with(run=tmp_path / name)


def test_evaluation_gives_losses_of_weights_and_snapshots_by_corpus_and_position(folder, tmp_path):
    _, facts = run(folder, tmp_path, snapshots=2)
    write_tokens(tmp_path / "noise.bin", np.random.default_rng(1).integers(0, 64, 500), documents=5)
    evaluate([folder / "test.bin", tmp_path / "noise.bin"], **evaluated(tmp_path), tokens=1000)
    losses = pd.read_parquet(tmp_path / "evaluation.parquet")
    assert len(losses) == 3 * 2
    final = losses[losses["step"] == 120].set_index("corpus")
    assert final["loss"]["test"] == pytest.approx(facts["test_loss"], abs=1e-6)
    assert final["loss"]["noise"] > math.log(64)
    assert list(final["tokens"][["test", "noise"]]) == [992, 496]
    assert list(final["documents"][["test", "noise"]]) == [1, 5]
    assert math.isnan(final["loss_se"]["test"]) and 0 < final["loss_se"]["noise"] < 1
    # Two bytes a token.
    bits = final["loss"] / math.log(2) / 2
    assert list(final["bits_per_byte"]) == pytest.approx(list(bits))
    positions = pd.read_parquet(tmp_path / "positions.parquet")
    by_position = positions[(positions["step"] == 120) & (positions["corpus"] == "test")]
    assert list(by_position["position"]) == list(range(1, 17))
    assert by_position["loss"].mean() == pytest.approx(facts["test_loss"], abs=1e-5)


def test_the_name_of_a_run_changes_with_whatever_changes_its_result():
    assert SPEC.name.startswith("transformer-2x16-") and len(SPEC.name) == 25
    other = dict.fromkeys(RunSpec.model_fields, 7) | {"tied_head": False}
    changed = {field: SPEC.model_copy(update={field: other[field]}).name for field in other}
    assert len({SPEC.name, *changed.values()}) == len(RunSpec.model_fields) + 1


def test_evaluations_are_spaced_evenly_in_the_logarithm():
    steps = SPEC.model_copy(update={"steps": 2000, "evaluations": 20}).evaluation_steps()
    ratios = np.diff(np.log(steps))
    assert steps[0] == 8 and steps[-1] == 2000 and ratios.max() < 2 * ratios.min()
    assert SPEC.model_copy(update={"steps": 5}).evaluation_steps() == [5]


def test_the_standard_error_takes_the_tokens_of_a_document_together():
    rng = np.random.default_rng(0)
    documents = np.repeat(np.arange(50), rng.integers(1, 80, 50))

    def losses():
        """Return losses whose documents differ by 0.5, and their tokens by 1 more."""
        return 4 + 0.5 * rng.normal(size=50)[documents] + rng.normal(size=len(documents))

    means = [losses().mean() for _ in range(2000)]
    errors = [clustered_error(losses(), documents) for _ in range(200)]
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)
    apart = losses().std() / math.sqrt(len(documents))
    assert np.mean(errors) > 2 * apart


def test_predicted_tokens_belong_to_the_document_that_they_stand_in(tmp_path):
    stream = TokenStream(write_tokens(tmp_path / "t.bin", range(60), documents=3))
    assert stream.documents([0, 1, 3], 8).tolist() == [
        [0] * 8,
        [0] * 8,
        [1] * 8,
    ]
    assert stream.documents([2], 8).tolist() == [[0] * 3 + [1] * 5]
    assert stream.sequences([2], 8)[0, 1:].tolist() == list(range(17, 25))
