"""SpecAugment, vectorised, against one clip at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from astmoa.audio.augment import spec_augment


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _obvious(batch: torch.Tensor, freq_mask: int, time_mask: int, generator: torch.Generator) -> torch.Tensor:
    out = batch.clone()
    for widest, dim in ((freq_mask, 2), (time_mask, 1)):
        if widest == 0:
            continue
        draws = torch.rand(2, len(batch), 1, generator=generator)
        size = batch.shape[dim]
        for i in range(len(batch)):
            width = int(draws[0, i, 0] * (min(widest, size) + 1))
            start = int(draws[1, i, 0] * (size - width + 1))
            for k in range(start, start + width):
                out[i].select(dim - 1, k).zero_()
    return out


shapes = st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 24))


@given(shapes, st.integers(0, 30), st.integers(0, 50), st.integers(0, 2**31))
def test_equals_one_clip_at_a_time(shape: tuple[int, int, int], freq: int, time: int, seed: int) -> None:
    batch = torch.randn(shape, generator=_generator(1)) + 10  # nothing is 0 by itself
    before = batch.clone()
    got = spec_augment(batch, freq, time, _generator(seed))
    assert torch.equal(got, _obvious(batch, freq, time, _generator(seed)))
    assert torch.equal(batch, before)


@given(shapes, st.integers(0, 30), st.integers(0, 50), st.integers(0, 2**31))
def test_hides_one_block_of_bands_and_one_of_frames(
    shape: tuple[int, int, int], freq: int, time: int, seed: int
) -> None:
    got = spec_augment(torch.ones(shape), freq, time, _generator(seed))
    for clip in got:
        whole_bands, whole_frames = (clip == 0).all(dim=0), (clip == 0).all(dim=1)
        assert torch.equal(clip == 0, whole_bands[None, :] | whole_frames[:, None])
        for hidden, widest in ((whole_bands, freq), (whole_frames, time)):
            if not (whole_bands.all() or whole_frames.all()):  # then each says nothing about the other
                assert hidden.sum() <= widest
                places = hidden.nonzero()[:, 0]
                assert len(places) == 0 or places[-1] - places[0] + 1 == len(places)


def test_off_is_the_batch_itself() -> None:
    batch = torch.randn(2, 5, 3)
    assert spec_augment(batch, 0, 0, None) is batch


def test_widths_and_places_are_uniform_and_differ_between_clips() -> None:
    got = spec_augment(torch.ones(20_000, 6, 5), 0, 3, _generator(0))
    hidden = got[:, :, 0] == 0
    share = torch.bincount(hidden.sum(dim=1), minlength=4) / 20_000
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.02, rtol=0)
    one = hidden[hidden.sum(dim=1) == 1].float().mean(dim=0)  # width 1: six places
    torch.testing.assert_close(one, torch.full((6,), 1 / 6), atol=0.02, rtol=0)


def test_a_generator_makes_it_repeatable() -> None:
    batch = torch.randn(8, 50, 128, generator=_generator(0))
    first, second, other = (spec_augment(batch, 24, 20, _generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_the_dtype(dtype: torch.dtype) -> None:
    assert spec_augment(torch.ones(2, 4, 4, dtype=dtype), 2, 2, _generator(0)).dtype == dtype
