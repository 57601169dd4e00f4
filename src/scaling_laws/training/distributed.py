"""One run on several processes: data parallel, or with the weights sharded as well.

Every process takes its share of the micro-batches of a step; gradients are averaged over all. The
batches, their order and dropout are those of a single process, so that the result differs by the
order of floating-point sums alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn

from scaling_laws.models.device import found
from scaling_laws.models.objective import Objective


@dataclass(frozen=True)
class World:
    """The processes of a run, as torchrun has started them.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        device: Where this one computes.
        sharded: Whether each holds a part of the weights, not all.
    """

    rank: int
    size: int
    device: torch.device
    sharded: bool

    def parallel(self, module: Objective) -> nn.Module:
        """Return the module as it is to be called, with its gradients averaged over processes.

        Where weights are sharded, they are gathered one block at a time, and a block's activations
        are computed again in the backward pass.
        """
        if self.size == 1:
            return module
        if not self.sharded:
            places = [self.device.index] if self.device.type == "cuda" else None
            return nn.parallel.DistributedDataParallel(
                module, device_ids=places, gradient_as_bucket_view=True
            )
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        blocks = getattr(module.model, "blocks", nn.ModuleList())
        for number, block in enumerate(blocks):
            blocks[number] = checkpoint_wrapper(block)
            fully_shard(blocks[number], mesh=mesh)
        fully_shard(module, mesh=mesh)  # in place
        return module

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """Return a copy of a model's weights on the CPU; whole on the first process."""
        if self.sharded:
            from torch.distributed.checkpoint import state_dict

            options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
            return cast(
                "dict[str, Tensor]", state_dict.get_model_state_dict(model, options=options)
            )
        if self.rank:
            return {}
        return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}

    def accumulation(self, module: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Return the context of one of several backward passes, of which the last one averages."""
        if isinstance(module, nn.parallel.DistributedDataParallel) and not last:
            return module.no_sync()
        return nullcontext()

    def share(self, rows: Tensor) -> Tensor:
        """Return the rows that fall to this process: an equal number for each, in order."""
        each = len(rows) // self.size
        return rows[self.rank * each : (self.rank + 1) * each]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of the processes' values."""
        if self.size > 1:
            distributed.all_reduce(value)
            value /= self.size
        return value

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in their order; each has as many."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is up in one process."""
        if self.size == 1:
            return flag
        up = torch.tensor(float(flag))  # on the CPU: a GPU would have to be waited for
        distributed.all_reduce(up, distributed.ReduceOp.MAX)
        return bool(up)


def full(tensor: Tensor) -> Tensor:
    """Return a tensor whole, where it may be spread over processes."""
    spread = getattr(tensor, "full_tensor", None)
    return spread() if spread else tensor


def whole_state(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return weights and optimizer state by name, on the CPU, however they are spread.

    The first process has all of it, the others nothing. What one world has saved, a world of
    another size can restore.
    """
    from torch.distributed.checkpoint import state_dict

    options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
    return state_dict.get_state_dict(model, optimizer, options=options)


def restore_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: dict[str, Any],
    optimizer_state: dict[str, Any],
) -> None:
    """Fill a model and its optimizer with what `whole_state` has returned."""
    from torch.distributed.checkpoint import state_dict

    state_dict.set_state_dict(
        model,
        optimizer,
        model_state_dict=weights,
        optim_state_dict=optimizer_state,
        options=state_dict.StateDictOptions(full_state_dict=True),
    )


@contextmanager
def world(device: str = "auto", sharded: bool = False) -> Iterator[World]:
    """Yield the processes of the run: those that torchrun has started, or this one alone.

    Args:
        device: "cpu", "cuda", or "auto" for CUDA where there is a GPU.
        sharded: Whether each shall hold a part of the weights only.

    Raises:
        InputError: When there is no such device.
    """
    device = found(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    place = torch.device(device)
    if device == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if size > 1:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        yield World(rank, size, place, sharded and size > 1)
    finally:
        if size > 1:
            distributed.destroy_process_group()
