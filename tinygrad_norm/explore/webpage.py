"""The page as one file: HTML with styles and modules inside, so that it needs no other file and no network.

The modules in `web/` are written as ES modules, and joined in the order in which they need each other: their
import lines and the word export are left out. Every name at the top of a module is its own.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Any

MODULES = (
    *("state", "library", "prose", "formula", "cells", "stepping", "pathtable", "cube"),
    *("numbers", "options", "zooming", "chart", "training", "main"),
)
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


def page(saved: dict[str, Any] | None = None) -> str:
    """Return the page; with `saved`, the answers that it shows, it works without a server."""
    text = _read("page.html")
    for place, content in (
        ("/*STYLE*/", _read("style.css")),
        ("/*SCRIPT*/", script()),
        ("/*SAVED*/", _inside_script(json.dumps(saved, allow_nan=False))),
    ):
        text = text.replace(place, content, 1)
    return text


def script() -> str:
    """Return the modules, joined."""
    parts = (_EXPORT.sub("", _IMPORT.sub("", _read(f"{name}.js"))) for name in MODULES)
    return '"use strict";\n' + "\n".join(parts)


def policy() -> str:
    """Return the Content-Security-Policy: this script, these styles, and nothing from elsewhere."""
    digest = b64encode(sha256(script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _read(name: str) -> str:
    return (files(__package__) / "web" / name).read_text(encoding="utf-8")


def _inside_script(text: str) -> str:
    """Return JSON text in which nothing ends the script element around it."""
    return text.replace("<", "\\u003c")
