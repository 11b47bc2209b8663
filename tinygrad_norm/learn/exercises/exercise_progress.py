"""How far a learner is: tries and hints of each exercise, in a JSON file beside the exercises."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...files import replacing
from . import NAMES

FOLDER = "exercises"
FILE = "progress.json"


@dataclass
class Record:
    """One exercise: how often it was checked, the hints that were shown, and whether it is done."""

    tries: int = 0
    hints: int = 0
    done: bool = False


@dataclass
class Progress:
    """The records of the exercises that were begun, and the current one, in one folder."""

    folder: Path
    current: str = ""
    records: dict[str, Record] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Record:
        return self.records.setdefault(name, Record())

    def path(self, name: str) -> Path:
        """Return where the learner's file of an exercise is."""
        return self.folder / f"{name}.py"

    def next(self) -> str:
        """Return the first exercise that is not done, or "" if all are."""
        return next((name for name in NAMES if not (name in self.records and self[name].done)), "")

    def save(self) -> None:
        """Write the file, completely or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        records = {name: asdict(record) for name, record in self.records.items()}
        with replacing(self.folder / FILE) as temporary:
            text = json.dumps({"current": self.current, "exercises": records}, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")


def read_progress() -> Progress:
    """Return the progress in `exercises/` of the current folder; or in that folder, if it is the current one.

    Raises:
        ValueError: if its file cannot be read as progress. The file is left as it is.
    """
    here = Path.cwd()
    folder = Path() if here.name == FOLDER and (here / FILE).is_file() else Path(FOLDER)
    path = folder / FILE
    if not path.exists():
        return Progress(folder)
    try:
        return _progress(folder, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as your progress: {error}. Mend it, or move it away to begin anew: your "
            "exercises stay"
        ) from None


def _progress(folder: Path, data: Any) -> Progress:
    if not isinstance(data, dict) or not isinstance(data.get("exercises"), dict):
        raise ValueError('it has no "exercises"')
    records = {}
    for name, given in data["exercises"].items():
        kinds = {"tries": int, "hints": int, "done": bool}
        if not isinstance(given, dict) or {key: type(value) for key, value in given.items()} != kinds:
            raise ValueError(f"the entry of {name!r} must have tries and hints, which are numbers, and done")
        records[name] = Record(**given)
    current = data.get("current", "")
    return Progress(folder, current if current in NAMES else "", records)
