"""A paper's figures beside ours: which, and whether our setting is the paper's.

The figures travel in the journal. A proposal may carry `paper`, its accuracy in percent by name of the data; the
sweep's header may carry `paper`: {"source": "Table 1 of ...", "setting": {...}}. The setting's keys: `data` (names of
the data the source has figures for), `hidden_size` and `num_layers` of the backbone, `backbone` (its name), `metric`
(default accuracy), `epochs`, `folds`, `clips`, `classes`, `seconds`, `validation` (the test fold: chosen by the score
that is reported, as the switch `validate_on_test` does). Each is a value, or values by name of the data. Beside
source and setting, `changed` may list options that depart from the paper, such as "--lr 1".

Nothing says "the same" that has not been compared: a setting names what is compared, and the caption repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from astmoa.records.sweep import SweepRecord
from astmoa.records.trials import PointRecord

_NAMES = {
    "esc50": "ESC-50",
    "urbansound8k": "UrbanSound8K",
    "speech_commands_v1": "Speech Commands v1",
    "speech_commands_v2": "Speech Commands v2",
    "fluent_speech_commands": "Fluent Speech Commands",
    "gtzan": "GTZAN",
    "gtzan_folds": "GTZAN (folds)",
    "openmic": "OpenMIC",
}
_SHAPE = ("hidden_size", "num_layers")
_PLURAL = ("epochs", "clips", "classes")  # said as "4 epochs"; the others as "folds 1"


def paper_figure(point: PointRecord, data_name: str) -> float | None:
    """The paper's accuracy of this configuration on these data, in percent; None where it gives none."""
    value = point.paper.get(data_name)
    return None if value is None else float(value)


def paper_note(sweep: SweepRecord) -> str | None:
    """One sentence for the caption: whose figures these are, and how our setting differs. None where nobody names a
    paper."""
    points, header = sweep.points(), sweep.header.get("paper") or {}
    if not header and not any(point.paper for point in points):
        return None
    source = header.get("source") or "source unknown"
    setting: dict[str, Any] = header.get("setting") or {}
    if not any(paper_figure(point, sweep.data_name) is not None for point in points):
        known = list(dict.fromkeys(name for point in points for name in point.paper)) or setting.get("data") or []
        if not known or sweep.data_name in known:
            return f"paper: {source} has no figure for these points"
        return f"paper: its figures are for {', '.join(_NAMES.get(name, name) for name in known)}; none for this data"
    # What the paper has no figure for, such as AAT beside its methods, has a setting of its own.
    points = tuple(point for point in points if paper_figure(point, sweep.data_name) is not None)
    theirs = _of_data(setting, sweep.data_name)
    same, differing, unknown = _compare(theirs, _ours(sweep, points))
    differing += [f"with {option}" for option in header.get("changed") or ()]
    switches = {switch for point in points for switch in point.config.get("faithful") or ()}
    if "validation" in theirs:
        switches.discard("validate_on_test")  # compared already
    if switches:
        differing.append(f"faithful switches: {', '.join(sorted(switches))}")
    if differing:
        note = f"paper: {source}; not the paper's setting: {', '.join(differing)}"
    elif same:
        note = f"paper: {source}, same in all that is compared ({', '.join(same)})"
    else:
        note = f"paper: {source}; its setting is not known"
    return note + (f"; not compared: {', '.join(unknown)}" if unknown else "")


def _of_data(setting: dict[str, Any], data_name: str) -> dict[str, Any]:
    """The setting for one data set: values by name of the data replaced by that of this name."""
    chosen = {key: value.get(data_name) if isinstance(value, dict) else value for key, value in setting.items()}
    chosen = {"metric": "accuracy", **chosen}
    chosen.pop("data", None)
    return {key: value for key, value in chosen.items() if value is not None}


def _ours(sweep: SweepRecord, points: Sequence[PointRecord]) -> dict[str, list[Any]]:
    """The same keys for these points, each with its different values, ascending; nothing where the journal does not
    say."""
    data, backbone = ({} if not isinstance(v := sweep.header.get(k), dict) else v for k in ("data", "backbone"))
    clips, configs = data.get("clips"), [point.config for point in points]
    folds = {len(point.completed_folds) for point in points}
    on_test = {"validate_on_test" in (config.get("faithful") or ()) for config in configs}
    ours = {key: [backbone.get(key)] for key in _SHAPE} | {
        "backbone": [None if sweep.backbone_name == "?" else sweep.backbone_name],
        "metric": [sweep.metric],
        "epochs": sorted({config["optim"]["epochs"] for config in configs}),
        "folds": sorted(folds) if any(folds) else [None],
        "clips": [None if clips is None else clips - len(data.get("bad_clips") or ())],
        "classes": [len(data["labels"]) if data.get("labels") else None],
        "seconds": [data.get("seconds")],
        "validation": ["the test fold" if test else "a held-out part" for test in sorted(on_test)],
    }
    return {key: values for key, values in ours.items() if values != [None]}


def _compare(paper: dict[str, Any], ours: dict[str, list[Any]]) -> tuple[list[str], list[str], list[str]]:
    """What is the same, what differs (said with both values), and what cannot be compared."""
    same: list[str] = []
    differing: list[str] = []
    unknown = [key for key in paper if key not in ours]
    if all(key in paper and key in ours for key in _SHAPE):
        (width,), (layers,) = (ours[key] for key in _SHAPE)
        equal = (width, layers) == tuple(paper[key] for key in _SHAPE)
        text = f"backbone has {layers} layers of {width}"
        (same if equal else differing).append(
            text if equal else f"{text} (paper {paper['num_layers']} of {paper['hidden_size']})"
        )
    for key, value in paper.items():
        if key in _SHAPE or key in unknown:
            continue
        equal = ours[key] == [value]
        text = _said(key, ours[key])
        if not equal:
            differing.append(f"{text} (paper {value})")
        elif key != "metric":  # that the paper counts accuracy as well goes without saying
            same.append(text)
    return same, differing, unknown


def _said(key: str, values: Sequence[Any]) -> str:
    if key == "validation":
        return f"validation on {' and '.join(values)}"
    text = " to ".join(map(str, dict.fromkeys((values[0], values[-1]))))
    return f"{text} {key}" if key in _PLURAL else f"{key} {text}"
