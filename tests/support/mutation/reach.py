"""Which tests concern which code: each test is run once, and the functions of the package it calls are noted.

For kernels, what is noted is each launch: the .cu file and the kernel's name. The notes are kept in a file.
"""

import hashlib
import json
import sys
import threading
from dataclasses import dataclass

from .mutant import ROOT

WATCHED = tuple(
    str(ROOT / "tinygrad_norm" / folder) for folder in ("autograd", "gradient_check", "normalization")
)


def name_of(code):
    """A function, by the file it is in and its name."""
    return f"{code.co_filename.removeprefix(_BELOW)}:{code.co_qualname}"


def kernel_name(path, kernel):
    """A kernel, by the .cu file it is in and its name; with "" for the kernel, what all of the file share."""
    return f"{str(path).removeprefix(_BELOW)}::{kernel}"


_BELOW = f"{ROOT}/"


class Tracer:
    """Within a block, notes the functions that are called, and the kernels that are launched."""

    def __init__(self):
        self.known, self.reached, self.launch = {}, set(), None

    def __call__(self, frame, event, arg):
        code = frame.f_code
        entry = self.known.get(id(code))
        if entry is None:
            watched = code.co_filename.startswith(WATCHED)
            entry = self.known[id(code)] = code, name_of(code) if watched else None  # keeps the id in use
            if code.co_qualname == "CudaSource.launch":
                self.launch = code
        if entry[1] is not None:
            self.reached.add(entry[1])
        if code is self.launch:
            self.reached.add(kernel_name(frame.f_locals["self"].path, frame.f_locals["kernel"]))

    def __enter__(self):
        threading.settrace(self)
        sys.settrace(self)
        return self

    def __exit__(self, *_):
        sys.settrace(None)
        threading.settrace(None)


@dataclass(frozen=True)
class Run:
    """A test that passed after so many seconds."""

    test: str
    seconds: float

    @property
    def file(self):
        return self.test.partition("::")[0]


class Reach:
    """The runs of tests, and which of them reach a function or a kernel."""

    def __init__(self, path):
        self.path, self.digests, self.runs, self.by_name = path, {}, [], {}
        if path.exists():
            content = json.loads(path.read_text())
            self.digests, self.by_name = content["digests"], content["by_name"]
            self.runs = [Run(*one) for one in content["runs"]]

    def save(self):
        runs = [[run.test, run.seconds] for run in self.runs]
        content = {"digests": self.digests, "runs": runs, "by_name": self.by_name}
        self.path.write_text(json.dumps(content))

    def forget_changed(self, files):
        """Return which of the tests' files are new or changed; what was noted of those is dropped."""
        changed = [file for file in files if self.digests.get(file) != _digest(file)]
        kept = [i for i, run in enumerate(self.runs) if run.file not in changed]
        place = {old: new for new, old in enumerate(kept)}
        self.runs = [self.runs[i] for i in kept]
        self.by_name = {name: [place[i] for i in runs if i in place] for name, runs in self.by_name.items()}
        return changed

    def add(self, file, runs):
        """Add the runs of a file: each test, its seconds, and what it reaches."""
        for test, seconds, reached in runs:
            for name in reached:
                self.by_name.setdefault(name, []).append(len(self.runs))
            self.runs.append(Run(test, seconds))
        self.digests[file] = _digest(file)

    def runs_of(self, names):
        """The runs that reach one of these."""
        return [self.runs[i] for i in sorted({i for name in names for i in self.by_name.get(name, ())})]

    def names_below(self, prefix):
        return [name for name in self.by_name if name.startswith(prefix)]


def _digest(file):
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()
