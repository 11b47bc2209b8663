"""Mutants that change nothing a test could see, each with the reason: they are not planted."""

import ast
from fnmatch import fnmatchcase
from functools import cache

from .mutant import text_of

EQUIVALENT = [
    # (file, text of the line, what is replaced by what, reason); the first three may be patterns with *
    (
        "tinygrad_norm/*.cu*",
        "if (n < N && lane_of_team<TEAM>() == 0) *",
        "0 → 1",
        "every lane of a team has the value, and any of them may write it",
    ),
    (
        "tinygrad_norm/backends/cuda/teams.cuh",
        "constexpr int AT_ONCE = VEC > 4 ? 2 : 4;  // more would not fit in the registers",
        "*",
        "how far a loop is unrolled: no result depends on it",
    ),
    (
        "tinygrad_norm/backends/cuda/teams.cuh",
        "for (long long start = n - team_of_block<TEAM>(); start < N; start += step, n += step) {",
        "< → <=",
        "one round more, in which no team of the block has a row: it reads and writes nothing",
    ),
    (
        "tinygrad_norm/normalization/core/gaussian.cuh",
        "return {at < reach ? -at : -reach, S - 1 - at < reach ? S - 1 - at : reach};",
        "< → <=",
        "where the two are equal, so are the results",
    ),
    (
        "tinygrad_norm/normalization/core/lengths.cuh",
        "if (square < VANISHING<A> && eps < A(1)) scale = FAR<A>;",
        "< → <=",
        "a power of two, which one value more or less may be scaled by",
    ),
    (
        "tinygrad_norm/gradient_check/mistakes/*.py",
        "several = (abs(n) > 1e-6 * abs(n).max(1, keepdims=True)).sum(1) > 2",
        "1e-6 → 2e-06",
        "what counts as 0 beside the largest entry: nothing lies between the two limits",
    ),
    (
        "tinygrad_norm/gradient_check/second.py",
        "rng, backend = numpy.random.default_rng(0), current_backend()",
        "0 → 1",
        "the seed of a random dy",
    ),
    (
        "tinygrad_norm/gradient_check/progress.py",
        'due = start + QUIET if sys.stderr.isatty() else float("inf")',
        "start + QUIET → QUIET",
        "when the first line of progress is shown on a terminal",
    ),
]


def reason_for(mutant):
    """Why a mutant is equivalent to the file as it is, or None."""
    if mutant.path.endswith(".py") and mutant.change == "-1 → -2" and _is_size_of_reshape(mutant):
        return "NumPy takes any negative size for the one to be found"
    for path, line, change, reason in EQUIVALENT:
        if fnmatchcase(mutant.path, path) and _fits(mutant.line_text, line) and _fits(mutant.change, change):
            return reason
    return None


def _fits(text, pattern):
    return text == pattern or fnmatchcase(text, pattern.replace("[", "[[]"))


def _is_size_of_reshape(mutant):
    return (mutant.line, mutant.column) in _sizes_of_reshapes(mutant.path)


@cache
def _sizes_of_reshapes(path):
    """Line and column of what a file gives to `….reshape(…)`, not what stands deeper inside."""
    calls = [node for node in ast.walk(ast.parse(text_of(path))) if isinstance(node, ast.Call)]
    reshapes = [call for call in calls if getattr(call.func, "attr", None) == "reshape"]
    return {(size.lineno, size.col_offset) for call in reshapes for size in call.args}
