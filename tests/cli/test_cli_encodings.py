"""The command line outside UTF-8, and where stdout cannot be written."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_norm

PACKAGE = Path(tinygrad_norm.__file__).parent
FILES = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "examples").rglob("*.py")]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*arguments, stdout=subprocess.PIPE, **environment):
    command = [sys.executable, "-m", "tinygrad_norm", *arguments]
    return subprocess.run(
        command,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        check=False,
    )


def reads_or_writes_text(call):
    """Whether a call opens a file as text, or decodes what a process prints."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    constants = [value.value for value in (*call.args, *given.values()) if isinstance(value, ast.Constant)]
    if "encoding" in given or "utf-8" in constants:
        return False
    if name in ("read_text", "write_text"):
        return True
    if name == "open":
        is_file = isinstance(call.func, ast.Name) or not {"Image", "gzip", "modules", "os", "webbrowser"} & {
            node.id for node in ast.walk(call.func) if isinstance(node, ast.Name)
        }
        return is_file and not any(isinstance(c, str) and "b" in c and len(c) < 4 for c in constants)
    return name in ("run", "Popen", "check_output") and bool({"text", "universal_newlines"} & given.keys())


def test_text_has_an_encoding():
    found = []
    for path in FILES:
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        found += [f"{path}:{call.lineno}" for call in calls if reads_or_writes_text(call)]
    assert not found, f"say encoding= in {', '.join(found)}"


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "cp1252"}], ids=["C", "cp1252"])
def test_commands_print_in_every_encoding(environment):
    code = "from tinygrad_norm.cli import app\n"
    for arguments in (["gradcheck", "softmax"], ["kernel", "--help"], ["draw", "--help"]):
        code += f"try: app({arguments})\nexcept SystemExit as exit: assert not exit.code\n"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.count(b"Usage: ") == 2


def test_the_sources_of_a_kernel_are_read_in_every_locale():
    code = (
        "from tinygrad_norm.normalization.sample import layernorm; "
        "from tinygrad_norm.backends.cuda.launch import CudaSource; "
        "[s.code for s in vars(layernorm).values() if isinstance(s, CudaSource)][0]"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **ASCII}
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert result.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("gradcheck", "add"), ("--version",), ("--help",)], ids=" ".join)
def test_output_that_cannot_be_written_is_one_line(arguments):
    with open("/dev/full", "wb") as full:
        result = run(*arguments, stdout=full)
    assert result.returncode == 1
    assert result.stderr.decode().strip() == "cannot write the output: No space left on device"


def test_characters_that_stdout_lacks_are_question_marks():
    code = (
        "from rich.console import Console; from tinygrad_norm.cli.program import Program; app = Program(); "
        "app.command()(lambda: Console().print('день ±1')); app()"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONIOENCODING": "cp1252"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode("cp1252").strip() == "???? ±1"
