"""Memory foretold from a spec is what the tensors of that run take."""

import pytest
import small_run
import torch

from scaling_laws.models.build import build
from scaling_laws.training.memory import fits, training_memory
from scaling_laws.training.optim import optimizer

SPEC = small_run.SPEC.model_copy(
    update={
        "n_layer": 3,
        "d_model": 64,
        "n_head": 4,
        "d_ff": 256,
        "n_ctx": 128,
        "vocab_size": 1000,
        "batch_sequences": 8,
    }
)
LSTM = {"architecture": "lstm", "n_head": 0, "d_ff": 0}
PAPERS_LARGEST = SPEC.model_copy(
    update={
        "n_layer": 48,
        "d_model": 1600,
        "n_head": 25,
        "d_ff": 6400,
        "n_ctx": 1024,
        "vocab_size": 50257,
        "batch_sequences": 512,
        "micro_batches": 64,
        "optimizer": "adafactor",
        "precision": "bfloat16",
    }
)


def bytes_of(tensors):
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("update", [{}, {"tied_head": False}, LSTM])
@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_weights_gradients_and_optimizer_state_are_those_of_the_tensors(update, kind):
    spec = SPEC.model_copy(update={**update, "optimizer": kind})
    model = build(spec)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    updates = optimizer(model, spec)
    updates.step()
    found = training_memory(spec)
    parameters = list(model.parameters())
    assert found["weights"] == found["gradients"] == bytes_of(parameters)
    # The counter of each parameter is a scalar.
    state = [
        value for entry in updates.state.values() for value in entry.values() if value.numel() > 1
    ]
    largest = max(bytes_of([parameter]) for parameter in parameters)
    copies = 3 * largest if kind == "adafactor" else 0
    assert found["optimizer"] == bytes_of(state) + copies


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("update", [{}, {"n_layer": 1}, {"d_ff": 64}, {"reuse": 2}])
def test_activations_are_what_the_forward_pass_saves(precision, update):
    torch.set_float32_matmul_precision("highest")  # the blocks as on a GPU
    universal = {"architecture": "universal"} if "reuse" in update else {}
    spec = SPEC.model_copy(update={**update, **universal, "precision": precision})
    model = build(spec)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    saved = []

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            saved.append(tensor)
        return tensor

    tokens = torch.zeros(spec.batch_sequences, spec.n_ctx, dtype=torch.long)
    rounded = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), rounded:
        model.hidden(tokens)
    assert training_memory(spec)["activations"] == pytest.approx(bytes_of(saved), rel=0.1)


def test_micro_batches_and_processes_divide_what_grows_with_the_batch():
    whole = training_memory(SPEC)["activations"]
    assert training_memory(SPEC.model_copy(update={"micro_batches": 4}))["activations"] < whole / 3
    assert training_memory(SPEC, 4)["activations"] < whole / 3
    assert training_memory(SPEC, 4)["weights"] == training_memory(SPEC)["weights"]


def test_the_papers_largest_model_fits_one_large_gpu_or_a_share_of_it_many_small_ones():
    alone = training_memory(PAPERS_LARGEST)
    assert alone["weights"] == 4 * PAPERS_LARGEST.N_total == 4 * 1_557_611_200
    assert fits(PAPERS_LARGEST, 1, 80) and not fits(PAPERS_LARGEST, 8, 24)
    spread = training_memory(PAPERS_LARGEST, 8, sharded=True)
    assert spread["weights"] == alone["weights"] // 8
    assert sum(spread.values()) < 16e9 < sum(alone.values())
