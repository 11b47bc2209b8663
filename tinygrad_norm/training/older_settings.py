"""Settings that older versions saved: their names of today, and what they left out."""

from collections.abc import Mapping
from typing import Any

from .optimizer_choices import default_decay

RENAMED = {"sandwich": "peri"}
"""Placements by their former names."""


def of_today(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved settings by their names of today, with those that older versions did not save."""
    today = dict(fields)
    if "residual" in today:
        today["placement"] = today.pop("residual")
    if "placement" not in today:
        norm_first = today.pop("norm_first", None)
        today["placement"] = None if norm_first is None else "pre" if norm_first else "post"
    today["placement"] = RENAMED.get(today["placement"], today["placement"])
    defaults = {
        "schedule": "cosine",
        "warmup": 0.0 if today["placement"] is None else 0.05,
        "weight_decay": default_decay(today.get("optimizer", "")),
    }
    return defaults | today
