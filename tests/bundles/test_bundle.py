"""A bundle is written whole or not at all, and read as data: whatever is in it, it is used or refused in one line."""

import ctypes
import json
import math
import os
import random
import shutil
import time
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from astmoa.audio.decode import load_clip
from astmoa.backbone.frozen import load_backbone
from astmoa.bundles import bundle as bundles
from astmoa.bundles.bundle import read_bundle, write_bundle
from astmoa.bundles.export import Predictor
from astmoa.cli.main import main
from astmoa.config import BackboneConfig, DataConfig, MethodConfig, OptimConfig, TrialConfig, complete
from astmoa.errors import AstmoaError, BackboneError, ConfigError, RunError
from astmoa.study.reproduce import reproduce
from astmoa.study.train_one import train_one
from astmoa.training.checkpoint import load_tensors, save_tensors
from tests.helpers.damage import damage, distort
from tests.helpers.disks import fill, small_disk
from tests.helpers.refusals import refused
from tests.helpers.runs import write_tones

FILES = ("config.yaml", "labels.json", "bundle.json", "adapter.safetensors")
ADAPTER = FILES[-1]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("sounds"), per_split=(2, 1, 1))


@pytest.fixture(scope="module")
def whole(sounds, tiny_folder, tmp_path_factory):
    config = TrialConfig(
        data=DataConfig("csv", str(sounds), seconds=0.6),
        backbone=BackboneConfig(tiny_folder),
        method=MethodConfig("soft_moa", 4, 2, 2),
        optim=OptimConfig(epochs=1, batch_size=6),
    )
    train_one(complete(config), out := tmp_path_factory.mktemp("trained"), as_json=True)
    return out / "bundle"


@pytest.fixture
def bundle(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "bundle")


@pytest.fixture(scope="module")
def clip(sounds):
    return sounds / "test-low-0.wav"


@pytest.fixture
def quick(monkeypatch, tiny_folder):
    """The tiny backbone is unpacked, not read, for every one of many predictors."""
    packed = load_backbone(tiny_folder).pack()

    def load(name):
        return packed.unpack() if name == tiny_folder else load_backbone(name)

    monkeypatch.setattr("astmoa.bundles.export.load_backbone", load)


def facts_of(folder):
    return json.loads((folder / "bundle.json").read_text())


def write(out, whole, note):
    """The bundle once more, with a note by which it is known."""
    config, labels, facts = read_bundle(whole)
    facts |= {"study": "s", "pick": "p", "label": note, "params": {"num_trainable_params": 1}, "test_accuracy": None}
    return write_bundle(out, config, whole / ADAPTER, labels, facts)


# -- written


@pytest.mark.parametrize("kind", ["tmp", "old"])
def test_what_a_killed_writer_left_is_in_nobody_s_way_and_goes(kind, whole, tmp_path):
    """Also where every process has the same number, as in a container."""
    out = tmp_path / "best"
    (stale := tmp_path / f".best.{os.getpid()}.{kind}").mkdir()
    (young := tmp_path / f".best.{os.getpid()}-1.{kind}").mkdir()
    (other := tmp_path / f".mine.{os.getpid()}.{kind}").mkdir()
    write(out, whole, "first")
    for folder in (stale, other):
        os.utime(folder, (time.time() - 7200,) * 2)
    write(out, whole, "second")
    assert facts_of(out)["label"] == "second"
    assert set(tmp_path.iterdir()) == {out, young, other}


def test_a_kill_at_any_moment_leaves_the_old_bundle_or_the_new_one(whole, tmp_path):
    """In a process of its own, which ends before its 1st, 2nd, ... change of the disk."""
    out, ends = tmp_path / "best", []
    for moment in range(1, 20):
        shutil.rmtree(out, ignore_errors=True)
        write(out, whole, "old")
        child = os.fork()
        if child == 0:
            _die_at(moment)
            try:
                write(out, whole, "new")
            finally:
                os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        _, labels, facts = read_bundle(out)
        assert (len(labels), facts["label"] in ("old", "new")) == (3, True)
        if ends[-1] == 0:
            break
    assert ends == [9] * 9 + [0]  # the folder, four files of text, two renames, two removals
    assert facts["label"] == "new"


def _die_at(moment):
    seen = []
    for owner, name in ((Path, "mkdir"), (Path, "write_text"), (Path, "rename"), (shutil, "rmtree")):
        do = getattr(owner, name)

        def count(*args, do=do, **kwargs):
            seen.append(1)
            if len(seen) == moment:
                os._exit(9)
            return do(*args, **kwargs)

        setattr(owner, name, count)


def test_a_reader_that_comes_between_is_no_harm(whole, tmp_path, monkeypatch):
    """It gives the old bundle its name back while the new one is about to take it."""
    out, rename = tmp_path / "best", Path.rename
    write(out, whole, "old")
    read = []

    def rename_and_read(path, target):
        rename(path, target)
        if path == out and not read:
            read.append(read_bundle(out)[2]["label"])

    monkeypatch.setattr(Path, "rename", rename_and_read)
    write(out, whole, "new")
    assert (read, facts_of(out)["label"]) == (["old"], "new")
    assert list(tmp_path.iterdir()) == [out]


def test_a_link_to_a_bundle_stays_one(whole, tmp_path):
    write(tmp_path / "real", whole, "old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", whole, "new")
    assert (tmp_path / "link").is_symlink()
    assert facts_of(tmp_path / "real")["label"] == "new"


def test_a_full_disk_is_blamed_on_the_folder_that_is_written(whole, tmp_path):
    with small_disk(tmp_path / "disk", 128) as disk:
        write(disk / "out", whole, "old")
        filler = fill(disk)
        message = refused(RunError, write, disk / "out", whole, "new")
        assert message.startswith(f"{disk / 'out'} cannot be written (No space left on device): make room")
        assert facts_of(disk / "out")["label"] == "old"
        assert {path.name for path in disk.iterdir()} == {"out", "filler"}
        filler.unlink()
        write(disk / "out", whole, "new")


def test_words_of_others_are_no_markdown_in_its_readme(whole, tmp_path):
    write(tmp_path / "out", whole, "<script>a</script> `b`\x1b[2J\n# c")
    title = (tmp_path / "out/README.md").read_text().splitlines()[0]
    assert title == "# &lt;script>a&lt;/script> \\`b\\`\\x1b[2J\\n# c (soft_moa), p of s"


@pytest.mark.parametrize("labels", [["a", "a"], ["a", ""], [], ["a", "x" * 201], ["a", 3], "ab"])
def test_labels_that_cannot_be_read_again_are_not_written(labels, whole, tmp_path):
    config, _, facts = read_bundle(whole)
    with pytest.raises(RunError, match="these labels cannot be exported"):
        write_bundle(tmp_path / "out", config, whole / ADAPTER, labels, facts)
    assert list(tmp_path.iterdir()) == []


# -- read


def put(name, text):
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def tell(**changes):
    return lambda folder: (folder / "bundle.json").write_text(json.dumps(facts_of(folder) | changes))


def ask(part, **changes):
    """Of config.yaml."""

    def change(folder):
        values = yaml.safe_load((folder / "config.yaml").read_text())
        (values if part is None else values[part]).update(changes)
        (folder / "config.yaml").write_text(yaml.safe_dump(values))

    return change


def spoil(name, change):
    """A change of one tensor, under a checksum that is right."""

    def spoiled(folder):
        tensors, metadata = load_tensors(folder / ADAPTER)
        save_tensors(folder / ADAPTER, tensors | {name: change(tensors[name].clone())}, metadata)

    return spoiled


def flip(folder):
    content = bytearray((folder / ADAPTER).read_bytes())
    content[-5] ^= 4
    (folder / ADAPTER).write_bytes(content)


def pipe(name):
    def make(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return make


def point(**changes):
    known = {
        "val_accuracy": 0.5,
        "val_interval": [0.4, 0.6],
        "val_std": 0.1,
        "num_replicates": 3,
        "replicates": "seeds",
    }
    return tell(point=known | {"seeds": [0, 1]} | changes)


DATA = {"fingerprint": "f", "seconds": 0.6}
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(20))
WRONG = [
    (put("labels.json", "{}"), "labels.json is damaged .it is no list of class names"),
    (put("labels.json", "null"), "no list of class names"),
    (put("labels.json", '["low", "middle"]'), r"head\.\w+ has the shape|parameters, not"),
    (put("labels.json", '["low", "middle", "high", "extra"]'), "parameters, not"),
    (put("labels.json", '["low", "low", "high"]'), "the class 'low' is there twice"),
    (put("labels.json", '["low", null, "high"]'), "None is no class name"),
    (put("labels.json", json.dumps(["low", "middle", "x" * 200_000])), "is no class name of 1 to 200 characters"),
    (put("labels.json", "[" * 100_000), "nested too deeply"),
    (put("labels.json", b"\xff\xfe\xfd"), "labels.json is damaged"),
    (put("labels.json", " " * 5_000_000), "more than 4,194,304 bytes"),
    (put("bundle.json", ""), "bundle.json is damaged"),
    (put("bundle.json", "[]"), "Input should be a valid dictionary"),
    (put("bundle.json", '{"a":' * 100_000), "nested too deeply"),
    (put("bundle.json", f'{{"data": {"9" * 5_000}}}'), "digits"),
    (tell(data=None), "data: Input should be a valid dictionary"),
    (tell(data=DATA | {"seconds": "0.6"}), "data.seconds: Input should be a valid number"),
    (tell(data=DATA | {"seconds": 10**400}), "data.seconds: Input should be a valid number"),
    (tell(data=DATA | {"seconds": math.nan}), "data.seconds: Input should be a finite number"),
    (tell(data=DATA | {"seconds": 1e6}), "data.seconds: Input should be less than or equal to 600"),
    (tell(data=DATA | {"seconds": 30.0}), "data.seconds is 30, in config.yaml 0.6"),
    (tell(data=DATA | {"metric": "f1"}), "data.metric: Input should be 'accuracy' or 'mAP'"),
    (tell(data={"seconds": 0.6}), "data.fingerprint: Field required"),
    (tell(backbone={"fingerprint": 7}), "backbone.fingerprint: Input should be a valid string"),
    (tell(val_accuracy="good"), "val_accuracy: Input should be a valid number"),
    (tell(val_accuracy=2), "val_accuracy: Input should be less than or equal to 1.0"),
    (tell(val_interval=[0.1]), "val_interval: List should have at least 2 items"),
    (tell(cpu_threads=10**6), "cpu_threads: Input should be less than or equal to 1024"),
    (tell(cpu_threads=True), "cpu_threads: Input should be a valid integer"),
    (tell(versions={"torch": None}), "versions.torch: Input should be a valid string"),
    (point(num_replicates=10**400), "point.num_replicates: Input should be less than"),
    (point(val_interval=None), "it does not say point.val_interval"),
    (point(val_std=-1), "point.val_std: Input should be greater than or equal to 0"),
    (point(seeds=[0, "1"]), "point.seeds.1: Input should be a valid integer"),
    (point(replicates="twins"), "point.replicates: Input should be 'seeds' or 'folds'"),
    (put("config.yaml", BOMB), "config.yaml is damaged .it has more than 10,000 values"),
    (put("config.yaml", "a: &a [*a]"), "more than 10,000 values"),
    (put("config.yaml", "!!python/object/apply:os.system [exit]"), "could not determine a constructor"),
    (put("config.yaml", "seed: !!int ''"), "string index out of range"),
    (put("config.yaml", "[" * 60_000), "recursion"),
    (put("config.yaml", "#" * 70_000), "more than 65,536 bytes"),
    (put("config.yaml", ""), "it is empty"),
    (ask(None, seed=None), "seed=None is not possible"),
    (ask("method", num_experts=1_000_000), "method.num_experts=1000000 is not possible: at most 10,000"),
    (ask("method", bottleneck_dim=10**9), "method.bottleneck_dim=1000000000 is not possible"),
    (ask("method", bottleneck_dim=9_999), "parameters, not"),
    (ask("method", num_experts=10_000, slots_per_expert=10_000), "trainable parameters: at most 1,000,000,000"),
    (ask("method", slots_per_expert=1), "holds other tensors .*slot_embeds has the shape"),
    (ask("method", layers=[0, 5]), r"method.layers=\[0, 5\] is not possible: this backbone has layers 0 to 2"),
    (ask("optim", lr=10**400), "optim.lr=1000.* is not possible"),
    (ask("backbone", name="/no/such/folder"), "does not exist"),
    (flip, "adapter.safetensors is damaged .its checksum is another one.: export it again"),
    (spoil("head.bias", lambda t: t[:1]), r"parameters, not|head.bias has the shape \[1\], not \[3\]"),
    (spoil("head.bias", lambda t: t.expand(99, 3).flatten()), r"head.bias has the shape \[297\], not \[3\]"),
    (spoil("head.weight", lambda t: t.double()), "head.weight is of type float64, not float32"),
    (spoil("head.weight", lambda t: t.int()), "head.weight is of type int32, not float32"),
    (spoil("head.weight", lambda t: t * math.nan), "head.weight holds values that are no finite numbers"),
    (spoil("norm.bias", lambda t: t + math.inf), "norm.bias holds values that are no finite numbers"),
    (pipe("config.yaml"), "config.yaml is damaged .it is no file"),
    (pipe("labels.json"), "labels.json is damaged .it is no file"),
    (pipe(ADAPTER), "adapter.safetensors is no file"),
    (lambda folder: (folder / ADAPTER).unlink(), "adapter.safetensors is missing"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "words"), WRONG, ids=[words[:50] for _, words in WRONG])
def test_what_is_wrong_with_a_bundle_is_one_line(change, words, bundle, quick):
    change(bundle)
    with pytest.raises((RunError, ConfigError, BackboneError), match=words) as error:
        Predictor(bundle)
    assert "\n" not in str(error.value)


def test_weights_that_make_no_numbers_are_refused(bundle, clip, quick):
    spoil("head.weight", lambda t: torch.full_like(t, 3e38))(bundle)
    with pytest.raises(RunError, match=r"makes no finite numbers of .*test-low-0.wav"):
        Predictor(bundle).predict(clip)


def test_only_json_is_on_standard_output(whole, clip, quick, monkeypatch, capfd):
    """Decoders print by themselves when a file puzzles them, through C, to whatever is descriptor 1."""

    def puzzled(path, seconds):
        ctypes.CDLL(None).puts(b"alac_decode_block : Ooops!")
        return load_clip(path, seconds)

    monkeypatch.setattr("astmoa.bundles.export.load_clip", puzzled)
    main(["predict", str(whole), str(clip), "--json"])
    out, err = capfd.readouterr()
    assert json.loads(out)["clip"] == str(clip)
    assert "Ooops!" in err


def test_a_bundle_of_before_has_no_checksum_and_predicts_the_same(bundle, whole, clip, quick):
    from safetensors.torch import save_file

    tensors, metadata = load_tensors(bundle / ADAPTER)
    save_file(tensors, bundle / ADAPTER, metadata={"astmoa": json.dumps(metadata)})
    facts = facts_of(bundle)
    for key in ("cpu_threads", "val_interval", "versions"):
        del facts[key]
    (bundle / "bundle.json").write_text(json.dumps(facts))
    assert torch.equal(Predictor(bundle).logits(clip), Predictor(whole).logits(clip))


def test_names_that_are_no_utf8_come_back(whole, tmp_path):
    """A folder's, as Python spells them; in labels, too."""
    config, _, facts = read_bundle(whole)
    facts |= {
        "study": "\udcff",
        "pick": "p",
        "label": "l",
        "params": {"num_trainable_params": 1},
        "test_accuracy": None,
    }
    labels = ["caf\udce9", "日本", "\x1b[2J"]
    write_bundle(tmp_path / "out", config, whole / ADAPTER, labels, facts)
    assert read_bundle(tmp_path / "out")[1] == labels


@pytest.mark.slow
@given(seed=st.integers(0, 10**9))
@settings(max_examples=120)
def test_damaged_bundles_predict_or_are_refused(seed, whole, clip, tiny_folder, tmp_path_factory):
    """A file's bytes, or what it says. The label is one of the bundle's in any case."""
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("damaged") / "bundle"
    shutil.copytree(whole, folder)
    path = folder / rng.choice(FILES)
    if path.suffix == ".safetensors" or rng.random() < 0.3:
        path.write_bytes(damage(path.read_bytes(), rng))
    elif path.suffix == ".json":
        path.write_text(json.dumps(distort(json.loads(path.read_text()), rng)))
    else:
        path.write_text(yaml.safe_dump(distort(yaml.safe_load(path.read_text()), rng)))
    refused(AstmoaError, predict_one, folder, clip)


def predict_one(folder, clip):
    best, *_ = Predictor(folder).predict(clip)
    assert best.label in json.loads((folder / "labels.json").read_text())
    assert 0 <= best.probability <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (tell(cpu_threads=10**6), "cpu_threads"),
        (flip, "its checksum is another one"),
        (spoil("norm.bias", lambda t: t * math.nan), "norm.bias holds values"),
        (ask("method", num_experts=1_000_000), "method.num_experts"),
    ],
)
def test_what_is_wrong_with_a_bundle_is_found_before_it_is_trained_again(change, words, bundle, monkeypatch):
    monkeypatch.setattr("astmoa.study.reproduce.train_one", lambda *args: pytest.fail("trained"))
    change(bundle)
    message = refused(AstmoaError, reproduce, bundle)
    assert words in message
    assert bundles.ADAPTER in message or "config.yaml" in message or "bundle.json" in message
