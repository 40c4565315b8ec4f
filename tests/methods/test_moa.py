"""The batched and fused modules against plain loops that follow the papers' equations, in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.methods.experts import BottleneckExperts, ConformerExperts, ConvpassExperts, DroppedConvolutionExperts
from astmoa.methods.moa import DenseMoA, NormalizedTokensSoftMoA, SingleAdapter, SoftMoA
from tests.helpers import loops

sizes = st.tuples(*[st.integers(1, top) for top in (3, 9, 6, 4, 4, 3)])  # b, m, d, n, p, r
seeds = st.integers(0, 2**31 - 1)
KINDS = {
    "bottleneck": (BottleneckExperts, loops.bottleneck),
    "convpass": (ConvpassExperts, loops.convpass),
    "conformer": (ConformerExperts, loops.conformer),
}


def make_experts(kind, d, n, r, **more):
    return KINDS[kind][0](d, n, r, torch.Generator(), **more)


def drawn(module, seed):
    """The module in float64 with every tensor drawn anew: zeros would hide a lost term."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.normal_(generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.abs_().add_(0.1)
    return module


def tokens(b, m, d, seed):
    return torch.randn(b, m, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_same_values_and_gradients(module, loop, x):
    x = x.requires_grad_()
    weights = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    inputs = [x, *module.parameters()]
    results = []
    for function in (module, loop):
        y = function(x)
        results.append((y, torch.autograd.grad((y * weights).sum(), inputs, allow_unused=True)))
    (y, gradients), (expected, expected_gradients) = results
    assert y.shape == x.shape
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert (gradient is None) == (expected_gradient is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(sizes, seeds)
def test_the_single_adapter_is_its_formula(kind, shape, seed):
    b, m, d, _, _, r = shape
    module = drawn(SingleAdapter(make_experts(kind, d, 1, r)), seed)
    assert_same_values_and_gradients(module, lambda x: loops.single(module, x, KINDS[kind][1]), tokens(b, m, d, seed))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(sizes, seeds)
def test_soft_moa_is_equations_3_and_4(kind, shape, seed):
    b, m, d, n, p, r = shape
    module = drawn(SoftMoA(make_experts(kind, d, n, r), p, torch.Generator()), seed)
    assert_same_values_and_gradients(module, lambda x: loops.soft_moa(module, x, KINDS[kind][1]), tokens(b, m, d, seed))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(sizes, seeds)
def test_dense_moa_is_equations_1_and_2(kind, shape, seed):
    b, m, d, n, _, r = shape
    module = drawn(DenseMoA(make_experts(kind, d, n, r), torch.Generator()), seed)
    assert_same_values_and_gradients(
        module, lambda x: loops.dense_moa(module, x, KINDS[kind][1]), tokens(b, m, d, seed)
    )


@settings(max_examples=25)
@given(st.tuples(*[st.integers(1, top) for top in (2, 4, 4, 3, 3, 3)]), seeds)
def test_convpass_on_the_grid(shape, seed):
    b, times, bands, d, n, r = shape
    module = drawn(DenseMoA(make_experts("convpass", d, n, r, num_bands=bands), torch.Generator()), seed)
    x = tokens(b, 2 + bands * times, d, seed)
    assert_same_values_and_gradients(module, lambda x: loops.dense_moa(module, x, loops.convpass), x)


@settings(max_examples=20)
@given(sizes, seeds)
def test_the_conformers_statistics_in_training(shape, seed):
    """Batch normalisation over all clips and tokens, per expert and channel, and its running statistics."""
    b, m, d, n, _, r = shape
    experts = drawn(make_experts("conformer", d, n, r), seed).train()
    x = tokens(b, m, d, seed)
    before_mean, before_var = experts.running_mean.clone(), experts.running_var.clone()
    hidden = experts.of_tokens(x)  # [b, m, n, r]
    for i in range(n):
        h = torch.stack([loops.conformer_before_batch_norm(experts, i, clip) for clip in x])
        if b * m == 1:  # no variance: the running statistics
            mean, var = before_mean[i], before_var[i]
        else:
            mean, var = h.mean((0, 1)), h.var((0, 1), unbiased=False)
            unbiased = var * b * m / (b * m - 1)
            torch.testing.assert_close(experts.running_mean[i], 0.9 * before_mean[i] + 0.1 * mean)
            torch.testing.assert_close(experts.running_var[i], 0.9 * before_var[i] + 0.1 * unbiased)
        normed = (h - mean) / torch.sqrt(var + 1e-5) * experts.batch_norm_weight[i] + experts.batch_norm_bias[i]
        torch.testing.assert_close(hidden[:, :, i], F.silu(normed), rtol=1e-6, atol=1e-6)


def test_the_order_of_slots_matters_to_convpass_alone():
    """Slots have no order: swapping two rows of Phi changes what a convolution over slots computes, and no more."""
    x = tokens(2, 7, 6, 0)
    for kind, same in (("bottleneck", True), ("convpass", False)):
        module = drawn(SoftMoA(make_experts(kind, 6, 2, 3), 3, torch.Generator()), 1)
        y = module(x)
        with torch.no_grad():
            module.slot_embeds.copy_(module.slot_embeds[:, :, [1, 0, 2]])
        assert torch.allclose(module(x), y) == same


@settings(max_examples=30)
@given(sizes, seeds)
def test_dispatch_sums_to_one_over_tokens_and_combine_over_slots(shape, seed):
    b, m, d, n, p, r = shape
    module = drawn(SoftMoA(make_experts("bottleneck", d, n, r), p, torch.Generator()), seed)
    dispatch, combine = module.routing(torch.randn(b, m, d, dtype=torch.float64))
    torch.testing.assert_close(dispatch.sum(1), torch.ones(b, n * p, dtype=torch.float64))
    torch.testing.assert_close(combine.sum(2), torch.ones(b, m, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_dense_moa_never_makes_a_tensor_of_tokens_times_width_times_experts(kind):
    b, m, d, n, r = 2, 50, 64, 14, 1
    module = DenseMoA(make_experts(kind, d, n, r), torch.Generator())
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return out

    x = torch.randn(b, m, d, requires_grad=True)
    with Watch():
        module(x).sum().backward()
    assert largest <= b * m * d < b * m * d * n


# Batch normalisation takes the bias before it out again: rounding alone moves it.
NO_GRADIENT = {"experts.conv_bias"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wrap",
    [SingleAdapter, lambda e: SoftMoA(e, 2, torch.Generator()), lambda e: DenseMoA(e, torch.Generator())],
    ids=["single", "soft", "dense"],
)
def test_modules_start_as_zero_and_learn_in_two_steps(kind, wrap):
    module = wrap(KINDS[kind][0](8, 1 if wrap is SingleAdapter else 4, 3, torch.Generator().manual_seed(0)))
    x, target = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    assert torch.equal(module(x), torch.zeros(2, 5, 8))
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0)
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(module(x), target).backward()
        optimizer.step()
    still = {name for name, parameter in module.named_parameters() if torch.equal(parameter, before[name])}
    assert still <= (NO_GRADIENT if kind == "conformer" else set())


def test_a_dropped_convolution_is_a_bottleneck_adapter_with_idle_parameters():
    dropped = drawn(SingleAdapter(DroppedConvolutionExperts(6, 1, 2, torch.Generator())), 3)
    x = tokens(2, 5, 6, 0)
    torch.testing.assert_close(dropped(x), loops.single(dropped, x, loops.bottleneck))
    dropped(x).sum().backward()
    assert dropped.experts.conv_weight.grad is None


def test_normalized_tokens_are_what_the_slots_mix():
    module = drawn(NormalizedTokensSoftMoA(make_experts("bottleneck", 6, 2, 3), 2, torch.Generator()), 4)
    x = tokens(2, 5, 6, 0)
    unit = x / x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(module(x), loops.soft_moa(module, unit, loops.bottleneck))
