"""The front end against transformers' own feature extractor."""

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor

from astmoa.audio import synthetic
from astmoa.audio.decode import load_clip
from astmoa.audio.fbank import GREY, SILENCE, fbank, num_frames
from tests.helpers import SHARED

DATA = SHARED


def _theirs(wave: np.ndarray, max_length: int) -> torch.Tensor:
    # The clip's own number of frames instead of 1,024, so that nothing is padded or cut.
    extractor = ASTFeatureExtractor(max_length=max_length)
    return extractor(wave, sampling_rate=16_000, return_tensors="pt").input_values[0]


@pytest.mark.parametrize("samples", [400, 401, 559, 560, 16_000, 17_333, 80_000])
def test_noise_gives_the_extractors_numbers(samples: int) -> None:
    wave = (0.1 * np.random.default_rng(samples).normal(size=samples)).astype(np.float32)
    ours = fbank(torch.from_numpy(wave))
    assert ours.shape == (num_frames(samples), 128)
    torch.testing.assert_close(ours, _theirs(wave, len(ours)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [1e-4, 1.0])
@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_speech_like_clips_quiet_and_with_an_offset(scale: float, offset: float) -> None:
    wave = (synthetic.render(3) * scale + offset).astype(np.float32)
    ours = fbank(torch.from_numpy(wave))
    torch.testing.assert_close(ours, _theirs(wave, len(ours)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("folder", ["esc50/audio", "fsdd/recordings", "urbansound8k/audio/fold1"])
def test_real_clips(folder: str) -> None:
    files = sorted((DATA / folder).glob("*.flac"))[:40:10]
    if not files:
        pytest.skip(f"no real audio: {folder} is not below ../shared/data")
    for file in files:
        wave = load_clip(file)
        ours = fbank(wave)
        torch.testing.assert_close(ours, _theirs(wave.numpy(), len(ours)), atol=1e-4, rtol=0)


def test_silence_and_grey_are_what_zeros_and_the_extractors_padding_give() -> None:
    silent = fbank(torch.zeros(16_000))
    torch.testing.assert_close(silent, torch.full_like(silent, SILENCE), atol=1e-5, rtol=0)
    wave = np.random.default_rng(0).normal(size=8_000).astype(np.float32)
    padded = _theirs(wave, 60)
    torch.testing.assert_close(padded[num_frames(8_000) :], torch.full((60 - 48, 128), GREY), atol=1e-5, rtol=0)


def test_a_clip_shorter_than_a_window_is_one_frame() -> None:
    wave = 0.1 * torch.randn(123, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fbank(wave), fbank(torch.nn.functional.pad(wave, (0, 400 - 123))))
    assert fbank(wave).shape == (1, 128)
    assert [num_frames(n) for n in (0, 399, 400, 559, 560, 16_000)] == [0, 0, 1, 1, 2, 98]
