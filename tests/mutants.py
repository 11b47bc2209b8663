"""Plants small mistakes in the package, one at a time, and reports those that no test notices.

    python3 tests/mutants.py                                           # a sample of each of the PLACES
    python3 tests/mutants.py tinygrad_norm/autograd --sample 100       # 100 of one folder or file
    python3 tests/mutants.py --survivors                               # run those again that survived

No file is changed: a mutant is planted in a fork of a process that has collected the tests
(tests/support/mutation/judging.py). Results are added to a file as they come: the same command, started
again, continues. On the first call every test is run to note what it reaches, which takes a while.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutation.cuda_operators import cuda_mutants
from mutation.equivalent import reason_for
from mutation.judging import AT_IMPORT, DIED, ERROR, INVALID, SURVIVED, Judge, JudgeAtImport, write_to
from mutation.mutant import ROOT
from mutation.python_operators import python_mutants
from mutation.reach import Reach

EQUIVALENT = "equivalent"
TESTS = ("tests/autograd", "tests/backends", "tests/gradient_check", "tests/normalization")
PLACES = {
    "tinygrad_norm/autograd": "*.py",
    "tinygrad_norm/gradient_check": "*.py",
    "tinygrad_norm/normalization": "*.py",
    "tinygrad_norm": "*.cu*",
}


@dataclass
class Settings:
    """Where results and notes are kept, which tests run, and how.

    `seconds` is how long the tests of a mutant may take, `loops` the mode in which loops run where a test
    does not choose one (tinygrad_norm/backends/cpu/loop_mode.py): not compiled, which would be too slow.
    """

    out: Path
    tests: tuple[str, ...] = TESTS
    seconds: float = 20.0
    kernel_seconds: float = 120.0
    slow: bool = False
    loops: str = "off"


def main(arguments=None):
    options = parsed(arguments)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        out, tuple(options.tests), options.seconds, options.kernel_seconds, options.slow, options.loops
    )
    os.chdir(ROOT)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(out / "hypothesis")
    results = Results(out / "results.jsonl")
    terminal = os.fdopen(os.dup(1), "w", buffering=1)
    places = dict.fromkeys(options.paths, "*") or PLACES
    samples = [sample(*place, options.sample, options.seed) for place in places.items()]
    in_turn = [mutant for one_of_each in zip_longest(*samples) for mutant in one_of_each if mutant]
    chosen = list(dict.fromkeys(in_turn))
    wanted = (SURVIVED,) if options.survivors else (None, AT_IMPORT, ERROR)
    waiting = [mutant for mutant in chosen if results.of(mutant).get("status") in wanted]
    results.forget(waiting)
    for mutant in chosen:
        if reason := reason_for(mutant):
            results.add(mutant, {"status": EQUIVALENT, "reason": reason})
    waiting = [mutant for mutant in waiting if mutant not in results]
    if waiting:
        run(settings, waiting, results, terminal)
    report(chosen, results, terminal)


def parsed(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", type=_path, help="folders or files, by default PLACES")
    parser.add_argument("--sample", type=int, default=100, help="how many mutants of each path (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of tests for each mutant (20)")
    parser.add_argument("--kernel-seconds", type=float, default=120.0, help="the same for CUDA (120)")
    parser.add_argument("--tests", nargs="+", default=TESTS, help=f"those that judge ({', '.join(TESTS)})")
    parser.add_argument("--loops", choices=("off", "python"), default="off", help="how loops run (off)")
    parser.add_argument("--slow", action="store_true", help="with the slow tests")
    parser.add_argument("--survivors", action="store_true", help="judge those again that survived before")
    default = Path(tempfile.gettempdir()) / "tinygrad_norm_mutants"
    parser.add_argument("--out", type=Path, default=default, help=f"folder of the results ({default})")
    return parser.parse_args(arguments)


def _path(text):
    path = Path(text).resolve()
    if not path.exists() or not path.is_relative_to(ROOT / "tinygrad_norm"):
        raise argparse.ArgumentTypeError(f"{text} is not a folder or file of {ROOT / 'tinygrad_norm'}")
    return str(path.relative_to(ROOT))


def sample(place, pattern, size, seed):
    """Draw mutants of a folder or file: at random, the same for the same seed as long as their lines stay."""
    files = sorted((ROOT / place).rglob(pattern)) if (ROOT / place).is_dir() else [ROOT / place]
    names = [str(file.relative_to(ROOT)) for file in files]
    mutants = [m for name in names if name.endswith(".py") for m in python_mutants(name)]
    mutants += [m for name in names if name.endswith((".cu", ".cuh")) for m in cuda_mutants(name)]
    return sorted(mutants, key=lambda mutant: sha256(f"{seed} {mutant.key}".encode()).digest())[:size]


class Results:
    """What became of each mutant so far: lines of JSON, added to as long as the script runs."""

    def __init__(self, path):
        self.path, self.found = path, {}
        self.read()

    def read(self):
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            result = json.loads(line)
            self.found[result["key"]] = result

    def __contains__(self, mutant):
        return mutant.key in self.found

    def of(self, mutant):
        return self.found.get(mutant.key, {})

    def forget(self, mutants):
        for mutant in mutants:
            self.found.pop(mutant.key, None)

    def add(self, mutant, result):
        result = {"key": mutant.key, "mutant": str(mutant), **result}
        self.found[result["key"]] = result
        with open(self.path, "a") as file:
            file.write(json.dumps(result) + "\n")


def run(settings, mutants, results, terminal):
    """Judge the mutants: first those that can be planted in a process that has imported the package."""
    import_what_tests_need()
    progress = Progress(len(mutants), results, terminal)
    reach = Reach(settings.out / f"reach-{settings.loops}.json")
    process = os.fork()
    if not process:
        write_to(settings.out / "pytest.log")
        new = [mutant for mutant in mutants if mutant not in results]
        Judge(settings, reach, new, progress.say, progress.finished).collect_and_judge()
        os._exit(any(mutant not in results for mutant in mutants))
    if os.waitpid(process, 0)[1]:
        sys.exit(f"no mutants could be judged: see {settings.out / 'pytest.log'}")
    results.read()
    reach = Reach(reach.path)
    for mutant in mutants:
        if results.of(mutant).get("status") == AT_IMPORT:
            progress.finished(mutant, JudgeAtImport(settings, reach, mutant).judge())


class Progress:
    """Adds results, and tells how far the work is."""

    def __init__(self, count, results, terminal):
        self.count, self.results, self.terminal = count, results, terminal
        self.done, self.start = 0, time.monotonic()

    def say(self, text):
        print(text, file=self.terminal)

    def finished(self, mutant, result):
        self.results.add(mutant, result)
        self.done += 1
        if result["status"] == SURVIVED:
            self.say(_survivor(mutant, result))
        if self.done % 10 == 0:
            left = (time.monotonic() - self.start) / self.done * max(self.count - self.done, 0)
            self.say(f"{self.done} of {self.count} mutants, {left / 60:.0f} minutes to go")


def import_what_tests_need():
    """Import what is not the package's, once for all forks."""
    for name in ("numpy", "ml_dtypes", "torch", "numba"):
        try:
            __import__(name)
        except ImportError:
            continue


def _survivor(mutant, result):
    return f"survived {result['ran']} of {result['of']} tests: {mutant}"


def report(mutants, results, terminal):
    """Print what became of the mutants, by folder, and each survivor."""
    counts = defaultdict(lambda: defaultdict(int))
    for mutant in mutants:
        result = results.of(mutant)
        place = str(Path(mutant.path).parent) + (" (CUDA)" if not mutant.path.endswith(".py") else "")
        for row in (place, "all"):
            counts[row][result.get("status")] += 1
            counts[row]["late"] += bool(result.get("late"))
    head = f"{'folder':48} planted   died (not ended)   survived   share   no mutant   equivalent   error"
    print("", head, sep="\n", file=terminal)
    for row in sorted(counts, key=lambda row: (row == "all", row)):
        c = counts[row]
        planted = c[DIED] + c[SURVIVED]
        share = f"{c[DIED] / planted:7.1%}" if planted else "      –"
        print(
            f"{row:48} {planted:7} {c[DIED]:6} {c['late']:11} {c[SURVIVED]:10} {share} {c[INVALID]:11} "
            f"{c[EQUIVALENT]:12} {c[ERROR]:7}",
            file=terminal,
        )
    survivors = [mutant for mutant in mutants if results.of(mutant).get("status") == SURVIVED]
    for mutant in survivors:
        print(_survivor(mutant, results.of(mutant)), file=terminal)
    for mutant in mutants:
        if results.of(mutant).get("status") == ERROR:
            print(f"not judged, {results.of(mutant)['by']} (see pytest.log): {mutant}", file=terminal)


if __name__ == "__main__":
    main()
