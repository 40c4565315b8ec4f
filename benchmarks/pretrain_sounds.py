"""The sounds that the built-in backbone is pretrained on: spoken words and procedural sounds, all made on this machine.

Words come from espeak-ng in many voices and accents (and from flite, where installed). The other sounds are classes of
a small synthesiser (events in time: noise, tone or struck body, through moving resonances): the named ones are aimed at
rain, knocks, sirens, engines, barks and the like, the random presets at nothing in particular.
"""

# ruff: noqa: SIM905
from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import numpy as np
import torch

from astmoa.audio.fbank import NUM_MEL_BINS, SAMPLE_RATE, SILENCE, fbank

SECOND = 100  # frames
PART = 2000  # clips in a file
# No digit, no homophone of one, and nothing that contains one ("someone", "weight").
WORDS = """
able above account acid across actor after again agree air alarm animal answer apple april arm army arrow artist ask
autumn baby back bacon badge bag baker balance ball banana bank basket bath beach bean bear beauty bed bee begin
behind bell below bench big bird biscuit bitter black blanket blind blood blue board boat body bone book boot bottle
box boy brain branch bread break bridge bright bring broken brother brown brush bubble bucket budget build bull burn
bus busy butter button buy cabin cake call camera camp candle cap captain car carpet carry cash castle cat catch cause
chain chair chalk cheap check cheese cherry chess chicken chief child choice church cinema circle city clay clean
clever cliff clock close cloud club coach coat coffee coin cold colour comb come cook cool copper corn corner cotton
cough count cousin cow crash cream crisp crowd crown cruel cry cup curtain dad dance danger dark day dead deep deer
desk diamond dinner dirt dish doctor dog doll door double down dozen dragon draw dream dress drink drive drum dry duck
dust each ear early earth easy east edge egg elbow empty end engine enjoy enough equal evening every eye face fact
fair faith fall family farm fast father feather feel fence fever few field fig film finger fire first fish flag flat
flower fly fog follow food foot forest fork fox free fresh friend frog fruit full funny game garden gas gate ghost
giant gift girl give glass glove go goat gold good goose grape grass green ground group guess guitar gun hair hammer
hand happy harbour hat he health heart heavy help hero high hill history hold hole holiday home honey hope horn horse
hospital hot hour house how huge hunger hurry ice idea iron island jacket jam jaw jelly jewel job join joke judge
juice jump jungle just keep kettle key kick king kiss kitchen knee knife knock lady lake lamp language large laugh law
lazy lead leaf learn left leg lemon lesson letter level library life light lion lip list little live lock long loud
love low lucky lunch machine magic make man map market mask match may me meal measure meat medicine melon metal middle
milk mind minute mirror moment money monkey month moon morning mother mountain mouse mouth move much music nail name
narrow nation near neck needle nephew nest new nerve noise north nose nurse oak ocean oil old onion open orange other
oven owl page pain paint palace paper park party path pay peace peach pen people pepper phone photo piano pig pillow
pilot pink pipe pity plan plate play please pocket poem poison police poor potato pound power price prince proud
public pull purple push queen question quick quiet rabbit radio rain raise rat raw reach ready red rest rhythm rice
rich ring river road robot rock roof room rope rose rough round row rubber rule run sad safe sail salt same sand sauce
save say scarf school science sea secret seed self sell send sense sentence serve settle shadow shake shape sharp she
sheep shelf ship shirt shoe shop shore short shoulder shout show shower shut sick side signal silk silver simple sing
sister sit size skin skirt sky sleep slow small smell smile smoke smooth snake snow soap sock soft soil soldier song
sore soup south space spider spoon spring square stage star steam steel stick stone stop storm story straw street
strong sugar suit summer sun sure sweet swim table tail take talk tall taxi tea teach tear temper thank theatre thick
thief thin thing think thirst throat throw thumb thunder ticket tiger time tiny tired title toast today toe tomato
tongue tooth top touch towel tower town toy trade train travel tree trip trouble truck true trust truth tube turn twin
ugly uncle under union up use valley van vase verb very video view village violin visit voice vote voyage wagon wait
wake walk wall want war warm wash water wave wax way weak wealth weather wedding week west wheel when where whisper
white why wide wife wild window wine wing winter wire wise wish wolf woman wood wool word work world worm wrist write
yard year yellow yes yesterday young youth zebra zip zone zoo
""".split()  # fmt: skip
ACCENTS = "en-us en-us en-gb en-gb-x-rp en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-029 en-us-nyc".split()
VARIANTS = """
m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 croak klatt klatt2 klatt3 klatt4 adam Alex Andy Annie Alicia Andrea aunty Denis
belinda benjamin boris caleb david Diogo ed edward Gene grandma grandpa Henrique Hugo iven john Lee linda Marco Mario
max Michael miguel norbert pablo paul quincy rob robert sandro shelby steph travis victor zac whisper
""".split()
FLITE = "slt rms awb kal16".split()
# A sound: what is fixed for its class. Every clip of it moves each number by up to `JITTER` octaves.
JITTER = 0.35
PLAIN = dict(
    kind="noise", rate=0.0, regular=0.5, dur=2.5, attack=0.05, decay=1.0, f0=200.0, glide=0.0, vib=0.0, vib_rate=6.0,
    tilt=1.0, peaks=((1000.0, 2.0, 0.0),), am=0.0, am_rate=5.0, bed=-60.0,
)  # fmt: skip
NAMED: dict[str, dict] = {
    "rain": dict(peaks=((3000.0, 1.6, 0.0),), rate=18.0, dur=0.02, bed=-14.0),
    "wind": dict(peaks=((350.0, 0.7, 0.6),), am=0.8, am_rate=0.5),
    "waves": dict(peaks=((900.0, 1.6, 0.8),), rate=0.4, dur=2.0, attack=0.4, decay=2.0, bed=-25.0),
    "hiss": dict(peaks=((5500.0, 0.9, 0.0),)),
    "hum": dict(kind="tone", f0=100.0, tilt=1.2, peaks=((200.0, 1.5, 0.0),), bed=-35.0),
    "vacuum": dict(kind="tone", f0=210.0, tilt=0.5, peaks=((900.0, 2.0, 0.0),), bed=-8.0),
    "engine": dict(kind="tone", f0=38.0, tilt=0.5, peaks=((180.0, 1.6, 0.0),), am=0.6, am_rate=12.0, bed=-18.0),
    "saw": dict(kind="tone", f0=95.0, tilt=0.2,
                peaks=((1400.0, 1.6, 0.0),), am=0.5, am_rate=25.0, glide=0.3, bed=-12.0),
    "helicopter": dict(peaks=((160.0, 1.0, 0.0),), rate=11.0, regular=1.0, dur=0.07, bed=-20.0),
    "siren": dict(kind="tone", f0=800.0, vib=0.45, vib_rate=0.6, tilt=1.2, peaks=((1200.0, 1.5, 0.0),), bed=-30.0),
    "yelp": dict(kind="tone", f0=900.0, vib=0.5, vib_rate=4.0, tilt=1.0, peaks=((1500.0, 1.5, 0.0),), bed=-30.0),
    "alarm": dict(kind="tone", f0=2200.0, rate=4.0, regular=1.0, dur=0.12, decay=0.1, tilt=1.5,
                  peaks=((2500.0, 2.0, 0.0),)),
    "horn": dict(kind="tone", f0=370.0, rate=0.6, dur=1.0, decay=0.1, tilt=0.4, peaks=((1000.0, 1.5, 0.0),)),
    "bell": dict(kind="modes", f0=650.0, rate=0.5, dur=1.8, attack=0.002, decay=3.0),
    "glass": dict(kind="modes", f0=2600.0, rate=6.0, regular=0.1, dur=0.25, attack=0.002, decay=5.0, bed=-35.0),
    "can": dict(kind="modes", f0=1200.0, rate=1.0, dur=0.3, attack=0.002, decay=6.0, bed=-40.0),
    "knock": dict(kind="modes", f0=170.0, rate=4.0, regular=0.9, dur=0.09, attack=0.01, decay=6.0, bed=-45.0),
    "footsteps": dict(peaks=((400.0, 1.5, 0.0),), rate=1.8, regular=0.95, dur=0.1, attack=0.05, decay=4.0, bed=-40.0),
    "clock": dict(peaks=((3500.0, 0.6, 0.0),), rate=2.0, regular=1.0, dur=0.02, decay=5.0, bed=-45.0),
    "click": dict(peaks=((2500.0, 1.5, 0.0),), rate=1.5, regular=0.0, dur=0.012, decay=5.0, bed=-45.0),
    "keyboard": dict(peaks=((2200.0, 1.8, 0.0),), rate=7.0, regular=0.3, dur=0.03, decay=5.0, bed=-38.0),
    "crackle": dict(peaks=((3000.0, 2.0, 0.0),), rate=22.0, regular=0.0, dur=0.008, decay=4.0, bed=-22.0),
    "drop": dict(kind="tone", f0=900.0, glide=0.9, rate=1.5, dur=0.07, decay=4.0, tilt=3.0, bed=-45.0),
    "pour": dict(kind="tone", f0=600.0, glide=0.6, rate=24.0, regular=0.0, dur=0.05, decay=3.0, tilt=3.0, bed=-18.0),
    "bird": dict(kind="tone", f0=3500.0, glide=-0.5, rate=4.0, dur=0.12, vib=0.1, vib_rate=25.0, tilt=3.0,
                 peaks=((4000.0, 2.0, 0.0),), bed=-35.0),
    "tweet": dict(kind="tone", f0=2600.0, glide=0.8, rate=1.5, dur=0.3, vib=0.15, vib_rate=14.0, tilt=2.5,
                  peaks=((3500.0, 2.0, 0.0),), bed=-35.0),
    "cricket": dict(kind="tone", f0=4500.0, rate=3.0, regular=1.0, dur=0.2, am=1.0, am_rate=40.0, tilt=3.0,
                    peaks=((4500.0, 1.0, 0.0),), bed=-30.0),
    "insect": dict(kind="tone", f0=220.0, vib=0.08, vib_rate=3.0, tilt=0.6, peaks=((1200.0, 2.0, 0.4),), bed=-35.0),
    "bark": dict(kind="tone", f0=420.0, glide=-0.6, rate=2.0, dur=0.16, tilt=0.4,
                 peaks=((1100.0, 0.8, -0.5),), bed=-40.0),
    "meow": dict(kind="tone", f0=650.0, glide=-0.3, rate=0.7, dur=0.7, attack=0.3, tilt=0.5,
                 peaks=((1600.0, 0.7, 0.8),)),
    "moo": dict(kind="tone", f0=130.0, glide=0.3, rate=0.5, dur=1.3, attack=0.2, tilt=0.3, peaks=((500.0, 0.8, 0.7),)),
    "baby": dict(kind="tone", f0=450.0, glide=-0.4, rate=1.2, dur=0.7, attack=0.15, vib=0.05, tilt=0.2,
                 peaks=((1200.0, 0.5, 0.3), (3200.0, 0.4, 0.0))),
    "crow": dict(kind="tone", f0=500.0, rate=1.5, dur=0.3, am=0.8, am_rate=45.0, tilt=0.1,
                 peaks=((1500.0, 0.8, -0.3),)),
    "frog": dict(kind="tone", f0=180.0, rate=3.0, dur=0.18, am=1.0, am_rate=30.0, tilt=0.2, peaks=((900.0, 0.6, 0.2),)),
    "cough": dict(peaks=((900.0, 1.0, -0.6),), rate=1.5, dur=0.25, attack=0.05, decay=2.5, bed=-45.0),
    "sneeze": dict(peaks=((2500.0, 1.2, -1.0),), rate=0.6, dur=0.5, attack=0.4, decay=2.0, bed=-45.0),
    "breath": dict(peaks=((1500.0, 1.0, 0.8),), rate=0.6, dur=1.0, attack=0.5, decay=1.0, bed=-40.0),
    "clap": dict(peaks=((1500.0, 1.0, 0.0),), rate=9.0, regular=0.1, dur=0.04, attack=0.02, decay=4.0, bed=-25.0),
    "thunder": dict(peaks=((90.0, 1.5, -0.8),), rate=0.5, dur=2.2, attack=0.1, decay=2.0, am=0.6, am_rate=6.0,
                    bed=-28.0),
    "boom": dict(peaks=((300.0, 2.5, -1.5),), rate=0.8, dur=0.9, attack=0.005, decay=5.0, bed=-45.0),
    "train": dict(peaks=((500.0, 2.0, 0.0),), rate=4.5, regular=0.8, dur=0.12, decay=2.0, bed=-12.0),
    "brush": dict(peaks=((4000.0, 1.3, 0.2),), rate=5.0, regular=0.8, dur=0.15, attack=0.4, bed=-40.0),
    "creak": dict(kind="tone", f0=90.0, glide=0.8, rate=0.8, dur=0.8, am=0.5, am_rate=18.0, tilt=0.1,
                  peaks=((1800.0, 0.5, 0.5), (700.0, 0.4, 0.3))),
}  # fmt: skip


def random_preset(seed: int) -> dict:
    """A sound nobody named: the synthesiser's numbers drawn once, the same for every clip of this class."""
    rng = np.random.default_rng(seed)
    octaves = lambda low, high: float(low * (high / low) ** rng.random())  # noqa: E731
    rate = 0.0 if rng.random() < 0.25 else octaves(0.6, 20.0)
    sweeps = rng.random(4) < 0.45
    return PLAIN | dict(
        kind=str(rng.choice(["noise", "tone", "tone", "modes"])),
        rate=rate,
        regular=float(rng.random()),
        dur=octaves(0.15, 1.2) / max(rate, 0.5) if rate else 2.5,
        attack=octaves(0.01, 0.5),
        decay=octaves(0.3, 6.0),
        f0=octaves(70.0, 2000.0),
        glide=float(rng.normal(0, 0.7) * sweeps[0]),
        vib=octaves(0.02, 0.5) * sweeps[1],
        vib_rate=octaves(0.7, 20.0),
        tilt=octaves(0.2, 2.5),
        peaks=tuple(
            (octaves(200, 6000), octaves(0.15, 1.5), float(rng.normal(0, 0.6))) for _ in range(rng.integers(1, 4))
        ),
        am=float(rng.random() * sweeps[2]),
        am_rate=octaves(1.5, 40.0),
        bed=float(rng.uniform(-50, -12)) if sweeps[3] else -60.0,
    )


SOUNDS = {name: PLAIN | preset for name, preset in NAMED.items()} | {
    f"preset-{i}": random_preset(i) for i in range(117)
}


def resonances(frequency: np.ndarray, u: np.ndarray | float, peaks: tuple) -> np.ndarray:
    """Gain of moving resonances at `frequency`, `u` of the way (0..1) through the event."""
    pitch = np.log2(np.maximum(frequency, 1.0))
    gains = [np.exp(-((pitch - math.log2(f) - drift * u) ** 2) / (2 * (width / 2) ** 2)) for f, width, drift in peaks]
    return 0.02 + sum(gains)


def event(p: dict, rng: np.random.Generator) -> np.ndarray:
    """One bark, knock or drop."""
    n = max(64, int(p["dur"] * SAMPLE_RATE))
    u = np.linspace(0, 1, n, dtype=np.float32)
    t = u * p["dur"]
    shape = np.minimum(u / p["attack"], 1) * np.maximum(0, 1 - np.maximum(0, u - p["attack"])) ** p["decay"]
    if p["kind"] == "noise":
        spectrum = np.fft.rfft(rng.normal(size=n))
        bands = [
            np.fft.irfft(spectrum * resonances(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), v, p["peaks"]), n) for v in (0, 1)
        ]
        wave = bands[0] * (1 - u) + bands[1] * u
    elif p["kind"] == "modes":
        ratios = np.array([1, 2.76, 5.4, 1.51, 8.9]) * 2 ** rng.normal(0, 0.02, 5)
        wave = sum(
            np.sin(2 * np.pi * min(p["f0"] * r, 7800) * t) * np.exp(-u * p["decay"] * r) / r**0.5 for r in ratios
        )
    else:
        pitch = p["f0"] * 2 ** (p["glide"] * u + p["vib"] * np.sin(2 * np.pi * p["vib_rate"] * t + rng.random()))
        phase = (2 * np.pi / SAMPLE_RATE * np.cumsum(pitch)).astype(np.float32)
        wave = np.zeros(n, np.float32)
        step = 64  # resonances move slowly: their gain is worked out every 4 ms
        for k in range(1, min(30, int(7600 / pitch.max())) + 1):
            gain = np.repeat(k ** -p["tilt"] * resonances(k * pitch[::step], u[::step], p["peaks"]), step)[:n]
            wave += gain.astype(np.float32) * np.sin(k * phase)
    wave = wave * shape * (1 - p["am"] * (0.5 + 0.5 * np.sin(2 * np.pi * p["am_rate"] * t)))
    return wave / (np.abs(wave).max() + 1e-6)


def sound(name: str, rng: np.random.Generator, seconds: float = 2.5) -> np.ndarray:
    """One clip of a class of sounds: its events in time over a bed of coloured noise."""
    move = lambda v: v * 2 ** rng.uniform(-JITTER, JITTER)  # noqa: E731
    p = {k: move(v) if isinstance(v, float) and k not in ("bed", "regular") else v for k, v in SOUNDS[name].items()}
    p["attack"], p["am"] = min(p["attack"], 0.9), min(p["am"], 1.0)
    shift = rng.uniform(-JITTER, JITTER)
    p["peaks"] = tuple((f * 2 ** (shift + rng.normal(0, 0.1)), move(w), drift) for f, w, drift in p["peaks"])
    n = int(seconds * SAMPLE_RATE)
    out = np.zeros(n + SAMPLE_RATE * 4)
    if p["rate"] == 0:
        p |= dict(dur=seconds, attack=0.001, decay=0.001 if p["kind"] != "modes" else p["decay"])
        out[:n] += event(p, rng)[:n]
    else:
        events = [event(p, rng) for _ in range(3)]
        at = rng.random() * min(1 / p["rate"], 1.0)
        while at < seconds:
            one, start = events[rng.integers(3)], int(at * SAMPLE_RATE)
            one = one[: len(out) - start]
            out[start : start + len(one)] += one * 10 ** rng.uniform(-0.5, 0)
            at += (p["regular"] + (1 - p["regular"]) * rng.exponential()) / p["rate"] + 0.005
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    colour = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) * np.maximum(hz, 50.0) ** -rng.uniform(0, 1), n)
    bed = 10 ** ((p["bed"] + rng.uniform(-6, 6)) / 20)
    out = out[:n] / np.abs(out[:n]).max().clip(1e-3) + bed * colour / np.abs(colour).max()
    return out / np.abs(out).max()


def to_16k(wave: np.ndarray, rate: float) -> np.ndarray:
    """Resample by cutting or padding the spectrum."""
    n, m = len(wave), round(len(wave) * SAMPLE_RATE / rate)
    return np.fft.irfft(np.fft.rfft(wave)[: m // 2 + 1], m) * (m / n)


def word(text: str, rng: np.random.Generator, flite: bool) -> np.ndarray:
    """One spoken word in a random voice, silence cut off both ends."""
    if flite and rng.random() < 0.3:
        stretch, pitch = rng.uniform(0.75, 1.35), rng.uniform(70, 240)
        command = ["flite", "-voice", str(rng.choice(FLITE)), "--setf", f"duration_stretch={stretch:.2f}"]
        command += ["--setf", f"int_f0_target_mean={pitch:.0f}", "-t", text, "-o", "/dev/stdout"]
        rate = 16000
    else:
        voice = f"{rng.choice(ACCENTS)}+{rng.choice(VARIANTS)}"
        speed, pitch = rng.integers(110, 240), rng.integers(10, 91)
        command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
        rate = 22050
    raw = subprocess.run(command, capture_output=True, check=True).stdout[44:]
    wave = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float64) / 32768
    wave = to_16k(wave, rate * 2 ** rng.uniform(-0.2, 0.2))
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    wave = wave[max(0, loud[0] - 300) : loud[-1] + 300]
    return wave / np.abs(wave).max()


def make_part(job: tuple[str, int, int, bool, Path]) -> None:
    """Render one part of the pretraining set to a file; every part holds clips of all classes."""
    kind, part, clips, flite, folder = job
    path = folder / f"{kind}_{part:03d}.pt"
    if path.exists():
        return
    torch.set_num_threads(1)
    rng = np.random.default_rng([part, len(kind)])
    names = WORDS if kind == "words" else list(SOUNDS)
    frames = SECOND if kind == "words" else 248
    x = torch.full((clips, frames, NUM_MEL_BINS), SILENCE, dtype=torch.float16)
    labels = torch.from_numpy(rng.permutation(np.arange(clips) + part * clips) % len(names))
    lengths = torch.zeros(clips, dtype=torch.long)
    for i, label in enumerate(labels.tolist()):
        wave = word(names[label], rng, flite) if kind == "words" else sound(names[label], rng)
        mel = fbank(torch.from_numpy(wave).float())[:frames]
        x[i, : len(mel)], lengths[i] = mel.half(), len(mel)
    torch.save(dict(x=x, labels=labels, lengths=lengths), path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def phoneme_table(folder: Path) -> torch.Tensor:
    """Which phonemes are in which word, in espeak-ng's American English: [words, phonemes] of 0 and 1."""
    path = folder / "phonemes.json"
    if not path.exists():
        command = ["espeak-ng", "-q", "-x", "--sep= ", "-v", "en-us"]
        spoken = [subprocess.run([*command, w], capture_output=True, text=True, check=True).stdout for w in WORDS]
        path.write_text(json.dumps([[p.strip("',%") for p in line.split()] for line in spoken]))
    spoken = json.loads(path.read_text())
    kinds = sorted({p for line in spoken for p in line})
    kinds = [k for k in kinds if sum(k in line for line in spoken) >= 5]
    return torch.tensor([[float(k in line) for k in kinds] for line in spoken])
