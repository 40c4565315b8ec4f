"""An exported model, as a program uses it: files or waveforms in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from astmoa.config import TrialConfig
from astmoa.errors import ConfigError, shown
from astmoa.files.reading import as_path

if TYPE_CHECKING:
    import numpy as np
    import torch

    from astmoa.bundles.export import Prediction, Predictor

File = TypeVar("File", bound=Path | str)


def load_bundle(bundle: Path | str, device: str = "cpu", trust_code: bool = False) -> Model:
    """An exported model, ready to predict.

    trust_code: run the method that it brings along, if that is one from outside. Raises RunError where a file is
    missing or damaged, BackboneError where its backbone is not here.
    """
    from astmoa.bundles.bundle import trust
    from astmoa.bundles.export import Predictor

    folder = as_path("bundle", bundle)
    if trust_code:
        trust(folder)
    return Model(Predictor(folder, device))


class Model:
    """An exported model."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor

    @property
    def labels(self) -> list[str]:
        """In the order of the logits."""
        return list(self._predictor.labels)

    @property
    def config(self) -> TrialConfig:
        """The trial that it comes from."""
        return self._predictor.config

    @overload
    def predict(self, clips: list[File] | tuple[File, ...], *, top: int = 5) -> list[list[Prediction]]: ...
    @overload
    def predict(
        self, clips: Path | str | np.ndarray | torch.Tensor, sampling_rate: int | None = None, *, top: int = 5
    ) -> list[Prediction]: ...
    def predict(self, clips: Any, sampling_rate: int | None = None, *, top: int = 5) -> Any:
        """The `top` labels with their probabilities, most probable first; a list of files gives a list of those.

        clips: an audio file, several, or a waveform, [samples] or [channels, samples], with its `sampling_rate` in Hz.
        Longer ones are cut to the clip length of training. Raises ClipError for what is no sound.
        """
        if isinstance(clips, str | Path):
            return self._predictor.predict(clips, top)
        if isinstance(clips, Sequence) and all(isinstance(clip, str | Path) for clip in clips):
            return [self._predictor.predict(clip, top) for clip in clips]
        return self._predict_waveform(clips, sampling_rate, top)

    def _predict_waveform(self, waveform: Any, rate: int | None, top: int) -> list[Prediction]:
        import numpy as np

        from astmoa.audio.decode import check_rate, resampled
        from astmoa.bundles.export import check_top

        check_top(top)
        try:
            samples = np.asarray(waveform, dtype=np.float32)
        except (TypeError, ValueError):
            raise ConfigError(f"{shown(waveform)} is no file, no list of files and no waveform") from None
        if not isinstance(rate, int | float | np.number) or not rate > 0 or not np.isfinite(rate):
            raise ConfigError("a waveform has no rate of its own: give predict(waveform, sampling_rate), in Hz")
        if samples.ndim not in (1, 2) or not samples.size:
            raise ConfigError(f"a waveform is [samples] or [channels, samples], not {list(samples.shape)}")
        if samples.ndim == 2 and samples.shape[0] > samples.shape[1]:
            raise ConfigError(
                f"a waveform of {samples.shape[0]:,} channels: give [channels, samples], transpose it (.T)"
            )
        check_rate(int(rate), "waveform")
        mono = samples if samples.ndim == 1 else samples.mean(axis=0)
        seconds = self._predictor.seconds
        wave = resampled(mono[: -int(-seconds * rate // 1)], int(rate), seconds, "waveform")
        logits = self._predictor.logits_of(self._predictor.features_of(wave))
        return self._predictor.predictions(logits, top, "waveform")
