"""Runs `tinygrad-norm` many times, each time in a forked process of its own: a call costs a few milliseconds.

`Commands` is the test's side. The other side is this file as a program: it imports the package once, then
reads a call per line, runs it in a fork, and answers with how it ended.
"""

import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEMORY = 4 << 30
"""Bytes that a call may have: an array that no machine has room for raises MemoryError, and ends nothing."""
LARGEST_FILE = 64 << 20
CRASHED = 70


@dataclass
class Call:
    """How a call ended.

    Attributes:
        arguments: the words of the command line.
        status: the exit status; negative: the signal that ended it; None: its time was over.
        out, err: what it printed.
        left: temporary files that it left in its folder.
        outside: files that it made outside of its folder.
    """

    arguments: list[str]
    status: int | None
    out: str
    err: str
    left: list[str]
    outside: list[str]

    def faults(self):
        """Return what must not be, in words; nothing if all is well."""
        if self.status is None:
            return self._faults_of_files()
        found = [] if self.status in (0, 1, 2) else [f"status {self.status}"]
        printed = self.out + self.err
        if "Traceback (most recent call last)" in printed:
            found.append("a traceback")
        found += [f"a warning: {line}" for line in re.findall(r".*\b\w+Warning: .*", self.err)]
        if self.status in (1, 2) and not re.search(r"[a-z]{3}", printed):
            found.append(f"status {self.status} without a message")
        return found + self._faults_of_files()

    def _faults_of_files(self):
        found = [f"written outside of its folder: {path}" for path in self.outside]
        return found + [f"a temporary file stays: {path}" for path in self.left if self.status is not None]


class Commands:
    """The server, with a folder of files for its calls, copied anew for each: `run(arguments)`."""

    def __init__(self, folder, files):
        self.folder, self.files = Path(folder), Path(files)
        from tinygrad_norm.bench.timing import settings

        home, temporary = self.folder / "home", self.folder / "temporary"
        home.mkdir()
        temporary.mkdir()  # not looked at: PyTorch keeps what it compiles there
        here = {"HOME": str(home), "TMPDIR": str(temporary), "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
        here |= {"TINYGRAD_NORM_LOOPS": "0"}  # they would be compiled anew in each call
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.folder), str(self.files)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **settings(1), **here},
            text=True,
        )

    def run(self, arguments, seconds=20):
        """Run a command, for at most so many seconds of a processor, twenty times as many of a clock."""
        self.process.stdin.write(json.dumps([arguments, seconds]) + "\n")
        self.process.stdin.flush()
        return Call(list(arguments), *json.loads(self.process.stdout.readline()))

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def serve(folder, files):
    """Answer the calls on stdin until it is closed."""
    from tinygrad_norm.cli import app

    for name in ("matplotlib.figure", "rich.markdown", "sklearn.datasets", "tinygrad_norm.learn.explanation"):
        with suppress(ImportError):
            importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        arguments, seconds = json.loads(line)
        answers.write(json.dumps(_answer(app, folder, files, arguments, seconds)) + "\n")
        answers.flush()


def _answer(app, folder, files, arguments, seconds):
    work = folder / "work"
    shutil.copytree(files, work, symlinks=True)
    os.mkfifo(work / "fifo")
    beside = _beside(folder)
    outputs = [folder / "out.txt", folder / "err.txt"]
    child = os.fork()
    if child == 0:
        _run(app, work, outputs, arguments, seconds)
    status = _wait(child, 20 * seconds)
    out, err = (path.read_text(encoding="utf-8", errors="replace") for path in outputs)
    left = [str(path.relative_to(work)) for path in work.rglob(".*")]
    outside = sorted(_beside(folder) - beside)
    shutil.rmtree(work)
    return status, out, err, left, outside


def _run(app, work, outputs, arguments, seconds):
    """Run the command as a new process would, and end."""
    status = CRASHED
    try:
        os.setpgid(0, 0)
        os.chdir(work)
        for number, path in enumerate(outputs, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        sys.argv = ["tinygrad-norm", *arguments]
        sys.orig_argv = [sys.executable, "-m", "tinygrad_norm", *arguments]
        warnings.resetwarnings()
        for quiet in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", quiet)
        app(arguments, prog_name="tinygrad-norm")
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1 if error.code else 0
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = CRASHED
        os._exit(status)


def _wait(child, seconds):
    """Return the status of the process, None if it has to be ended because its time is over."""
    end, pause = time.monotonic() + seconds, 0.0005
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid or time.monotonic() > end:
            break
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started ends with it
    if not pid:
        os.waitpid(child, 0)
        return None
    ended = os.waitstatus_to_exitcode(status)
    return None if ended == -signal.SIGXCPU else ended


def _beside(folder):
    return {str(path) for path in folder.iterdir()} | {str(path) for path in (folder / "home").iterdir()}


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
