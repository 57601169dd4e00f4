"""Attention by blocks is PyTorch's attention; a processor is given what it does fastest."""

import pytest
import torch
from torch.nn import functional as F

from scaling_laws.models import attention, processor
from scaling_laws.models.attention import causal_attention

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def through_onednn():
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def pytorchs(query_key_value, n_head):
    batch, n_ctx, width = query_key_value.shape
    query, key, value = (
        part.reshape(batch, n_ctx, n_head, -1).transpose(1, 2)
        for part in query_key_value.chunk(3, dim=2)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return mixed.transpose(1, 2).reshape(batch, n_ctx, width // 3)


def problem(batch, n_ctx, d_model, dtype=torch.float64, size=1.0):
    generator = torch.Generator().manual_seed(n_ctx)
    drawn = torch.randn(batch, n_ctx, 3 * d_model, generator=generator) * size
    away = torch.randn(batch, n_ctx, d_model, generator=generator)
    return drawn.to(dtype).requires_grad_(), away.to(dtype)


# One position; a block not full; one; a second of one position; four.
@pytest.mark.parametrize("n_ctx", [1, 77, 128, 129, 512])
@pytest.mark.parametrize("n_head", [1, 3])
# Scores of any size: the largest overflow an exponential by far.
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_value_and_gradient_are_those_of_pytorchs(n_ctx, n_head, size):
    drawn, away = problem(2, n_ctx, 6, size=size)
    ours, theirs = causal_attention(drawn, n_head), pytorchs(drawn, n_head)
    torch.testing.assert_close(ours, theirs)
    found, expected = (torch.autograd.grad(value, drawn, away)[0] for value in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 * size)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_in_float32_it_is_as_precise_and_in_bfloat16_close(dtype, near):
    if dtype == torch.float32:  # as runs have it: through oneDNN where that does not round
        torch.set_float32_matmul_precision("highest")
        processor.prepare_processor()
    drawn, away = problem(4, 200, 64)
    expected = pytorchs(drawn, 2)
    (gradient,) = torch.autograd.grad(expected, drawn, away)
    rounded = drawn.detach().to(dtype).requires_grad_()
    ours = causal_attention(rounded, 2)
    (found,) = torch.autograd.grad(ours, rounded, away.to(dtype))
    assert ours.dtype == found.dtype == dtype
    assert (ours - expected).norm() < near * expected.norm()
    assert (found - gradient).norm() < near * gradient.norm()


def test_pytorchs_kernel_is_taken_for_long_contexts_and_without_onednn(monkeypatch):
    def refuse(*_, **__):
        raise LookupError

    monkeypatch.setattr(F, "scaled_dot_product_attention", refuse)
    causal_attention(problem(1, attention.LONGEST, 4)[0], 1)
    with pytest.raises(LookupError):
        causal_attention(problem(1, attention.LONGEST + 1, 4)[0], 1)
    torch.set_float32_matmul_precision("highest")
    with pytest.raises(LookupError):
        causal_attention(problem(1, 8, 4)[0], 1)


def test_a_prepared_process_multiplies_float32_as_exactly_as_before():
    torch.set_float32_matmul_precision("highest")
    fine = 1 + torch.rand(512, 512) * 2**-10
    processor.prepare_processor()
    assert torch.equal(fine @ torch.eye(512), fine)
    product = fine @ fine
    torch.testing.assert_close(product.double(), fine.double() @ fine.double(), rtol=1e-5, atol=0)


def test_bfloat16_is_used_where_the_processor_has_it(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for has, used in (({"avx512_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        processor._has_bfloat16.cache_clear()
        assert processor.product_precision("bfloat16", cpu) == used
        assert processor.product_precision("bfloat16", gpu) == "bfloat16"
        assert processor.product_precision("float32", cpu) == "float32"
    processor._has_bfloat16.cache_clear()
