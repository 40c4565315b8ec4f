"""Sound files with damage anywhere: each is a clip, or one line on why it is none, soon."""

import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.audio.decode import load_clip
from astmoa.audio.sound import duration
from astmoa.errors import ClipError
from tests.helpers.damage import damage
from tests.helpers.sounds import encode

FORMATS = ["WAV", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC", "OGG", "MP3", "NIST"]


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    wave = (0.1 * np.random.default_rng(0).normal(size=8_000)).astype(np.float32)
    return {**{form: encode(form, wave=wave) for form in FORMATS}, "OPUS": encode("OGG", "OPUS", wave)}


@pytest.mark.parametrize("form", [*FORMATS, "OPUS"])
@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=25)
def test_it_is_decoded_or_refused_in_one_line(tmp_path_factory, contents, form: str, seed: int, in_front: bool) -> None:
    path: Path = tmp_path_factory.getbasetemp() / f"damaged.{form}"
    content, rng = contents[form], random.Random(seed)
    head = 200 if in_front else len(content)
    path.write_bytes(damage(content[:head], rng) + content[head:])
    begin, reason, samples = time.perf_counter(), "", 1
    for seconds in (0.3, None):
        try:
            wave = load_clip(path, seconds).numpy()
            samples = len(wave)
            assert np.isfinite(wave).all()
            assert seconds is None or samples <= 4_800
        except ClipError as error:
            reason = error.reason
        assert "\n" not in reason
        assert samples > 0
    told = duration(path)
    assert told is None or 0 <= told < 1e10
    assert time.perf_counter() - begin < 10
