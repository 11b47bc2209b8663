"""Find what FILE.py:NAME says."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ...suggestions import did_you_mean
from ..loading import line_in


def find(target: str) -> Any:
    """Return what a file calls NAME: an object, or the pair NAME_forward and NAME_backward.

    A name that is one half of a pair, such as `forward` beside `backward`, means the pair.

    Raises:
        ValueError: if the target is not FILE.py:NAME, there is no such file or name, or importing it fails.
    """
    path, colon, name = target.rpartition(":")
    if not colon or not path.endswith(".py") or not name.isidentifier():
        raise ValueError(f"pass FILE.py:NAME, such as norms.py:LayerNorm, got {target!r}")
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"there is no file {path}")
    module = import_file(file, path)
    pair = _halves(module, f"{name}_")
    for part in ("forward", "backward"):
        whole = _halves(module, name.removesuffix(part))
        if name.endswith(part) and all(map(callable, whole)):
            return whole
    if hasattr(module, name):
        return getattr(module, name)
    if all(map(callable, pair)):
        return pair
    own = [key for key in vars(module) if not key.startswith("_")]
    if any(map(callable, pair)):
        there, lacking = ("forward", "backward") if callable(pair[0]) else ("backward", "forward")
        raise ValueError(f"{path} has {name}_{there} but no {name}_{lacking}")
    pairs = [key.removesuffix("_forward") for key in own if key.endswith("_forward")]
    known = [key for key in own if callable(getattr(module, key)) or isinstance(getattr(module, key), tuple)]
    raise ValueError(
        f"{path} has neither {name} nor {name}_forward and {name}_backward{did_you_mean(name, own + pairs)}; "
        f"it has {', '.join(known) or 'nothing that can be called'}"
    )


def _halves(module: ModuleType, name: str) -> tuple[Any, Any]:
    return getattr(module, f"{name}forward", None), getattr(module, f"{name}backward", None)


def import_file(file: Path, path: str) -> ModuleType:
    """Return the module of a file, imported anew; the files beside it can be imported too.

    Raises:
        ValueError: if importing it fails; the message says in which line. `path` is its name in messages.
    """
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except TimeoutError:
        raise
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
        raise ValueError(f"{path} cannot be imported{line_in(file, error)}: {kind}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module
