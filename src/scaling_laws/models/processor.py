"""How a process gets the most out of the processor that it computes on.

Float32 products: PyTorch leaves them to MKL, which on AMD's processors uses half the width of their
registers; oneDNN, the other library in it, is twice as fast there. PyTorch turns to it for float32
only after `set_float32_matmul_precision("medium")`, which also lets oneDNN round to bfloat16. It
does so on processors with units for bfloat16 matrices (AMX, some ARM) and on no others, so a trial
tells whether float32 stays float32.

Memory: the C library gives what a step has freed back to the system and asks for it again in the
next, page by page.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_TRIM, LARGEST_MMAP = 2**31 - 1, 2**25


def prepare_processor() -> None:
    """Let this process multiply in float32 by the fastest library, and keep memory once freed.

    For processes that compute on a processor: on a GPU the same setting would round.
    """
    if _onednn_keeps_float32():
        torch.set_float32_matmul_precision("medium")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, LARGEST_TRIM)
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP)


def through_onednn() -> bool:
    """Tell whether float32 products of this process go through oneDNN."""
    return torch.get_float32_matmul_precision() == "medium"


def product_precision(wanted: Precision, device: torch.device) -> Precision:
    """Return the precision of the matrix products in training on a device.

    Args:
        wanted: Precision of the run.
        device: Where it computes.

    Returns:
        float32 where a processor has no instructions for bfloat16 and would emulate it.
    """
    if wanted == "bfloat16" and device.type == "cpu" and not _has_bfloat16():
        return "float32"
    return wanted


@cache
def _has_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@cache
def _onednn_keeps_float32() -> bool:
    """Tell by a product that needs more digits than bfloat16 and TF32 have."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    before = torch.get_float32_matmul_precision()
    fine = torch.full((256, 256), 1 + 2**-20)
    try:
        torch.set_float32_matmul_precision("medium")
        return torch.equal(fine @ torch.eye(256), fine)
    finally:
        torch.set_float32_matmul_precision(before)
