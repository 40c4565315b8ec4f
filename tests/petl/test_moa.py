"""The batched and fused modules against plain loops that follow the paper's equations, in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.petl.adapters import BottleneckAdapter
from astmoa.petl.moa import DenseMoA, SoftMoA

sizes = st.tuples(*[st.integers(1, top) for top in (3, 9, 8, 5, 4, 4)])  # b, m, d, n, p, r
seeds = st.integers(0, 2**31 - 1)


def expert(module, i, x):
    """E_i(x) = up_i(gelu(down_i(x))), one token at a time."""
    hidden = F.gelu(x @ module.down_weight[i] + module.down_bias[i])
    return hidden @ module.up_weight[i] + module.up_bias[i]


def soft_moa_loop(module, x):
    """Eq. 3 and 4, slot by slot and clip by clip."""
    d, n, p = module.slot_embeds.shape
    phi = module.slot_embeds.reshape(d, n * p)
    outputs = []
    for tokens in x:  # L x d
        logits = tokens @ phi  # L x (N p)
        dispatch = torch.stack([torch.exp(logits[:, s]) / torch.exp(logits[:, s]).sum() for s in range(n * p)], dim=1)
        combine = torch.stack([torch.exp(row) / torch.exp(row).sum() for row in logits])
        processed = []
        for slot in range(n * p):
            mixed = sum(dispatch[token, slot] * tokens[token] for token in range(len(tokens)))
            processed.append(expert(module, slot // p, mixed))  # adapter floor(i / p) processes slot i
        outputs.append(
            torch.stack([sum(combine[t, s] * processed[s] for s in range(n * p)) for t in range(len(tokens))])
        )
    return torch.stack(outputs)


def dense_moa_loop(module, x):
    """Eq. 1 and 2: every expert's output for every token, weighted by the gate."""
    n = module.down_weight.shape[0]
    gates = F.softmax(x @ module.router_weight + module.router_bias, dim=-1)
    return sum(gates[..., i : i + 1] * expert(module, i, x) for i in range(n))


def drawn(module, seed):
    """The module in float64 with every parameter drawn anew: zeros would hide a lost term."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
    return module


def assert_same_values_and_gradients(module, loop, x):
    x = x.requires_grad_()
    weights = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    inputs = [x, *module.parameters()]
    results = []
    for function in (module, lambda tokens: loop(module, tokens)):
        y = function(x)
        results.append((y, torch.autograd.grad((y * weights).sum(), inputs)))
    (y, gradients), (expected, expected_gradients) = results
    assert y.shape == x.shape
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-8)


@settings(max_examples=40)
@given(sizes, seeds)
def test_soft_moa_is_equations_3_and_4(shape, seed):
    b, m, d, n, p, r = shape
    module = drawn(SoftMoA(d, n, p, r, torch.Generator()), seed)
    x = torch.randn(b, m, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert_same_values_and_gradients(module, soft_moa_loop, x)


@settings(max_examples=60)
@given(sizes, seeds)
def test_dense_moa_is_equations_1_and_2(shape, seed):
    b, m, d, n, _, r = shape
    module = drawn(DenseMoA(d, n, r, torch.Generator()), seed)
    x = torch.randn(b, m, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert_same_values_and_gradients(module, dense_moa_loop, x)


@settings(max_examples=30)
@given(sizes, seeds)
def test_dispatch_sums_to_one_over_tokens_and_combine_over_slots(shape, seed):
    b, m, d, n, p, r = shape
    module = drawn(SoftMoA(d, n, p, r, torch.Generator()), seed)
    dispatch, combine = module.routing(torch.randn(b, m, d, dtype=torch.float64))
    torch.testing.assert_close(dispatch.sum(1), torch.ones(b, n * p, dtype=torch.float64))
    torch.testing.assert_close(combine.sum(2), torch.ones(b, m, dtype=torch.float64))


def test_dense_moa_never_makes_a_tensor_of_tokens_times_width_times_experts():
    b, m, d, n, r = 2, 50, 64, 14, 1
    module = DenseMoA(d, n, r, torch.Generator())
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


@pytest.mark.parametrize(
    "make",
    [
        lambda g: BottleneckAdapter(8, 3, g),
        lambda g: SoftMoA(8, 4, 2, 3, g),
        lambda g: DenseMoA(8, 4, 3, g),
    ],
)
def test_modules_start_as_zero_and_learn_in_two_steps(make):
    module = make(torch.Generator().manual_seed(0))
    x, target = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    assert torch.equal(module(x), torch.zeros(2, 5, 8))
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0)
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(module(x), target).backward()
        optimizer.step()
    for name, parameter in module.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_the_bottleneck_adapter_is_its_formula():
    module = drawn(BottleneckAdapter(6, 2, torch.Generator()), 3)
    x = torch.randn(4, 5, 6, dtype=torch.float64)
    hidden = F.gelu(x @ module.down.weight.T + module.down.bias)
    torch.testing.assert_close(module(x), hidden @ module.up.weight.T + module.up.bias)
