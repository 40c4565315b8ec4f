"""Downloads that are cut, refused or wrong, and archives that want out of their folder."""

import hashlib
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from astmoa.audio.download import extract, fetch
from astmoa.errors import DataError
from tests.helpers.server import Server, serve

CONTENT = bytes(range(256)) * 20_000  # 5 MB
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(CONTENT) as running:
        yield running


def _fetch(server: Server, target: Path, checksum: str = SHA256, attempts: int = 3) -> Path:
    return fetch(f"{server.url}/data.zip?download=1", target, checksum, attempts=attempts, wait=0.01)


def _failure(server: Server, target: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        _fetch(server, target, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("checksum", [SHA256, "md5:" + hashlib.md5(CONTENT).hexdigest()])
def test_a_file_comes_whole_to_its_name(server: Server, tmp_path: Path, checksum: str) -> None:
    target = tmp_path / "below" / "data.zip"
    assert _fetch(server, target, checksum) == target
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["data.zip"]
    _fetch(server, target, checksum)
    assert server.requests == [None]  # the second call found it


def test_a_cut_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut", "cut", 503]
    assert _fetch(server, tmp_path / "data.zip").read_bytes() == CONTENT
    half, quarter = len(CONTENT) // 2, len(CONTENT) // 4
    assert server.requests == [None, f"bytes={half}-", f"bytes={half + quarter}-", f"bytes={half + quarter}-"]


def test_a_later_call_goes_on_behind_an_earlier_one(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut", 500, 500, 500]
    message = _failure(server, tmp_path / "data.zip")
    assert "stopped after 2,560,000 bytes" in message
    assert "goes on from there" in message
    assert (tmp_path / "data.zip.part").stat().st_size == len(CONTENT) // 2
    assert not (tmp_path / "data.zip").exists()
    server.requests.clear()
    assert _fetch(server, tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.requests == ["bytes=2560000-"]


def test_progress_resets_the_patience(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut"] * 6
    assert _fetch(server, tmp_path / "data.zip", attempts=2).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.faults, server.ranges = ["cut"], False
    assert _fetch(server, tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_server_that_does_not_say_how_much(server: Server, tmp_path: Path) -> None:
    server.announces_length = False
    assert _fetch(server, tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_whole_part_is_taken_and_one_too_long_is_not(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "data.zip.part"
    part.write_bytes(CONTENT)
    assert _fetch(server, tmp_path / "data.zip").read_bytes() == CONTENT
    (tmp_path / "data.zip").unlink()
    part.write_bytes(CONTENT + b"more")
    assert _fetch(server, tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.requests == ["bytes=5120000-", "bytes=5120004-", None]


def test_a_wrong_checksum_is_told_and_what_came_goes(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").write_bytes(b"x" * 1000)  # of another file
    message = _failure(server, tmp_path / "data.zip")
    assert SHA256.removeprefix("sha256:") in message
    assert "run again" in message
    assert list(tmp_path.iterdir()) == []
    assert _fetch(server, tmp_path / "data.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_file_that_somebody_put_there_is_never_touched(server: Server, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "data.zip"
    target.write_bytes(b"mine")
    checksum = f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}"
    message = _failure(server, target, checksum=checksum)
    assert f"{target} is another file ({kind} {hashlib.new(kind, b'mine').hexdigest()}" in message
    assert "move it away, or unpack it yourself" in message
    assert (target.read_bytes(), server.requests) == (b"mine", [])


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_refusal_is_not_tried_again(server: Server, tmp_path: Path, code: int) -> None:
    server.faults = [code]
    assert f"answers {code}" in _failure(server, tmp_path / "data.zip")
    assert len(server.requests) == 1


def test_nobody_there(tmp_path: Path) -> None:
    with serve(b"") as server:
        pass  # its port is free again
    assert "stopped after 0 bytes" in _failure(server, tmp_path / "data.zip", attempts=1)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").mkdir()
    assert "cannot be written" in _failure(server, tmp_path / "data.zip")


# --- Archives

FILES = {"top/meta/list.csv": b"a,b", "top/audio/1.wav": b"sound", "top/empty.txt": b""}


def _tar(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in others:
            tar.addfile(member)
    return path


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def _make(kind: str, path: Path, files: dict[str, bytes]) -> Path:
    return (_tar if kind == "tar.gz" else _zip)(path / f"archive.{kind}", files)


def _tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_around_everything_is_left_out(tmp_path: Path, kind: str, exists: bool) -> None:
    archive, root = _make(kind, tmp_path, FILES), tmp_path / "below" / "root"
    if exists:
        root.mkdir(parents=True)
    extract(archive, root)
    assert _tree(root) == {name.removeprefix("top/"): content for name, content in FILES.items()}
    assert [path.name for path in root.parent.iterdir()] == ["root"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(root.stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_without_a_common_folder_everything_is_the_root(tmp_path: Path, kind: str) -> None:
    files = {"./yes/1.wav": b"yes", "no/1.wav": b"no", "list.txt": b"yes/1.wav"}
    extract(_make(kind, tmp_path, files), tmp_path / "root")
    assert _tree(tmp_path / "root") == {"yes/1.wav": b"yes", "no/1.wav": b"no", "list.txt": b"yes/1.wav"}


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize(
    "name",
    ["../evil", "top/../../evil", "/tmp/evil", "top/..\\..\\evil", "C:\\evil", "\\\\host\\share\\evil", "C:evil"],
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    work = tmp_path / "a" / "b"
    work.mkdir(parents=True)
    archive = _make(kind, work, {**FILES, name: b"evil"})
    with pytest.raises(DataError, match="out of its folder") as caught:
        extract(archive, work / "root")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [archive.name]
    assert not (work / "root").exists()


def _member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        _member("top/link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("top/link", tarfile.SYMTYPE, "meta"),  # inside, yet data sets need none
        _member("top/link", tarfile.LNKTYPE, "top/meta/list.csv"),
        _member("top/pipe", tarfile.FIFOTYPE),
        _member("top/device", tarfile.CHRTYPE),
        _member("top/disk", tarfile.BLKTYPE),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = _tar(tmp_path / "evil.tar.gz", FILES, member)
    with pytest.raises(DataError, match=r"a link, a device or a path"):
        extract(archive, tmp_path / "root")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar.gz"]


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, mode: int) -> None:
    archive = _zip(tmp_path / "evil.zip", FILES)
    with zipfile.ZipFile(archive, "a") as packed:
        member = zipfile.ZipInfo("top/link")
        member.external_attr = (mode | 0o777) << 16
        packed.writestr(member, "/etc/passwd")
    with pytest.raises(DataError, match=r"a link, a device or a path"):
        extract(archive, tmp_path / "root")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("harm", ["cut", "noise", "flipped"])
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, kind: str, harm: str) -> None:
    archive = _make(kind, tmp_path, {"top/a": os.urandom(50_000), "top/b": os.urandom(50_000)})
    content = archive.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    archive.write_bytes({"cut": content[:middle], "noise": b"no archive" * 99, "flipped": flipped}[harm])
    with pytest.raises(DataError, match="is damaged"):
        extract(archive, tmp_path / "root")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_an_encrypted_zip_is_one_line(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"top/a": b"secret"})
    content = bytearray(archive.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1  # zipfile cannot encrypt, but marks are enough
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip is encrypted: unpack it yourself"):
        extract(archive, tmp_path / "root")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        extract(_zip(tmp_path / "a.zip", FILES), tmp_path / "root")
    assert _tree(tmp_path / "root") == {"mine.txt": b"mine"}
