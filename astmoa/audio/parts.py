"""What a sound file's bytes say of its length, checked against the bytes themselves, before libsndfile believes them.

libsndfile hands out no more than a header announces. A header that was written before the length was known (into a
pipe, by a recorder that crashed), or that a program got wrong, would lose the rest in silence. So every format that
announces a length is looked at here, and libsndfile is given the file with that field mended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from astmoa.audio.plain_files import PlainFile

ID3 = b"ID3"
_MOST_TAGS = 32


@dataclass(frozen=True)
class Part:
    """Bytes `start` to `end` of a file, which libsndfile is to decode as one sound.

    patches: place in the file -> bytes that stand there instead. sure: libsndfile's count of frames is right, otherwise
    only decoding tells. announced: frames that were promised, 0 where nobody says; times: so many times as much as is
    there was promised, for infinity nobody knows how much. lost: seconds of the wanted part that are no sound.
    shy: see `mpeg`.
    """

    start: int
    end: int
    patches: Mapping[int, bytes] = field(default_factory=dict)
    sure: bool = True
    announced: int = 0
    times: float = 1.0
    lost: float = 0.0
    shy: bool = False


def skip_id3(file: PlainFile, place: int) -> int:
    """Where the sound begins behind the ID3v2 tags at `place`: one as a rule."""
    for _ in range(_MOST_TAGS):
        head = file.read_at(place, 10)
        if head[:3] != ID3 or len(head) < 10:
            break
        size = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
        place += 10 + size + (10 if head[5] & 16 else 0)
    return place
