"""Optimizers: what PyTorch computes is what the papers' formulas say, written out in NumPy."""

import copy

import numpy as np
import pytest
import torch
from small_run import SPEC
from torch import nn

from scaling_laws.training.optim import Adafactor, optimizer

torch.set_num_threads(1)

MATRIX = np.array([[0.5, -1.0, 0.25], [2.0, 0.75, -0.5]])
VECTOR = np.array([0.1, -0.3])
GRADIENTS = [  # of matrix and vector, in three updates; the first has a row of zeros
    (np.array([[0.0, 0.0, 0.0], [1e-4, 2e-5, -4e-5]]), np.array([3e-3, -1e-3])),
    (np.array([[0.3, -0.6, 0.1], [-0.2, 0.4, 0.7]]), np.array([0.2, 0.5])),
    (np.array([[-0.1, 0.2, 0.9], [0.8, -0.3, 0.05]]), np.array([-0.4, 0.6])),
]
MATRICES, VECTORS = zip(*GRADIENTS, strict=True)
PAIRS = [(MATRIX, MATRICES), (VECTOR, VECTORS)]
RATES = [0.03, 0.02, 0.01]
DECAY = SPEC.weight_decay


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor(MATRIX, dtype=torch.float32))
        self.vector = nn.Parameter(torch.tensor(VECTOR, dtype=torch.float32))


def spec(**changes):
    return SPEC.model_copy(update=changes)


def trained(chosen, model, updates=range(3)):
    """Return matrix and vector after the updates, each at its own rate."""
    for update in updates:
        for group in chosen.param_groups:
            group["lr"] = RATES[update]
        for parameter, gradient in zip(model.parameters(), GRADIENTS[update], strict=True):
            parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        chosen.step()
    return [parameter.detach().numpy() for parameter in model.parameters()]


def adam(x, gradients, *, decoupled=0.0, coupled=0.0, beta1=0.9, beta2=0.95, eps=1e-8):
    """Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2."""
    first = second = np.zeros_like(x)
    for t, (gradient, rate) in enumerate(zip(gradients, RATES, strict=True), start=1):
        gradient = gradient + coupled * x
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        step = (first / (1 - beta1**t)) / (np.sqrt(second / (1 - beta2**t)) + eps)
        x = x - rate * step - rate * decoupled * x
    return x


def adafactor(x, gradients, *, eps2, decay=0.0, eps1=1e-30):
    """Shazeer & Stern 2018, algorithms 4 and 5, with sums over rows and columns."""
    rows = columns = second = 0.0
    for t, (gradient, rate) in enumerate(zip(gradients, RATES, strict=True), start=1):
        alpha = max(eps2, np.sqrt(np.mean(x**2))) * rate
        beta2 = 1 - t**-0.8
        squares = gradient**2 + eps1
        if x.ndim == 2:
            rows = beta2 * rows + (1 - beta2) * squares.sum(1)
            columns = beta2 * columns + (1 - beta2) * squares.sum(0)
            second = np.outer(rows, columns) / rows.sum()
        else:
            second = beta2 * second + (1 - beta2) * squares
        update = gradient / np.sqrt(second)
        clipped = update / max(1, np.sqrt(np.mean(update**2)))
        x = x - alpha * clipped - rate * decay * x
    return x


def assert_equal(found, expected):
    for tensor, array in zip(found, expected, strict=True):
        np.testing.assert_allclose(tensor, array, rtol=2e-6)


def test_adamw_decays_the_matrix_apart_from_its_gradient_and_not_the_vector():
    model = Model()
    found = trained(optimizer(model, spec(optimizer="adamw")), model)
    assert_equal(found, [adam(MATRIX, MATRICES, decoupled=DECAY), adam(VECTOR, VECTORS)])


def test_adam_takes_the_decay_of_the_matrix_into_its_gradient():
    model = Model()
    found = trained(optimizer(model, spec(optimizer="adam")), model)
    assert_equal(found, [adam(MATRIX, MATRICES, coupled=DECAY), adam(VECTOR, VECTORS)])


def test_adam_and_adamw_are_one_without_decay():
    expected = [adam(x, g, beta1=0.8, beta2=0.999) for x, g in PAIRS]
    for kind in ("adam", "adamw"):
        model = Model()
        chosen = optimizer(model, spec(optimizer=kind, weight_decay=0.0, beta1=0.8, beta2=0.999))
        assert_equal(trained(chosen, model), expected)


def test_adafactor_with_the_published_constants_is_the_published_one():
    model = Model()
    found = trained(Adafactor(model.parameters(), lr=1.0), model)
    assert_equal(found, [adafactor(x, g, eps2=1e-3) for x, g in PAIRS])


def test_a_runs_adafactor_has_absolute_rates_and_decays_the_matrix():
    model = Model()
    found = trained(optimizer(model, spec(optimizer="adafactor")), model)
    matrix = adafactor(MATRIX, MATRICES, eps2=1.0, decay=DECAY)
    assert_equal(found, [matrix, adafactor(VECTOR, VECTORS, eps2=1.0)])


def test_adafactor_leaves_alone_what_has_no_gradient():
    model = Model()
    chosen = Adafactor(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    chosen.step()
    np.testing.assert_array_equal(model.matrix.detach(), MATRIX.astype(np.float32))
    model.vector.grad = None
    chosen.step()
    assert chosen.state[model.matrix]["step"] == 2 and chosen.state[model.vector]["step"] == 1


def test_adafactor_holds_a_row_and_a_column_of_a_matrix():
    model = nn.Linear(100, 50, bias=False)
    chosen = optimizer(model, spec(optimizer="adafactor"))
    model(torch.ones(1, 100)).sum().backward()
    chosen.step()
    held = sum(tensor.numel() for tensor in chosen.state[model.weight].values())
    assert held == 100 + 50 + 1


@pytest.mark.parametrize("kind", ["adam", "adamw", "adafactor"])
def test_a_restored_optimizer_goes_on_bit_for_bit(kind):
    model, other = Model(), Model()
    chosen = optimizer(model, spec(optimizer=kind))
    trained(chosen, model, updates=[0, 1])
    other.load_state_dict(model.state_dict())
    restored = optimizer(other, spec(optimizer=kind))
    restored.load_state_dict(copy.deepcopy(chosen.state_dict()))
    for one, two in zip(
        trained(chosen, model, updates=[2]), trained(restored, other, updates=[2]), strict=True
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", ["adam", "adamw", "adafactor"])
def test_every_optimizer_learns(kind):
    torch.manual_seed(0)
    inputs = torch.randn(64, 8)
    targets = inputs @ torch.randn(8, 3)
    model = nn.Linear(8, 3)
    chosen = optimizer(model, spec(optimizer=kind, weight_decay=0.0))
    before = None
    for _ in range(300):
        loss = (model(inputs) - targets).square().mean()
        before = before or loss.item()
        chosen.zero_grad()
        loss.backward()
        chosen.step()
    assert loss.item() < 0.01 * before
