"""Runs tests on mutants: each mutant is planted in a fork of a process in which the tests are collected.

So a mutant costs a fork and the tests that concern it; the first that fails ends it. What the import of the
package decides, as constants and decorators do, is judged in a fork of a process that has imported NumPy,
PyTorch and pytest, but not the package.
"""

import contextlib
import json
import os
import resource
import select
import signal
import time
import traceback
import zlib
from collections import defaultdict
from pathlib import Path

import pytest

from .cuda_operators import enclosing_kernel
from .mutant import ROOT
from .patching import Change, live_functions, plant_in_kernels, serve, sources_with
from .reach import Tracer, kernel_name

LONGEST = 4.0  # seconds of work; a test that takes longer judges no mutant
SAVED_EVERY = 30.0  # seconds
FEW = 8  # of the registered cases of ops other than normalizations, one in so many judges mutants
MEMORY = 8 << 30  # bytes that a mutant may take
DIED, SURVIVED, INVALID, AT_IMPORT = "died", "survived", "invalid", "at import"
ERROR = "error"  # of the harness: it says nothing about the tests


def pytest_arguments(settings, tests):
    """What pytest is called with, whatever pyproject.toml adds: in this process, with nothing kept."""
    marked = [] if settings.slow else ["-m", "not slow"]
    off = [word for plugin in ("cacheprovider", "xdist") for word in ("-p", f"no:{plugin}")]
    return [
        "-o",
        "addopts=--import-mode=importlib",
        *off,
        *marked,
        f"--basetemp={settings.out}/temporary",
        *tests,
    ]


class _Outcome:
    """A pytest plugin that runs single tests."""

    def pytest_runtest_logreport(self, report):
        self.failed |= report.failed
        self.passed |= report.when == "call" and report.passed

    def run(self, item, nextitem, limit):
        """Run a test; it fails after `limit` seconds. `failed` and `passed` say how it went, `late` why."""
        from tinygrad_norm.backends.cpu.loop_mode import loop_mode

        loop_mode.set(self.settings.loops)
        self.failed = self.passed = self.late = False
        signal.signal(signal.SIGPROF, self._too_long)
        signal.setitimer(signal.ITIMER_PROF, limit)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        except TimeoutError:  # between the parts of a test, where pytest does not catch it
            if not self.late:
                raise
            self.failed = True
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _too_long(self, *_):
        self.late = True
        raise TimeoutError("this test ran longer than without the mutant")


class Judge(_Outcome):
    """Judges mutants in forks of this process, in which pytest has collected the tests."""

    def __init__(self, settings, reach, mutants, said, finished):
        self.settings, self.reach, self.mutants = settings, reach, mutants
        self.said, self.finished, self.importing = said, finished, Tracer()

    def collect_and_judge(self):
        with self.importing:
            return pytest.main(pytest_arguments(self.settings, self.settings.tests), plugins=[self])

    def pytest_runtestloop(self, session):
        self.importing.__exit__()
        self.items = {item.nodeid: item for item in session.items}
        live_functions()
        self._record()
        for mutant in self.mutants:
            self.finished(mutant, self._judge(mutant))
        return True

    def _record(self):
        by_file, saved = defaultdict(list), time.monotonic()
        for item in filter(_judges, self.items.values()):
            by_file[item.nodeid.partition("::")[0]].append(item)
        changed = self.reach.forget_changed(by_file)
        for number, file in enumerate(changed):
            self.said(f"noting what each test reaches: file {number + 1} of {len(changed)}, {file}")
            try:
                self.reach.add(file, forked(lambda send, f=file: self._trace(by_file[f], send), 3600))
            except UnsaidError as error:
                self.said(f"{file} judges no mutant: {error}")
            if time.monotonic() - saved > SAVED_EVERY or file == changed[-1]:
                self.reach.save()
                saved = time.monotonic()

    def _trace(self, items, send):
        tracer, found = Tracer(), []
        for item, nextitem in zip(items, (*items[1:], None), strict=True):
            tracer.reached.clear()
            start = _cpu_seconds()
            with tracer:
                self.run(item, nextitem, LONGEST)
            if self.passed and not self.failed and tracer.reached:
                found.append((item.nodeid, round(_cpu_seconds() - start, 4), sorted(tracer.reached)))
        send(found)

    def _judge(self, mutant):
        try:
            if not mutant.path.endswith(".py"):
                return self._judge_kernel(mutant)
            change = Change(mutant)
        except SyntaxError:
            return {"status": INVALID}
        if not change.chains:
            return {"status": INVALID}  # the same code
        if change.at_import:
            return {"status": AT_IMPORT}
        result = self._fork(mutant, self.reach.runs_of(change.names), change.plant, self.settings.seconds)
        ran_before = self.importing.reached & set(change.names) or result.get("unplanted")
        if result["status"] == SURVIVED and ran_before:
            return {"status": AT_IMPORT}
        return result

    def _judge_kernel(self, mutant):
        kernel = enclosing_kernel(mutant.path, mutant.start)
        path = ROOT / mutant.path
        if kernel and path.suffix == ".cu":
            names = [kernel_name(path, kernel)]
        else:
            sources = sources_with(mutant)
            names = [name for one in sources for name in self.reach.names_below(kernel_name(one.path, ""))]
        runs = [run for run in self.reach.runs_of(names) if "planted" not in run.test]
        return self._fork(mutant, runs, lambda: plant_in_kernels(mutant), self.settings.kernel_seconds)

    def _fork(self, mutant, runs, plant, seconds):
        runs = in_order(mutant, runs)
        known = [run for run in runs if run.test in self.items]
        longest = 5 * seconds + 120  # by the clock, on a machine that has more to do

        def work(send):
            kernels = not mutant.path.endswith(".py")
            limit_memory()
            try:
                plant()
            except ValueError:
                send({"status": SURVIVED, "unplanted": True})
            if kernels:
                use_own_cache(self.settings.out, send)
            send(self.first_failure([(run, self.items[run.test]) for run in known], seconds))

        return verdict(work, longest)

    def first_failure(self, runs, seconds):
        """Run the tests until one fails, or they took `seconds`; return what comes of the mutant."""
        start = _cpu_seconds()
        for number, (run, item) in enumerate(runs):
            if _cpu_seconds() - start > seconds:
                return {"status": SURVIVED, "ran": number, "of": len(runs)}
            self.run(item, runs[number + 1][1] if number + 1 < len(runs) else None, 5 + 10 * run.seconds)
            if self.failed:
                return {"status": DIED, "by": run.test, "ran": number + 1, "late": self.late}
        return {"status": SURVIVED, "ran": len(runs), "of": len(runs)}


def _judges(item):
    """Whether a test is one of those that judge mutants, which keeps their number in bounds."""
    op = item.callspec.params.get("op") if hasattr(item, "callspec") else None
    normalizes = getattr(op, "kind", "normalization") == "normalization"
    return normalizes or zlib.crc32(item.nodeid.encode()) % FEW == 0


class JudgeAtImport(Judge):
    """Judges one mutant that the import of its module reads, in a process of its own."""

    def __init__(self, settings, reach, mutant):
        super().__init__(settings, reach, [mutant], None, None)
        self.result = {"status": DIED, "by": "the import of the package", "ran": 0}

    def judge(self):
        (mutant,) = self.mutants
        runs = in_order(mutant, self.reach.runs_of(self.reach.names_below(f"{mutant.path}:")))
        total, self.runs = 0.0, []
        for run in runs:
            total += run.seconds
            if total > self.settings.seconds:
                break
            self.runs.append(run)
        if not self.runs:
            return {"status": SURVIVED, "ran": 0, "of": len(runs)}

        def work(send):
            write_to(self.settings.out / "pytest.log", os.O_APPEND)
            limit_memory()
            serve(mutant)
            files = list(dict.fromkeys(run.file for run in self.runs))
            ended = pytest.main(pytest_arguments(self.settings, files), plugins=[self])
            if ended == pytest.ExitCode.INTERNAL_ERROR:
                self.result = {"status": ERROR, "by": "an error inside pytest"}
            send(self.result)

        return verdict(work, 5 * self.settings.seconds + 120)

    def pytest_runtestloop(self, session):
        items = {item.nodeid: item for item in session.items}
        known = [(run, items[run.test]) for run in self.runs if run.test in items]
        self.result = self.first_failure(known, self.settings.seconds)
        return True


def in_order(mutant, runs):
    """The runs, those first that are about the mutant's file or folder, by name, and the fastest first."""
    stem, folder = Path(mutant.path).stem.replace("_", ""), mutant.path.split("/")[1]

    def rank(run):
        about = stem in run.test.replace("_", "") or run.test.startswith(f"tests/{folder}/")
        return not about, run.seconds

    return sorted(runs, key=rank)


def _cpu_seconds():
    """The time that this process and the compilers it called have worked."""
    return time.process_time() + sum(os.times()[2:4])


def write_to(path, how=os.O_TRUNC):
    """Let what this process prints go to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)


def limit_memory():
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def use_own_cache(out, send):
    """Compile kernels into a cache in `out`; one that does not compile ends the mutant, which was none."""
    from tinygrad_norm.backends.emulator import build

    os.environ["TINYGRAD_NORM_CACHE"] = str(out / "cache")

    def stillborn(message):
        send({"status": INVALID})

    build.CompileError = stillborn


class UnsaidError(Exception):
    """A fork has ended without sending anything; its exit code is None if it was late, -N after signal N."""

    def __init__(self, code):
        self.code = code
        how = "did not end" if code is None else f"ended with exit code {code}"
        super().__init__(f"its process {how}")


def verdict(work, seconds):
    """What `work` sends about a mutant. One that is late, or crashes the process, has died.

    An exception in `work` itself is a fault of the harness: tests that fail raise none there. SIGKILL comes
    from outside.
    """
    try:
        return forked(work, seconds)
    except UnsaidError as error:
        if error.code is None:
            return {"status": DIED, "late": True, "by": "a test that did not end"}
        if error.code >= 0 or error.code == -signal.SIGKILL:
            return {"status": ERROR, "by": str(error)}
        return {"status": DIED, "by": f"a crash: {signal.Signals(-error.code).name}"}


def forked(work, seconds):
    """What `work` sends from a fork of this process: its first call of `send` ends it. Killed when late.

    Raises UnsaidError if it sends nothing.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.setsid()

        def send(result):
            with open(writing, "w", closefd=False) as pipe:
                json.dump(result, pipe)
            os._exit(0)

        try:
            work(send)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    text, end, late = b"", time.monotonic() + seconds, True
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        if not (part := os.read(reading, 1 << 20)):
            late = False
            break
        text += part
    os.close(reading)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        return json.loads(text)
    except ValueError:
        raise UnsaidError(None if late else code) from None
