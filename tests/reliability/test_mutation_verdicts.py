"""What tests/mutants.py makes of a process that judges a mutant and ends without a word."""

import json
import os
import subprocess
import sys

import pytest
from mutation.equivalent import reason_for
from mutation.mutant import ROOT
from mutation.python_operators import python_mutants

CODE = """
import json, os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from mutation.judging import DIED, verdict

def killed_by(number):
    return lambda send: os.kill(os.getpid(), number)

works = {
    "sends": lambda send: send({"status": DIED, "by": "a test"}),
    "fault": lambda send: {}["missing"],
    "exit": lambda send: sys.exit(),
    "silent": lambda send: None,
    "crash": killed_by(signal.SIGSEGV),
    "killed": killed_by(signal.SIGKILL),
    "late": lambda send: time.sleep(60),
}
print(json.dumps({name: verdict(work, 0.3 if name == "late" else 60) for name, work in works.items()}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="mutants are planted in forked processes")
def test_only_a_test_a_crash_or_the_clock_lets_a_mutant_die():
    arguments = [sys.executable, "-c", CODE, str(ROOT / "tests" / "support")]
    ran = subprocess.run(arguments, capture_output=True, encoding="utf-8", timeout=120, check=True)
    error = {"status": "error", "by": "its process ended with exit code 1"}
    assert json.loads(ran.stdout) == {
        "sends": {"status": "died", "by": "a test"},
        "fault": error,
        "exit": error,
        "silent": error,
        "crash": {"status": "died", "by": "a crash: SIGSEGV"},
        "killed": {"status": "error", "by": "its process ended with exit code -9"},
        "late": {"status": "died", "late": True, "by": "a test that did not end"},
    }
    assert "KeyError: 'missing'" in ran.stderr


def test_a_size_of_a_reshape_is_equivalent_and_an_axis_beside_it_is_not(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "def f(x, dim):\n"
        "    y = x.reshape(x.shape[-1], -1)\n"
        "    return y.reshape(x.shape).swapaxes(dim, -1).reshape(-1)\n"
    )
    minus_ones = [mutant for mutant in python_mutants(str(module)) if mutant.change == "-1 → -2"]
    found = [(mutant.line, mutant.column, reason_for(mutant) is not None) for mutant in minus_ones]
    assert sorted(found) == [(2, 26, False), (2, 31, True), (3, 44, False), (3, 56, True)]
