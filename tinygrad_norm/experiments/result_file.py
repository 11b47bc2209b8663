"""The file NAME.json of an experiment: what was run, all figures, the table and the verdict.

It is written anew after every job, completely or not at all, so that a run that was stopped goes on where it
was. A figure that is not finite is a text there, "nan", "inf" or "-inf", for JSON has no other word for it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing
from .made_by import own_version

NOT_FINITE = ("nan", "inf", "-inf")


@dataclass
class JobRecord:
    """A job that is done; `code` tells with which text of the experiment's file."""

    setting: str
    seed: int
    arguments: dict[str, Any]
    code: str
    figures: dict[str, Any]
    seconds: float
    made: dict[str, str | None]


@dataclass
class Record:
    """The content of the file; the table and the verdict are there when all jobs are done."""

    experiment: str
    version: str
    facts: dict[str, Any]
    seeds: list[int]
    settings: dict[str, dict[str, Any]]
    jobs: list[JobRecord] = field(default_factory=list)
    tuning: dict[str, Any] | None = None
    table: list[list[str]] | None = None
    verdict: str | None = None
    reason: str | None = None
    unfinished: int = 0

    def job(self, setting: str, seed: int, arguments: Mapping[str, Any], code: str) -> JobRecord | None:
        """Return the job with these arguments, if it is done."""
        for done in self.jobs:
            if (done.setting, done.seed, done.code) == (setting, seed, code) and done.arguments == arguments:
                return done
        return None


def write(path: Path, record: Record) -> None:
    """Write the file, each job in one line."""
    content = plain(asdict(record))
    jobs = ",\n".join(json.dumps(job, ensure_ascii=False, allow_nan=False) for job in content.pop("jobs"))
    head = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    with replacing(path) as temporary:
        temporary.write_text(f'{head},\n "jobs": [\n{jobs}\n ]\n}}\n', encoding="utf-8")


def read(path: Path) -> Record:
    """Read the file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged, or another version of this package wrote it.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    remedy = "Choose another folder, or measure anew: tinygrad-norm experiment run … --again"
    try:
        content = json.loads(text)
        version = content["version"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} is not the result of an experiment, or it is damaged. {remedy}") from None
    if version != own_version():
        raise ValueError(
            f"{path} is of tinygrad_norm {version}, this is {own_version()}: figures may differ. {remedy}"
        )
    try:
        jobs = [JobRecord(**{**job, "figures": _numbers(job["figures"])}) for job in content.pop("jobs")]
        return Record(**{**content, "tuning": _numbers(content["tuning"])}, jobs=jobs)
    except (AttributeError, TypeError, KeyError):
        raise ValueError(f"{path} is damaged. {remedy}") from None


def plain(value: Any) -> Any:
    """Return a value as JSON has it: arrays as lists, numbers that are not finite as texts."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value


def _numbers(value: Any) -> Any:
    """Return the numbers that `plain` made texts of."""
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return float(value) if isinstance(value, str) and value in NOT_FINITE else value
