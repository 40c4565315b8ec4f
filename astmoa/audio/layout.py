"""What a layout of data is: one class per data set, which says everything about it, and the register of them.

It imports no tensor library: configurations and help texts ask here.
"""

from __future__ import annotations

import abc
import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from astmoa.audio.listing import Listing, wrong_listing
from astmoa.audio.own_sounds import Sound, listing_of
from astmoa.audio.splits import Clip
from astmoa.errors import DataError
from astmoa.files.register import Register, one_line

if TYPE_CHECKING:
    import torch


class Choice(Protocol):
    """What a configuration, a dataclass, says of the data; see `DataConfig`."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def name(self) -> str: ...
    @property
    def root(self) -> str | None: ...
    @property
    def fold(self) -> int: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def skip_bad_clips(self) -> bool: ...
    @property
    def num_labels(self) -> int | None: ...
    @property
    def metric(self) -> str: ...


@dataclass(frozen=True)
class Download:
    """One archive. size: bytes, for the message only. checksum: "md5:..." or "sha256:..."; `checksum_from` says who
    published it."""

    url: str
    size: int
    checksum: str
    checksum_from: str


@dataclass(frozen=True)
class Source:
    """page: where people read about the data. download: None where no stable public address exists; `by_hand` then
    says how to get it. group: what one group of clips shares. clips: how many the whole set has, None where there is
    no such number."""

    page: str
    licence: str
    layout: tuple[str, ...]
    download: Download | None = None
    by_hand: str = ""
    group: str = "source recording"
    clips: int | None = None


class Layout(abc.ABC):
    """One data set as it lies in a folder; the first line of its docstring is how help texts describe it."""

    name: ClassVar[str]
    source: ClassVar[Source] = Source("your own files", "yours", ("as the code that reads it says",), group="group")
    recipe: ClassVar[Mapping[str, int]] = {"epochs": 20, "batch_size": 32, "freq_mask": 0, "time_mask": 0}
    """How a trial on it is trained where nothing is said: the Soft-MoA paper's settings where the data are its own
    (with SpecAugment 24/80 where it uses it); GTZAN and OpenMIC are AAT's data; what is no paper's has a setting of
    ours."""
    label_choices: ClassVar[tuple[int, ...]] = ()
    """Values of `num_labels`; none where there is no choice."""
    needs_root: ClassVar[bool] = True
    """Whether the sounds lie in a folder that has to be given."""
    version: ClassVar[str] = ""
    """What the clips are made from, where they are no files: part of the feature store's key."""
    code: str | None = None
    """Hash of the source, of a layout from outside."""

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return (self.__doc__ or "").strip().split("\n")[0].rstrip(".")

    @abc.abstractmethod
    def read(self, root: Path, choice: Choice) -> Listing:
        """Which clips there are, by lists and headers; nothing is decoded. Raises DataError where a list is wrong."""

    def load(self, clips: Sequence[Clip], seconds: float, index: int) -> torch.Tensor:
        """Clip `index` as [samples] float32, mono, 16 kHz, at most `seconds` long."""
        from astmoa.audio.decode import load_part

        return load_part(clips[index], seconds)


class OwnLayout(Layout):
    """A function of somebody's, from a folder to Sounds."""

    def __init__(self, name: str, code: str, function: Callable[[Path], Iterable[Sound]]):
        self._name, self.code, self._function = name, code, function

    def read(self, root: Path, choice: Choice) -> Any:
        return self._function(root)


def read_own(layout: Layout, root: Path, choice: Choice) -> Listing:
    """What a layout from outside says, Sounds or a Listing, looked at. Raises ConfigError for whatever its code raises,
    DataError for what is no data set."""
    place = root.absolute()
    with one_line(f"data.name={choice.name!r} failed in {root}"):
        found: Any = layout.read(place, choice)
        found = found if isinstance(found, Listing) else list(found)
    if not isinstance(found, Listing):
        return listing_of(place, found, lambda index: f"clip {index + 1}", choice.skip_bad_clips)
    why = wrong_listing(found)
    if why is not None:
        raise DataError(f"data.name={choice.name!r} gave a listing in which {why}")
    return found


def _is_layout(value: object) -> bool:
    return isinstance(value, types.FunctionType) or (isinstance(value, type) and issubclass(value, Layout))


def _adopted(name: str, value: Any, code: str) -> Layout:
    if isinstance(value, types.FunctionType):
        return OwnLayout(name, code, value)
    value.name, value.code = name, code
    return value()


LAYOUTS: Register[Layout] = Register(
    "layout", "data.name", "--data", "def mine(root), which yields astmoa.Sound(path, label)", _is_layout, _adopted
)
"""Its entry points are the group `astmoa.layouts`."""
Kind = TypeVar("Kind", bound=type[Layout])


def register(kind: Kind) -> Kind:
    """Make a layout of the package known by its name."""
    LAYOUTS.add(kind.name, kind())
    return kind
