"""What computes: a processor or a GPU."""

from __future__ import annotations

import torch

from scaling_laws.errors import InputError


def found(device: str) -> str:
    """Return "cpu" or "cuda": for "auto" CUDA where there is a GPU.

    Raises:
        InputError: When there is no such device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device = cuda: PyTorch finds no GPU here")
    return device


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
