"""One archive from a public address into a folder: resumed where it was cut, checked before it is opened, and unpacked
without a way out of its folder."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import shutil
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from astmoa.audio.progress import bar
from astmoa.errors import DataError

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 60.0
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, NotImplementedError)
_TRY_AGAIN_LATER = {408, 429, 500, 502, 503, 504}


def fetch(url: str, target: Path, checksum: str, progress: bool = True, attempts: int = 5, wait: float = 2.0) -> Path:
    """Download `url` to `target` and return it; a `target` that is there already and whole is taken.

    What has arrived lies in TARGET.part, and every attempt, also one of a later call, goes on behind it where the
    server lets it. `attempts` in a row may bring nothing, `wait` seconds apart. checksum: "md5:..." or "sha256:...".
    Raises DataError where the server refuses, the connection stays cut, the checksum of what arrived is another one
    (it is then deleted), or `target` is another file (it is never touched: somebody put it there).
    """
    if target.is_file():
        found = _digest(target, checksum)
        if found != checksum:
            what = f"{target} is another file ({found.replace(':', ' ')}, not {checksum.replace(':', ' ')})"
            raise DataError(f"{what}: move it away, or unpack it yourself")
        return target
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    idle = 0
    while True:
        had = _size(part)
        try:
            whole = _receive(url, part, progress)
            reason = "the connection was cut"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            whole, reason = False, _reason(url, error)
        if whole:
            break
        idle = 0 if _size(part) > had else idle + 1
        if idle >= attempts:
            raise DataError(
                f"{url} stopped after {_size(part):,} bytes ({reason}): the same command goes on from there"
            )
        time.sleep(wait)
    found = _digest(part, checksum)
    if found != checksum:
        size = _size(part)
        part.unlink()
        raise DataError(
            f"{url} gave {size:,} bytes with {found}, not {checksum}; they are deleted: run again, and if it stays so, "
            "the published file has changed: download it by hand and unpack it yourself"
        )
    part.rename(target)
    return target


def _receive(url: str, part: Path, progress: bool) -> bool:
    """One attempt, behind what `part` holds. Returns whether the file is whole."""
    had = _size(part)
    headers = {"User-Agent": "astmoa", "Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing behind what is there: it is whole, or longer than the file
            if error.headers.get("Content-Range") == f"bytes */{had}":
                return True
            part.unlink()
            return False
        raise
    with response:
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {had}-")
        had = had if goes_on else 0  # a server that knows no ranges sends everything again
        length = response.headers.get("Content-Length")
        total = had + int(length) if length else None
        with bar(progress, in_bytes=True) as shown, _append(part, goes_on) as file:
            task = shown.add_task(Path(urllib.parse.urlsplit(url).path).name, total=total, completed=had)
            while block := response.read(_BLOCK):
                try:
                    file.write(block)
                except OSError as error:
                    raise DataError(f"{part} cannot be written ({error.strerror}): make room, then run again") from None
                shown.update(task, advance=len(block))
    return total is None or _size(part) == total


def _append(part: Path, goes_on: bool):
    try:
        return open(part, "ab" if goes_on else "wb")
    except OSError as error:
        raise DataError(f"{part} cannot be written ({error.strerror}): give a folder that is yours") from None


def _reason(url: str, error: Exception) -> str:
    """In words; raises DataError where trying again cannot help."""
    if isinstance(error, urllib.error.HTTPError) and error.code not in _TRY_AGAIN_LATER:
        raise DataError(f"{url} answers {error.code} {error.reason}: download it by hand, or ask its page") from None
    return " ".join(str(getattr(error, "reason", None) or error or type(error).__name__).split())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path, like: str) -> str:
    """The checksum of a file in the form, and of the kind, of `like`."""
    kind = like.partition(":")[0]
    with open(path, "rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def extract(archive: Path, root: Path, progress: bool = True) -> None:
    """Unpack a .zip, .tar or .tar.gz so that `root`, which is absent or empty, comes to be what it holds, all or
    nothing; a single folder around everything is left out. Raises DataError for a damaged archive and for members that
    are no plain file or folder, or whose path is absolute or leads upwards."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root} is not empty: give a new folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        inside = temporary / "files"  # with usual rights, unlike mkdtemp's
        inside.mkdir()
        unpack: Callable[[Path, Path, bool], None] = _unzip if archive.name.endswith(".zip") else _untar
        try:
            unpack(archive, inside, progress)
        except _DAMAGED as error:
            raise DataError(f"{archive} is damaged ({error}): delete it and download it again") from None
        members = list(inside.iterdir())
        top = members[0] if len(members) == 1 and members[0].is_dir() else inside
        if root.exists():
            root.rmdir()
        top.rename(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _untar(archive: Path, folder: Path, progress: bool) -> None:
    with tarfile.open(archive) as tar, bar(progress) as shown:
        task = shown.add_task(f"Unpacking {archive.name}", total=None)
        for member in tar:
            _check_member(archive, member.name, member.isreg() or member.isdir())
            target = folder / member.name
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            else:  # not tar.extract: its filters are missing before Python 3.11.4, and these are plain files
                target.parent.mkdir(parents=True, exist_ok=True)
                packed = tar.extractfile(member)
                assert packed is not None  # as of every plain file
                with packed, open(target, "wb") as file:
                    shutil.copyfileobj(packed, file)
            shown.advance(task)
        while tar.fileobj.read(_BLOCK):  # to the end, where gzip keeps its checksum
            pass


def _unzip(archive: Path, folder: Path, progress: bool) -> None:
    with zipfile.ZipFile(archive) as packed, bar(progress) as shown:
        members = packed.infolist()
        for member in shown.track(members, description=f"Unpacking {archive.name}"):
            kind = stat.S_IFMT(member.external_attr >> 16)
            _check_member(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if member.flag_bits & 1:
                raise DataError(f"{archive} is encrypted: unpack it yourself, with its password")
            packed.extract(member, folder)


def _check_member(archive: Path, name: str, plain: bool) -> None:
    windows = PureWindowsPath(name)  # takes / and \ alike
    upwards = ".." in windows.parts or ".." in PurePosixPath(name).parts
    if not plain or upwards or windows.drive or windows.root or name.startswith("/"):
        raise DataError(
            f"{archive} holds {name!r}, a link, a device or a path out of its folder: delete it, do not unpack it"
        )
