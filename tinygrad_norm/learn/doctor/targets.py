"""Find what FILE.py:NAME says."""

import inspect
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...suggestions import did_you_mean
from ..loading import LOADED, importable_name, line_in

_IMPORTED: dict[str, ModuleType] = {}
"""What `import_file` put into `sys.modules`."""


def find(target: str) -> tuple[Any, Any]:
    """Return what a file calls NAME, and the inputs NAME_inputs, None if there are none.

    NAME is an object, or the pair NAME_forward and NAME_backward. A name that is one half of a pair, such as
    `forward` beside `backward`, means the pair; its inputs are `inputs`. Without NAME_forward, a function
    NAME is a pair with NAME_backward.

    Raises:
        ValueError: if the target is not FILE.py:NAME, there is no such file or name, importing it fails, or
            the inputs are no tuple.
    """
    path, colon, name = target.rpartition(":")
    if not colon or not path.endswith(".py") or not name.isidentifier():
        raise ValueError(f"pass FILE.py:NAME, such as norms.py:LayerNorm, got {target!r}")
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"there is no file {path}")
    module = import_file(file, path)
    return _object(module, path, name), _inputs(module, path, name)


def _object(module: ModuleType, path: str, name: str) -> Any:
    pair = _halves(module, f"{name}_")
    for part in ("forward", "backward"):
        whole = _halves(module, name.removesuffix(part))
        if name.endswith(part) and all(map(callable, whole)):
            return whole
    if hasattr(module, name):
        own = getattr(module, name)
        alone = inspect.isfunction(own) and not callable(pair[0]) and callable(pair[1])
        return (own, pair[1]) if alone else own
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


def _inputs(module: ModuleType, path: str, name: str) -> Any:
    whole = name.removesuffix("forward").removesuffix("backward").rstrip("_")
    key = f"{whole}_inputs" if whole else "inputs"
    inputs = getattr(module, key, None)
    if inputs is not None and not isinstance(inputs, tuple | list | numpy.ndarray | Tensor):
        raise ValueError(f"{path}: {key} must be a tuple of arrays and numbers, got {inputs!r}")
    return inputs


def _halves(module: ModuleType, name: str) -> tuple[Any, Any]:
    return getattr(module, f"{name}forward", None), getattr(module, f"{name}backward", None)


def import_file(file: Path, path: str) -> ModuleType:
    """Return the module of a file, imported anew; the files beside it can be imported too.

    It is compiled from its text: bytecode that Python keeps is taken for new if a file was changed in the
    same second without changing its size. A file whose ops were loaded has been imported, and only once.

    Raises:
        ValueError: if importing it fails; the message says in which line. `path` is its name in messages.
    """
    if str(file) in LOADED:
        return sys.modules[importable_name(file)]
    sys.path.insert(0, str(file.parent))
    name = ""
    try:
        name = _name_of(file)
        spec = spec_from_file_location(name, file, loader=SourceFileLoader(name, str(file)))
        assert spec is not None
        module = _IMPORTED[name] = sys.modules[name] = module_from_spec(spec)
        exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        if name in _IMPORTED:
            sys.modules.pop(name, None)
        kind = type(error).__name__
        raise ValueError(f"{path} cannot be imported{line_in(file, error)}: {kind}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


def _name_of(file: Path) -> str:
    """Return the name of a file's module: another one if Python or an imported module has that name."""
    if (file.parent / "__init__.py").is_file():
        return importable_name(file)
    name = file.stem
    known = sys.modules.get(name)
    taken = name in sys.stdlib_module_names or (known is not None and known is not _IMPORTED.get(name))
    return f"{name}_under_examination" if taken else name
