"""Optimizers: Adam, and for models whose state would not fit, Adafactor (paper, section 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from scaling_laws.training.spec import RunSpec


def optimizer(model: nn.Module, spec: RunSpec) -> torch.optim.Optimizer:
    """Return the optimizer of a run over the parameters of `model`, at its peak learning rate.

    - adam (Kingma & Ba 2015): weight decay is L2 regularisation, part of the gradient.
    - adamw (Loshchilov & Hutter 2019): weight decay is decoupled; without any it is adam.
    - adafactor (Shazeer & Stern 2018): see `Adafactor`; its weight decay is decoupled, too.

    Weight decay is for matrices, embeddings among them, and not for biases and norms.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    if spec.optimizer == "adafactor":
        return Adafactor(groups, lr=spec.lr, eps=(1e-30, 1.0))
    kind = torch.optim.Adam if spec.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=spec.lr, betas=(spec.beta1, spec.beta2), fused=True)


class Adafactor(torch.optim.Optimizer):
    """Adafactor without momentum: of a matrix's second moments, the means of rows and columns.

    Update t = 1, 2, ... of a matrix X with gradient G, in the notation of Shazeer & Stern 2018,
    algorithms 4 to 6 (means stand for their sums, which changes nothing):

        b = 1 - t^-0.8
        R = b R + (1 - b) mean over columns (G^2 + eps1)
        C = b C + (1 - b) mean over rows (G^2 + eps1)
        U = G / sqrt(R C / mean(R)), of a vector G / sqrt(V) with V = b V + (1 - b) (G^2 + eps1)
        X = X - lr max(eps2, RMS(X)) U / max(1, RMS(U))

    The learning rate stands for their relative step min(0.01, 1 / sqrt(t)). With eps2 = 1e-3 as
    theirs it is relative to the parameters; with eps2 = 1 it means what it means for Adam (norms'
    gains, when they exceed 1, move in proportion), so that one rule of learning rates serves both.

    `torch.optim.Adafactor` is not used: its rate is never above 1 / sqrt(t), its eps1 is the
    floor of mean(R) and, squared, of the second moment, which at the default of 1e-7 lies above
    the squared gradients of large models; and it does not take the sharded tensors of FSDP2.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        eps: tuple[float, float] = (1e-30, 1e-3),
        weight_decay: float = 0.0,
    ) -> None:
        """Take parameters or groups of them, as every optimizer; weight decay is decoupled."""
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; return what `closure` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        lr, (eps1, eps2) = group["lr"], group["eps"]
        squares = gradient.square().add_(eps1)
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            if gradient.dim() < 2:
                state["variance"] = torch.zeros_like(gradient)
            else:
                state["row_mean"] = gradient.new_zeros((len(gradient), 1))
                state["column_mean"] = gradient.new_zeros((1, gradient.shape[1]))
        state["step"] += 1
        new = float(state["step"]) ** -0.8
        if gradient.dim() < 2:
            update = gradient * state["variance"].lerp_(squares, new).rsqrt()
        else:
            # Sums over sizes: the mean of a sharded tensor would be that of means of its shards.
            rows, columns = state["row_mean"], state["column_mean"]
            rows.lerp_(squares.sum(1, keepdim=True) / gradient.shape[1], new)
            columns.lerp_(squares.sum(0, keepdim=True) / gradient.shape[0], new)
            # One root after the other: the product of two second moments may be too small a number.
            update = gradient * (rows / rows.mean()).rsqrt() * columns.rsqrt()
        size = _root_mean_square(parameter).clamp(min=eps2)
        parameter.mul_(1 - lr * group["weight_decay"])
        parameter.sub_(update * (lr * size / _root_mean_square(update).clamp(min=1)))


def _root_mean_square(tensor: Tensor) -> Tensor:
    return (tensor.square().sum() / tensor.numel()).sqrt()
