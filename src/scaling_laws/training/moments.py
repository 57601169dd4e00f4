"""Moments of the gradient from gradients of two batch sizes (McCandlish et al. 2018, appendix A.1).

The squared norm of a gradient over a batch of B tokens has the expectation |G|^2 + tr(Sigma) / B,
where G is the gradient of the whole distribution and Sigma the covariance of a single token's. Two
batch sizes give both moments without bias. Their ratio has a bias, so the moments are averaged
over steps each on its own, before they are divided.
"""

from __future__ import annotations

from typing import NamedTuple


class NoiseScale(NamedTuple):
    """Moments of the gradient.

    Attributes:
        gradient: |G|^2, squared norm of the true gradient.
        covariance: tr(Sigma), summed variance of the gradient of one token.
    """

    gradient: float
    covariance: float

    @property
    def tokens(self) -> float:
        """The simple noise scale tr(Sigma) / |G|^2, a batch size in tokens."""
        return self.covariance / self.gradient


def noise_scale(
    squared_small: float, squared_big: float, tokens_small: float, tokens_big: float
) -> NoiseScale:
    """Return the moments behind the mean squared norms of gradients over two batch sizes.

    Args:
        squared_small: Mean of |G_small|^2, over gradients of `tokens_small` tokens.
        squared_big: Mean of |G_big|^2, over gradients of `tokens_big` tokens.
        tokens_small: Size of the small batch.
        tokens_big: Size of the big batch, larger than the small one.
    """
    gradient = (tokens_big * squared_big - tokens_small * squared_small) / (
        tokens_big - tokens_small
    )
    covariance = (squared_small - squared_big) / (1 / tokens_small - 1 / tokens_big)
    return NoiseScale(gradient, covariance)
