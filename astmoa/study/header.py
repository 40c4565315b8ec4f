"""The journal's first event: what was run, on what, with what."""

from __future__ import annotations

import dataclasses
import shlex
import uuid
from typing import TYPE_CHECKING, Any

from astmoa.config import TrialConfig
from astmoa.config.own_code import sources
from astmoa.provenance import git_commit, machine, package_hash, redact, versions
from astmoa.records.journal import FORMAT
from astmoa.study.options import StudyOptions
from astmoa.study.resume import plain

if TYPE_CHECKING:
    from astmoa.backbone.frozen import Backbone
    from astmoa.training.inputs import Inputs


def sweep_header(
    study: str,
    argv: list[str],
    options: StudyOptions,
    inputs: Inputs,
    template: TrialConfig,
    backbone: Backbone,
) -> dict[str, Any]:
    """The fields of the journal's first event: what was run, on what, with what."""
    splits = {
        fold: {"train": len(s.train), "val": len(s.val), "test": len(s.test)} for fold, s in inputs.splits.items()
    }
    return {
        "format": FORMAT,
        "sweep_id": uuid.uuid4().hex[:12],
        "study": study,
        "command": shlex.join(["python", *argv]),
        "options": {key: redact(v) if isinstance(v, str) else v for key, v in plain(options).items()},
        "data": {
            "name": inputs.name,
            "fingerprint": inputs.fingerprint,
            "clips": len(inputs.labels),
            "splits": {str(fold): sizes for fold, sizes in splits.items()},
            "labels": list(inputs.label_names),
            "seconds": inputs.seconds,
            "metric": inputs.metric,
            "bad_clips": inputs.bad_clips,
        },
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint, **dataclasses.asdict(backbone.shape)},
        "machine": machine(),
        "versions": versions(),
        "package": package_hash(),
        "git_commit": git_commit(),
        **sources(),
    }
