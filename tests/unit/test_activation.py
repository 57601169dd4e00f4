"""The activation on a processor is PyTorch's GELU by tanh."""

import pytest
import torch
from torch.nn import functional as F

from scaling_laws.models import activation
from scaling_laws.models.activation import gelu

torch.set_num_threads(1)


def value_and_gradient(activation, x, away):
    x = x.detach().requires_grad_()
    value = activation(x)
    return value, *torch.autograd.grad(value, x, away)


def tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


# One element; less than a piece; some pieces and a rest.
@pytest.mark.parametrize("shape", [(1, 1), (3, 35), (3, activation.ELEMENTS_PER_PIECE // 2 + 1)])
@pytest.mark.parametrize("transposed", [False, True])
def test_value_and_gradient_are_those_of_pytorchs_in_float64(shape, transposed):
    generator = torch.Generator().manual_seed(0)
    x, away = (3 * torch.randn(shape, generator=generator) for _ in range(2))
    if transposed:
        x, away = x.t(), away.t()
    exact = value_and_gradient(tanh_gelu, x.double(), away.double())
    for found, expected in zip(value_and_gradient(gelu, x, away), exact, strict=True):
        assert found.shape == x.shape and found.dtype == torch.float32
        assert (found - expected).norm() < 1e-6 * (1 + expected.norm())


def test_far_from_zero_it_is_the_identity_or_nothing():
    x = torch.tensor([-1e9, -50.0, 0.0, 50.0, 1e9], requires_grad=True)
    y = gelu(x)
    assert y.tolist() == [0.0, 0.0, 0.0, 50.0, 1e9]
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert slope.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_other_precisions_and_devices_are_left_to_pytorch():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    assert torch.equal(gelu(x), F.gelu(x, approximate="tanh"))
