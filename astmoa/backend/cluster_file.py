"""Is a file for `ray up` ready to be used? Ray itself finds some of this out when machines are running already."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import re
from pathlib import Path

import yaml

from astmoa.provenance import redact

MARK = "!SET_ME"
EXAMPLES = ("ami-0123456789abcdef0", "s3://my-bucket/")
"""Values of cluster/gpu.yaml that are examples, and nobody's."""


def problems(path: Path) -> list[str]:
    """One line for every field that is still to be set or that Ray does not know. Starts nothing, asks nobody."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        return [f"{path}: cannot be read ({error}): name a cluster file, such as cluster/gpu.yaml"]
    unset = [
        f"{path}:{number}: {MARK} is left: put your own value there, without the mark ({line.strip()})"
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(rf"{MARK}\b", line.partition(" #")[0]) and not line.lstrip().startswith("#")
    ]
    unset += [
        f"{path}:{number}: {example} is the example's: put your own value there"
        for number, line in enumerate(text.splitlines(), 1)
        for example in EXAMPLES
        if example in line.partition(" #")[0] and MARK not in line and not line.lstrip().startswith("#")
    ]
    unset += [
        f"{path}:{number}: a password or a key stands here, which is seen by all who list processes on these machines: "
        "have it in a file there, as cluster/README.md says"
        for number, line in enumerate(text.splitlines(), 1)
        if redact(line) != line and not line.lstrip().startswith("#")
    ]
    if unset:
        return unset
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"{path}: no YAML ({' '.join(str(error).split())[:200]}): mend it there"]
    if not isinstance(config, dict):
        return [f"{path}: no cluster file: it holds no fields"]
    return [f"{path}: {problem}" for problem in _unknown(config)]


def _unknown(config: dict) -> list[str]:
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        logging.disable()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            validate_config(prepare_config(config))
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "the file"
        return [f"{where}: {error.message.splitlines()[0][:200]}: mend it, Ray would refuse it"]
    except (ValueError, KeyError, AttributeError, TypeError, NotImplementedError) as error:
        return [f"Ray cannot use it ({' '.join(str(error).split())[:200]}): mend it"]
    finally:
        logging.disable(logging.NOTSET)
    if (config.get("provider") or {}).get("type") == "aws" and importlib.util.find_spec("boto3") is None:
        return ["Ray needs boto3 for AWS, which is not here: pip install --editable '.[aws]'"]
    missing = [place for place in (config.get("file_mounts") or {}).values() if not Path(place).expanduser().exists()]
    return [f"file_mounts: {place} does not exist: call from the checkout's top folder" for place in missing]
