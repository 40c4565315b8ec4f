"""`astmoa predict`: labels of sounds by an exported model."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from astmoa.errors import ConfigError, printable


@dataclass(frozen=True)
class Predict:
    """Print the labels of audio files with their probabilities."""

    bundle: Positional[Path]
    """A folder that `astmoa export` wrote (or RUN_DIR/best)."""
    clips: Positional[tuple[Path, ...]]
    top: int = 5
    """Number of labels to print for each clip."""
    json: bool = False
    """Print one JSON object per clip."""
    trust_code: bool = False
    """Run the code of the method that the bundle brings along, if it is one from outside: trust its author?"""

    def run(self) -> None:
        from astmoa.bundles.bundle import trust
        from astmoa.bundles.export import Predictor, check_top

        if not self.clips:
            raise ConfigError("no clip given: name at least one audio file")
        check_top(self.top)
        for folder in filter(Path.is_dir, self.clips):
            raise ConfigError(f"{folder} is a folder: name the sounds in it, such as {folder / '*.wav'}")
        if self.trust_code:
            trust(self.bundle)
        predictor = Predictor(self.bundle)
        for clip in self.clips:
            predictions = predictor.predict(clip, self.top)
            if self.json:
                print(json.dumps({"clip": str(clip), "predictions": [dataclasses.asdict(p) for p in predictions]}))
            else:
                print(printable(clip))
                for prediction in predictions:
                    print(f"  {100 * prediction.probability:6.2f} %  {printable(prediction.label)}")
