"""Plants a mutant in the running process: no file changes, and all that is imported stays.

The mutated text is compiled, and each function that is affected gets its new code, wherever it is used
already: as a method, below a decorator, within a closure. Code that ran while the package was imported cannot
be reached so; for that, `serve` hands the mutated text to the import system of a process that has not
imported the package yet.
"""

import functools
import gc
import importlib.abc
import importlib.util
import sys
import types
from importlib.machinery import SourceFileLoader

from .mutant import ROOT, text_of
from .reach import name_of


def key_of(code):
    """What identifies a function's code: its file, its name and its first line."""
    return f"{code.co_filename}:{code.co_qualname}:{code.co_firstlineno}"


@functools.cache
def live_functions():
    """The functions of the package that exist now, by `key_of` their code."""
    found = {}
    for function in gc.get_objects():
        if type(function) is types.FunctionType and function.__code__.co_filename.startswith(_PACKAGE):
            found.setdefault(key_of(function.__code__), []).append(function)
    return found


_PACKAGE = str(ROOT / "tinygrad_norm")


class Change:
    """What a mutant changes: `chains` of pairs of old and new code, each within the one before."""

    def __init__(self, mutant):
        path = str(ROOT / mutant.path)
        old = compile(text_of(mutant.path), path, "exec", dont_inherit=True)
        new = compile(mutant.text, path, "exec", dont_inherit=True)
        self.chains = list(_changed([], old, new))

    @property
    def names(self):
        """The functions that are changed themselves, and not only around one that is."""
        return [name_of(chain[-1][0]) for chain in self.chains]

    @property
    def at_import(self):
        """Whether code is changed that runs only when the module is imported."""
        return any(not self._owners(chain) for chain in self.chains)

    def plant(self):
        """Give the functions their new code.

        Raises:
            ValueError: if a function would need other variables of the functions around it.
        """
        for chain in self.chains:
            for old, new in chain:
                for function in _owners(old):
                    function.__code__ = new

    def _owners(self, chain):
        return [function for old, _ in chain for function in _owners(old)]


def _owners(code):
    found = live_functions().get(key_of(code), [])
    return [one for one in found if one.__code__.co_code == code.co_code and _same(one.__code__, code)]


def _changed(around, old, new):
    around = [*around, (old, new)]
    if not _same(old, new):
        yield around
    before, after = _inner(old), _inner(new)
    if len(before) == len(after):
        for a, b in zip(before, after, strict=True):
            yield from _changed(around, a, b)


def _inner(code):
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _same(a, b):
    return _shape(a) == _shape(b)


def _shape(code):
    constants = [repr(one) for one in code.co_consts if not isinstance(one, types.CodeType)]
    return code.co_code, constants, len(_inner(code)), code.co_names, code.co_varnames, code.co_freevars


def serve(mutant):
    """Let the import of the mutant's module, which must not have happened yet, read the mutated text."""
    parts = mutant.path.removesuffix(".py").removesuffix("/__init__").split("/")
    name, path, text = ".".join(parts), str(ROOT / mutant.path), mutant.text
    assert name not in sys.modules

    class Loader(SourceFileLoader):
        def get_code(self, fullname):
            return compile(text, path, "exec", dont_inherit=True)

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname, search=None, target=None):
            if fullname != name:
                return None
            return importlib.util.spec_from_file_location(fullname, path, loader=Loader(fullname, path))

    sys.meta_path.insert(0, Finder())


def sources_with(mutant):
    """Every CudaSource that includes the mutant's file."""
    from tinygrad_norm.backends.cuda.launch import CudaSource

    path = ROOT / mutant.path
    sources = [one for one in gc.get_objects() if type(one) is CudaSource]
    return [source for source in sources if path in [part.resolve() for part in source.parts]]


def plant_in_kernels(mutant):
    """Give every CudaSource that includes the mutant's file the mutated text."""
    path = ROOT / mutant.path
    for source in sources_with(mutant):
        parts = [(p.name, mutant.text if p.resolve() == path else p.read_text("utf-8")) for p in source.parts]
        source.code = "\n".join(f'#line 1 "{name}"\n{text}' for name, text in parts)
