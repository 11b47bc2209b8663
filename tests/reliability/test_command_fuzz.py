"""No option or value, however odd, ends a command in a traceback: command lines drawn at random.

By hand: `python3 -m pytest -n 0 -m "" tests/reliability/test_command_fuzz.py --times 20000`.
"""

import os
import shlex
import shutil
import time

import numpy as np
import pytest
import typer
from command_server import Call, Commands
from hypothesis import HealthCheck, Phase, given, settings
from odd_words import command_lines, commands_of

from tinygrad_norm.cli import app

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

COMMANDS = list(commands_of(typer.main.get_command(app)))
"""Every command, the new ones too, from the program itself."""
MINE = """
import numpy as np

def square_forward(x):
    return x * x

def square_backward(dy, x):
    return 2 * x * dy
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The server, whose calls find a run, data and files of the user in their folder."""
    folder = tmp_path_factory.mktemp("commands")
    files = folder / "files"
    (files / "folder").mkdir(parents=True)
    rows = [f"{k % 7},{k % 5},{'ab'[k % 2]}" for k in range(40)]
    (files / "table.csv").write_text("\n".join(["x,y,label", *rows]) + "\n")
    (files / "broken.csv").write_text("a,b\n1\n2,3,4\n")
    (files / "empty.csv").touch()
    (files / "text.txt").write_text("to be or not to be, " * 60)
    (files / "latin1.txt").write_bytes("déjà vu ".encode("latin-1") * 40)
    (files / "data.bin").write_bytes(bytes(range(256)) * 4)
    (files / "mine.py").write_text(MINE)
    np.save(files / "array.npy", np.arange(6.0).reshape(2, 3))
    (files / "loop").symlink_to("loop")
    (files / "dangling").symlink_to("nowhere")
    (files / "null").symlink_to(os.devnull)
    server = Commands(folder, files)
    for arguments in (
        ["train", "table.csv", "--label", "label", "--epochs", "1", "--out", str(files / "runs" / "a")],
        ["new", "normalization", "my_norm", "--out", str(files)],
    ):
        made = server.run(arguments, 60)
        assert made.status == 0, made
    yield server
    server.close()
    shutil.rmtree(folder)


def told(call):
    """Return the faults of a call, with what repeats it; nothing if it has none."""
    line = f"tinygrad-norm {shlex.join(call.arguments)}"
    return (
        "\n".join([*call.faults(), ascii(line[:1500]), call.out[-500:], call.err[-3000:]])
        if call.faults()
        else ""
    )


@pytest.mark.slow
def test_odd_command_lines_are_answered_in_words(commands, times, capsys):
    number = times or 60
    done, stopped, start = 0, 0, time.monotonic()

    @settings(
        max_examples=number,
        derandomize=times is None,
        database=None,
        deadline=None,
        phases=[Phase.generate] if times is None else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=True,
    )
    @given(command_lines(COMMANDS))
    def try_one(arguments):
        nonlocal done, stopped
        call = commands.run(arguments, 3 if times else 1)
        done, stopped = done + 1, stopped + (call.status is None)
        if times and done % 500 == 0:
            to_go = (time.monotonic() - start) / done * max(0, number - done)
            with capsys.disabled():
                print(f"{done} command lines, {stopped} stopped after their time, {to_go:.0f} s to go")
        assert not told(call), told(call)

    try_one()


def test_every_command_has_been_found():
    assert {"train", "explain", "bench ops", "exercise check"} <= {" ".join(path) for path, _ in COMMANDS}


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (Call([], 70, "", "Traceback (most recent call last)", [], []), "a traceback"),
        (Call([], -11, "", "", [], []), "status -11"),
        (Call([], 2, "", "", [], []), "without a message"),
        (Call([], 0, "", "x.py:1: RuntimeWarning: overflow", [], []), "a warning"),
        (Call([], 0, "", "", [".a-1.json"], []), "a temporary file"),
        (Call([], 0, "", "", [], ["/elsewhere"]), "outside"),
    ],
    ids=["traceback", "signal", "silence", "warning", "temporary", "outside"],
)
def test_a_fault_is_seen(call, what):
    assert what in told(call)
