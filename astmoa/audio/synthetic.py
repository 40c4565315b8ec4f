"""The built-in data set: spoken-like intents, made from a seed with numpy alone.

A clip holds two different words, one after the other, and its class is the ORDERED pair: "miru taso" and "taso miru"
are two intents made of the same sounds, so that knowing which words occurred is not enough. A word is a run of short
sounds: a harmonic or a noisy source, shaped by three resonances that move from sound to sound, with bursts and hisses
as consonants. Speakers (pitch, length of the vocal tract, breath, tempo) of train, validation and test are different.
Clip i depends on SEED and i only.

`python -m astmoa.audio.synthetic OUT --clips 5` writes the first clips as WAV, to listen to.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

from astmoa.audio.fbank import SAMPLE_RATE

# ---- The dials. Whoever turns one must raise VERSION, or stores of the old sounds are taken for the new ones.
SEED = 20_240
SECONDS = 1.0
SPLIT_SIZES = {"train": 480, "val": 180, "test": 240}
SPEAKERS = {"train": 24, "val": 9, "test": 12}
PITCH_HZ = (85.0, 260.0)  # a speaker's mean, drawn on a logarithmic scale
PITCH_MOVE = 0.22  # up to this part above and below the mean within a clip
FORMANT_SCALE = (0.84, 1.19)  # a long and a short vocal tract
BREATH = (0.01, 0.12)  # noise in a voiced sound, against its voice
TEMPO = (0.85, 1.15)  # a speaker's; every word varies by WORD_TEMPO on top
WORD_TEMPO = 0.15
FORMANT_JITTER = 0.07  # standard deviation, per sound and resonance
LEAD_SECONDS = (0.0, 0.14)  # silence before the first word
GAP_SECONDS = (0.01, 0.09)  # between the words
LOUDNESS_DB = (-26.0, -4.0)  # of the clip's peak
WORD_LOUDNESS_DB = 4.0  # one word against the other, up to
NOISE_DB = (-30.0, -6.0)  # of the background against the speech, root mean square
VERSION = "builtin 2"


class Sound(NamedTuple):
    """One sound of a word: its length, how much voice and how much noise feed it, and its resonances (Hz)."""

    seconds: float
    voice: float
    noise: float
    formants: tuple[float, float, float]


# Vowels, murmurs (nasals, glides) and hisses; a stop is a silence and then a burst.
_A, _I, _U = (760.0, 1250.0, 2550.0), (290.0, 2250.0, 3000.0), (320.0, 800.0, 2300.0)
_E, _O = (480.0, 1850.0, 2600.0), (470.0, 880.0, 2450.0)
_M, _N, _L, _R = (250.0, 1050.0, 2200.0), (260.0, 1650.0, 2600.0), (360.0, 1100.0, 2800.0), (420.0, 1350.0, 1750.0)
_S, _SH, _F = (3800.0, 5200.0, 6500.0), (2300.0, 3000.0, 4400.0), (1500.0, 4200.0, 7000.0)
_T, _K = (2800.0, 3900.0, 5300.0), (1100.0, 1900.0, 3300.0)


def _vowel(formants: tuple[float, float, float], seconds: float = 0.11) -> Sound:
    return Sound(seconds, 1.0, 0.0, formants)


def _murmur(formants: tuple[float, float, float]) -> Sound:
    return Sound(0.06, 0.35, 0.0, formants)


def _hiss(formants: tuple[float, float, float]) -> Sound:
    return Sound(0.08, 0.0, 0.35, formants)


def _stop(formants: tuple[float, float, float]) -> tuple[Sound, Sound]:
    return Sound(0.045, 0.0, 0.0, formants), Sound(0.025, 0.0, 0.7, formants)


WORDS: dict[str, tuple[Sound, ...]] = {
    "miru": (_murmur(_M), _vowel(_I), _murmur(_R), _vowel(_U)),
    "taso": (*_stop(_T), _vowel(_A), _hiss(_S), _vowel(_O)),
    "kela": (*_stop(_K), _vowel(_E), _murmur(_L), _vowel(_A)),
    "shonu": (_hiss(_SH), _vowel(_O), _murmur(_N), _vowel(_U)),
    "sota": (_hiss(_S), _vowel(_O), *_stop(_T), _vowel(_A)),  # taso's sounds in another order
}
PAIRS = tuple(itertools.permutations(WORDS, 2))
LABELS = tuple(" ".join(pair) for pair in PAIRS)

_HOP, _WINDOW = 80, 320  # 5 ms and 20 ms
_SAMPLES = round(SECONDS * SAMPLE_RATE)
_FRAMES = _SAMPLES // _HOP + 1
_HZ = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
_HANN = np.hanning(_WINDOW + 1)[:-1]
_BANDWIDTHS = np.array([80.0, 110.0, 170.0])


class Speaker(NamedTuple):
    pitch: float
    scale: float
    breath: float
    tempo: float


@lru_cache
def plan() -> tuple[dict[str, Any], ...]:
    """Every clip as name, label, split and group (its speaker), in the order of their indices."""
    clips = []
    first_speaker = 0
    for split, size in SPLIT_SIZES.items():
        for index in range(size):
            # Every speaker says every intent about equally often, so that a voice says nothing about an intent.
            speaker = first_speaker + (index // len(LABELS)) % SPEAKERS[split]
            name, label = f"{split}-{index:04d}", index % len(LABELS)
            clips.append({"name": name, "label": label, "split": split, "group": str(speaker)})
        first_speaker += SPEAKERS[split]
    return tuple(clips)


def speaker(number: int) -> Speaker:
    """Voice `number`; a higher pitch tends to come with a shorter vocal tract."""
    rng = np.random.default_rng([SEED, 1, number])
    height = rng.uniform()
    pitch = PITCH_HZ[0] * (PITCH_HZ[1] / PITCH_HZ[0]) ** height
    scale = FORMANT_SCALE[0] + (FORMANT_SCALE[1] - FORMANT_SCALE[0]) * (height + rng.uniform()) / 2
    return Speaker(pitch, scale, rng.uniform(*BREATH), rng.uniform(*TEMPO))


def render(index: int) -> np.ndarray:
    """Clip `index` as [16000] float32 at 16 kHz."""
    clip = plan()[index]
    voice = speaker(int(clip["group"]))
    rng = np.random.default_rng([SEED, 0, index])
    sounds = _script(PAIRS[clip["label"]], voice, rng)
    speech = _speak(*_tracks(sounds, rng), voice, rng)
    noise = _background(rng) * np.sqrt(np.mean(speech**2)) * 10 ** (rng.uniform(*NOISE_DB) / 20)
    mixed = speech + noise
    return (mixed / np.abs(mixed).max() * 10 ** (rng.uniform(*LOUDNESS_DB) / 20)).astype(np.float32)


def _script(words: tuple[str, ...], voice: Speaker, rng: np.random.Generator) -> list[Sound]:
    """The clip as a run of sounds with this speaker's resonances and lengths, silences included."""
    neutral = (500.0, 1500.0, 2500.0)
    sounds = [Sound(rng.uniform(*LEAD_SECONDS), 0.0, 0.0, neutral)]
    for number, word in enumerate(words):
        if number:
            sounds.append(Sound(rng.uniform(*GAP_SECONDS), 0.0, 0.0, neutral))
        slow = rng.uniform(1 - WORD_TEMPO, 1 + WORD_TEMPO) / voice.tempo
        gain = 10 ** (rng.uniform(-WORD_LOUDNESS_DB, WORD_LOUDNESS_DB) / 20)
        for sound in WORDS[word]:
            length = sound.seconds * slow * rng.uniform(0.85, 1.15)
            formants = np.array(sound.formants) * voice.scale * np.exp(FORMANT_JITTER * rng.normal(size=3))
            sounds.append(Sound(length, sound.voice * gain, sound.noise * gain, tuple(formants)))
    total = sum(sound.seconds for sound in sounds)
    room = SECONDS - 0.02  # two slow words must still fit: the clip then is spoken faster as a whole
    return [sound._replace(seconds=sound.seconds * min(1.0, room / total)) for sound in sounds]


def _tracks(sounds: list[Sound], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per 5 ms frame: voice [t], noise [t], resonances [t, 3] (Hz), pitch relative to the speaker's mean [t]."""
    edges = np.cumsum([sound.seconds for sound in sounds])
    time = np.arange(_FRAMES) * _HOP / SAMPLE_RATE
    which = np.searchsorted(edges, time, side="right")
    silence = Sound(0.0, 0.0, 0.0, sounds[-1].formants)
    values = np.array([[s.voice, s.noise, *s.formants] for s in [*sounds, silence]])[which]  # [t, 5]
    # Mouths move: loudness settles in some 15 ms, resonances in some 40 ms.
    fast, slow = (np.hanning(width + 2)[1:-1] / np.hanning(width + 2).sum() for width in (3, 9))
    padded = np.pad(values, ((4, 4), (0, 0)), mode="edge")
    voice, noise = (np.convolve(padded[3:-3, column], fast, mode="valid") for column in (0, 1))
    formants = np.stack([np.convolve(padded[:, column], slow, mode="valid") for column in (2, 3, 4)], axis=1)
    knots = rng.uniform(-PITCH_MOVE, PITCH_MOVE, size=4) + np.array([0.08, 0.04, 0.0, -0.08])
    pitch = 1 + np.interp(time, np.linspace(0, SECONDS, 4), knots)
    return voice, noise, formants, pitch


def _speak(
    voice: np.ndarray,
    noise: np.ndarray,
    formants: np.ndarray,
    pitch: np.ndarray,
    who: Speaker,
    rng: np.random.Generator,
) -> np.ndarray:
    """Source and filter, by overlapping windows: [samples] float64."""
    length = (_FRAMES - 1) * _HOP + _WINDOW
    hz = np.interp(np.arange(length), np.arange(_FRAMES) * _HOP + _WINDOW // 2, pitch) * who.pitch
    hz *= 1 + 0.01 * np.repeat(rng.normal(size=length // 160 + 1), 160)[:length]  # a living voice trembles
    cycles = np.floor(np.cumsum(hz) / SAMPLE_RATE + rng.uniform())
    pulses = np.diff(cycles, prepend=cycles[0]) * np.sqrt(SAMPLE_RATE / hz)  # as strong at every pitch
    hiss = rng.normal(size=length)
    tilt = 1 / (1 + (_HZ / 600.0) ** 2) ** 0.5  # the glottis: 6 dB less per octave
    resonance = _resonances(formants)
    spectra = np.fft.rfft(
        np.lib.stride_tricks.sliding_window_view(np.stack([pulses, hiss]), _WINDOW, axis=1)[:, ::_HOP] * _HANN
    )
    voiced = voice[:, None] * tilt * (spectra[0] + who.breath * 3 * spectra[1])
    frames = np.fft.irfft((voiced + 0.3 * noise[:, None] * spectra[1]) * resonance, n=_WINDOW) * _HANN
    out = np.zeros(length)
    for part in range(_WINDOW // _HOP):  # frames overlap by three quarters: add them in four shifted rows
        piece = frames[:, part * _HOP : (part + 1) * _HOP].reshape(-1)
        out[part * _HOP : part * _HOP + len(piece)] += piece
    return out[_WINDOW // 2 : _WINDOW // 2 + _SAMPLES]


def _resonances(formants: np.ndarray) -> np.ndarray:
    """Gain of three resonances in parallel, [t, frequencies]; higher ones are weaker and wider."""
    centre = formants[:, :, None]
    width = _BANDWIDTHS[None, :, None] * (1 + (centre / 3000.0) ** 2)
    peaks = 1 / (1 + ((_HZ - centre) / width) ** 2) ** 0.8
    return (peaks * np.array([1.0, 0.8, 0.5])[None, :, None]).sum(axis=1) + 0.002


def _background(rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power between white and brown: [samples]."""
    spectrum = np.fft.rfft(rng.normal(size=_SAMPLES))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -rng.uniform(0.0, 1.0)
    noise = np.fft.irfft(spectrum, n=_SAMPLES)
    return noise / np.sqrt(np.mean(noise**2))


@dataclass(frozen=True)
class Options:
    """Write clips of the built-in data set as WAV files, to listen to them."""

    out: tyro.conf.Positional[Path]
    """Folder to write to."""
    clips: int = 5
    """Number of clips to write, from the first on."""


def main() -> None:
    import soundfile

    options = tyro.cli(Options)
    options.out.mkdir(parents=True, exist_ok=True)
    for index, clip in enumerate(plan()[: options.clips]):
        path = options.out / f"{clip['name']}-{LABELS[clip['label']].replace(' ', '-')}.wav"
        soundfile.write(path, render(index), SAMPLE_RATE)
        print(path)


if __name__ == "__main__":
    main()
