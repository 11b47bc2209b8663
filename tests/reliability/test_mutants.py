"""tests/mutants.py at work: known mistakes are planted and found, and a change that is none survives."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from mutation.mutant import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="mutants are planted in forked processes"),
]

CODE = """
import json, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1] + "/tests", sys.argv[1]]
from mutants import Results, Settings, cuda_mutants, python_mutants, run
wanted, out = json.loads(sys.argv[2]), Path(sys.argv[3])
found = []
for path, line, change in wanted:
    find = python_mutants if path.endswith(".py") else cuda_mutants
    found.append([one for one in find(path) if (one.line_text, one.change) == (line, change)][-1])
results = Results(out / "results.jsonl")
run(Settings(out, tuple(sys.argv[4:])), found, results, sys.stderr)
print(json.dumps([results.of(mutant) for mutant in found]))
"""
HOOKS = "tinygrad_norm/autograd/hooks.py"
POWER = "tinygrad_norm/normalization/batch/powernorm.py"


def judged(mutants, folder, *tests):
    """What becomes of mutants by these tests; each is the last of its file with this line and change."""
    arguments = [sys.executable, "-c", CODE, str(ROOT), json.dumps(mutants), str(folder), *tests]
    ran = subprocess.run(arguments, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def test_mistakes_in_python_are_found_and_nothing_else(tmp_path):
    """That of a decorator is read by an import; the last changes nothing."""
    mutants = [
        (HOOKS, "hooks.append(RetainedGradient(x))", "hooks.append(RetainedGradient(x)) → pass"),
        (HOOKS, "if not callable(hook):", "not callable(hook) → callable(hook)"),
        (HOOKS, "if self.hook in self.hooks:", "in → not in"),
        (HOOKS, "if not hooks or not isinstance(hooks[-1], RetainedGradient):", "or → and"),
        (POWER, "return weight * (x * rstd) + bias", "+ → -"),
        (POWER, "return weight * (x * rstd) + bias", "weight * (x * rstd) + bias → weight * (x * rstd)"),
        (POWER, "x_hat, g = x * rstd, weight * dy", "weight * dy → dy"),
        (POWER, '@in_blocks("x", weight=1.0, bias=0.0)', "0.0 → 1.0"),
        (
            "tinygrad_norm/autograd/accumulation.py",
            "alone = alone and sys.getrefcount(dx) <= _OWN_REFERENCES",
            "<= → <",  # a copy more, and the same numbers
        ),
    ]
    tests = ["tests/autograd/test_hooks.py", "tests/normalization/test_powernorm.py"]
    results = judged(mutants, tmp_path, *tests)
    *found, last = [result["status"] for result in results]
    assert found == ["died"] * (len(mutants) - 1), results
    assert last == "survived"
    assert results[-1]["ran"] > 0


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
def test_mistakes_in_kernels_are_found(tmp_path):
    mutants = [
        (POWER.replace(".py", ".cu"), "sum_dy += of_y;", "sum_dy += of_y; → ;"),
        (POWER.replace(".py", ".cu"), "const long long at = (first + k) * C + c;", "+ → -"),
        ("tinygrad_norm/backends/cuda/teams.cuh", "__syncthreads();", "__syncthreads(); → ;"),
    ]
    results = judged(mutants, tmp_path, "tests/normalization/test_powernorm.py")
    assert [result["status"] for result in results] == ["died"] * 3, results


def test_the_command_counts_and_continues(tmp_path):
    """A second call judges nothing again, and prints the same table."""
    arguments = [sys.executable, "tests/mutants.py", HOOKS, "--sample", "3", "--out", str(tmp_path)]
    arguments += ["--tests", "tests/autograd/test_hooks.py"]
    first, second = (
        subprocess.run(arguments, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=600, check=True)
        for _ in range(2)
    )
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3
    assert "noting what each test reaches" in first.stdout
    assert "noting what each test reaches" not in second.stdout
    assert first.stdout.partition("\nfolder")[2] == second.stdout.partition("\nfolder")[2]
    assert "tinygrad_norm/autograd" in second.stdout
