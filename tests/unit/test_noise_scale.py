"""The gradient noise scale, on a problem whose gradient covariance is known."""

import math

import pytest
import torch
from torch import nn

from scaling_laws.training.moments import noise_scale
from scaling_laws.training.noise_scale import SquaredNorms

MEAN = torch.tensor([3.0, -1.0, 0.5, 0.0])
STD = torch.tensor([1.0, 2.0, 0.5, 4.0])
PARTS, PART = 8, 2  # micro-batches of a step, and the samples of each


class Quadratic(nn.Module):
    """Half the squared distance of a point to random samples: its gradient is their difference."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(2))
        self.rest = nn.Parameter(torch.zeros(2))

    def forward(self, samples):
        return 0.5 * (torch.cat([self.position, self.rest]) - samples).square().sum(1).mean()


def test_the_moments_of_a_quadratic_are_its_gradient_and_covariance():
    torch.manual_seed(0)
    model = Quadratic()
    norms = SquaredNorms(model)
    small, big, steps = 0.0, 0.0, 3000
    for _ in range(steps):
        model.zero_grad()
        samples = MEAN + STD * torch.randn(PARTS, PART, 4)
        for part in samples:
            (model(part) / PARTS).backward()
            small += float(norms.take()) * PARTS**2 / PARTS
        big += sum(float(parameter.grad.square().sum()) for parameter in model.parameters())
    found = noise_scale(small / steps, big / steps, PART, PARTS * PART)
    assert found.gradient == pytest.approx(float(MEAN.square().sum()), rel=0.03)
    assert found.covariance == pytest.approx(float(STD.square().sum()), rel=0.03)
    assert found.tokens == found.covariance / found.gradient


def test_the_estimates_have_no_bias():
    """With the expectations themselves, both moments come out exactly."""
    gradient, covariance = 2.5, 40.0
    squares = [gradient + covariance / tokens for tokens in (16, 64)]
    found = noise_scale(*squares, 16, 64)
    assert found == pytest.approx((gradient, covariance))


def test_a_micro_batchs_norm_is_its_own_whatever_has_been_accumulated():
    torch.manual_seed(0)
    model = Quadratic()
    norms = SquaredNorms(model)
    samples = torch.randn(2, PART, 4)
    model(samples[0]).backward()
    model(samples[1]).backward()
    both = float(norms.take())
    alone = []
    for part in samples:
        fresh = Quadratic()
        fresh(part).backward()
        alone.append(sum(float(p.grad.square().sum()) for p in fresh.parameters()))
    assert both == pytest.approx(math.fsum(alone))
