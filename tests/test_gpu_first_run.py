"""The script of the first run on a GPU, on the emulator; a part that crashes or hangs stops no other."""

import contextlib
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from separate_parts import Check, checks_of, run_all, run_here

from tinygrad_norm.backends import emulator

SCRIPT = Path(__file__).parent / "gpu_first_run.py"
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flushing needs x86")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gpu_first_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(script, part):
    return list(checks_of(script.PARTS[part], script.Machine(is_gpu=False)))


@needs_compiler
@pytest.mark.parametrize("part", ["embedding", pytest.param("products", marks=pytest.mark.slow), "dropout"])
def test_a_part_checks_what_it_is_about(script, part):
    checks = found(script, part)
    assert checks
    assert all(check.right in (True, None) for check in checks), checks


@pytest.mark.slow
@needs_compiler
@x86
def test_kernels_that_flush_to_zero_are_seen(script):
    assert all(check.right for check in found(script, "subnormals"))
    with emulator.schedule(flush_to_zero=True):
        assert not any(check.right for check in found(script, "subnormals"))


@pytest.mark.slow
@needs_compiler
def test_the_whole_script_on_the_emulator(script, tmp_path):
    path = tmp_path / "first.json"
    command = [sys.executable, str(SCRIPT), "--backend", "emulator", "--seconds", "600", "--json", str(path)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no check failed" in run.stdout
    assert json.loads(path.read_text())["parts"].keys() == script.PARTS.keys()


# -- parts in processes of their own

PROCESS = """
import json, os, sys, time
name, path = sys.argv[1:]
with open(path, "a") as file:
    file.write(json.dumps({"what": "begun", "found": name, "expected": "", "right": True}) + "\\n")
{"good": bool, "crash": os.abort, "hang": lambda: time.sleep(60)}[name]()
"""


def test_a_crash_or_a_hang_does_not_stop_the_rest(tmp_path, capfd):
    path, process = tmp_path / "checks.json", tmp_path / "process.py"
    process.write_text(PROCESS)
    parts = ["crash", "hang", "good"]
    assert run_all(parts, [sys.executable, str(process)], path, {"date": "today"}, seconds=2.0) == 2
    saved = json.loads(path.read_text())
    assert saved["date"] == "today"
    failures = {
        name: [check["found"] for check in checks if not check["right"]]
        for name, checks in saved["parts"].items()
    }
    assert failures["crash"][0].startswith("the process ended with")
    assert failures["hang"] == ["the process was still running after 2 s"]
    assert failures["good"] == []
    assert all(checks[0]["found"] == name for name, checks in saved["parts"].items())
    assert "2 of 5 checks failed" in capfd.readouterr().out


class Nothing:
    in_use = contextlib.nullcontext


def test_an_error_is_a_check_that_failed(tmp_path, capsys):
    def part(machine):
        yield Check("the first", "1")
        raise ValueError("no such thing")

    run_here(part, Nothing(), tmp_path / "checks")
    first, second = map(json.loads, (tmp_path / "checks").read_text().splitlines())
    assert (first["what"], first["right"]) == ("the first", None)
    assert (second["found"], second["right"]) == ("ValueError: no such thing", False)
    assert "no such thing" in capsys.readouterr().err  # the traceback
