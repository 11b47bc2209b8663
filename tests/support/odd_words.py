"""Command lines drawn at random from what the commands take: every option, with plausible and odd values."""

import re

from hypothesis import strategies as st

WORDS = [
    *("digits", "sine", "text", "table.csv", "broken.csv", "text.txt", "latin1.txt", "data.bin", "empty.csv"),
    *("array.npy", "mine.py", "folder", "runs", "runs/a", "missing", "new.json", "new.svg", "new.html", "y"),
    *(
        "mine.py:square",
        "mine.py:nothing",
        "mynorm.py",
        "layer_norm",
        "batch_norm",
        "softmax",
        "matmul",
        "mlp",
    ),
    *("linear", "group", "rms", "none", "label", "lstm", "transformer", "relu", "sgd", "adam", "digits.npz"),
]
"""What means something to some command; the files are those of the fixture `commands` of the fuzz."""

BY_METAVAR = {
    "NAME": "layer_norm batch_norm group_norm softmax matmul linear conv2d cross_entropy lstm exp sigmoid",
    "[NAME]": "sigmoid linear cuda_row_sum",
    "DATASET": "table.csv digits sine text.txt",
    "RUN": "runs/a",
    "RUN RUN...": "runs/a",
    "FILES": "table.csv array.npy",
    "FILE.py:NAME": "mine.py:square mine.py:square_backward",
    "NAME=VALUE": "eps=1e-3 dim=-1 dim=0 num_groups=2 training=False momentum=0.5 reduction=sum",
    "NUMBERS": "1,2,3,6 1,2;3,5 1",
    "SIZES": "2x4 4 2x3x4 1x2x4x4",
    "FOLDER": "runs",
}
"""What a parameter with such a metavar means; one with another, any of the `WORDS` and those of its help."""

ODD = [
    *("", " ", "-", "--", "-1", "0", "1", "2", "3", "1e-3", "0.5", "nan", "inf", "-inf", "1e400", "-0.0"),
    *("9" * 30, "-" + "9" * 30, "9" * 5000, "0x10", "1_000", "١٢", "1,2,3", "1,2;3", "1,2;3,4", "nan,inf"),
    *("2x4", "0x3", "1x", "x", "100000x100000x100000", "9" * 20 + "x2", "2x4x1x1x1x1", ",", ";", "=", "a="),
    *("=1", "eps=nan", "eps=1e400", "dim=9", "dim=None", "num_groups=0", "eps='x'", "eps=" + "(" * 300),
    *(
        "training=2",
        "dtype=int",
        "group:groups=0",
        "group:groups=x",
        "rms:eps=nan",
        "rms:",
        ":",
        "layer:eps=",
    ),
    *(
        "\0",
        "a\0b",
        "\n",
        "a\nb",
        "\t",
        "é",
        "日本語",
        "\u202e",
        "\ud800",
        "\udcff",
        "😀",
        "[red]",
        "[/]",
        "{x}",
    ),
    *("%s", "%(a)s", "'", '"', "\\", "~", "~nobody", "$HOME", "*", "?", ".", "./.", "/dev/zero/x"),
    *("/proc/self/mem", "/proc/nowhere/x", "C:\\x", "a" * 300, "a/" * 3000, "x" * 100_000),
    *("a" * 250 + ".json", "table.csv/x", "folder/new.json", "loop", "dangling", "fifo", "null"),
    *("True", "None", "--help", "-h", "--version", "con", ".json", ".svg", "x.PNG", "x.gif", "__class__"),
]
"""No path that leads out of the folder: a superuser can write there, and some tests are run by one."""

_TEXT = st.text(st.characters(exclude_characters="/"), max_size=8).filter(lambda text: text != "..")


def commands_of(group, path=()):
    """Yield (words, command) of every command below a group, the group itself first."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands_of(command, (*path, name))


@st.composite
def command_lines(draw, commands):
    """Draw the words of a command line: a command, then some of its options and arguments, in some order."""
    first = draw(st.sampled_from(sorted({path[:1] for path, _ in commands})))
    path, command = draw(st.sampled_from([one for one in commands if one[0][:1] == first]))
    parts, arguments, much_is_odd = [], [], not draw(st.integers(0, 3))
    for parameter in command.params:
        values = _values(parameter, much_is_odd or not draw(st.integers(0, 14)))
        if parameter.param_type_name == "argument":
            count = draw(st.sampled_from([1] * 12 + [0, 2] if parameter.required else [0, 1, 1, 2]))
            arguments += [[draw(values)] for _ in range(count)]
            continue
        count = draw(st.sampled_from([0] * 16 + [1] * 3 + [2]))
        for _ in range(count):
            parts.append(_option(draw, parameter, values))
    parts = draw(st.permutations(parts + arguments))
    if draw(st.integers(0, 19)) == 0:
        parts = [
            *parts,
            [draw(st.sampled_from([*ODD, "--no-such-option", "--out", "-o", "-ooo", "--x=", "-"]))],
        ]
    return [*path, *(word for part in parts for word in part)]


def _option(draw, parameter, values):
    name = draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))
    if "bool" in _kind(parameter) and draw(st.integers(0, 9)):
        return [name]
    if draw(st.integers(0, 59)) == 0:
        return [name]  # its value is missing, or is the next word
    value = draw(values)
    return [f"{name}={value}"] if draw(st.integers(0, 3)) == 0 else [name, value]


def _kind(parameter):
    """Return the type in words: Typer keeps click's type, or, from 0.29 on, an annotation."""
    found = getattr(parameter, "type", None) or parameter.type_descriptor.annotation
    return str(found).lower()


def _values(parameter, odd_too):
    """Return the strategy for a parameter's values: what its type and its help name, or also what is odd."""
    kind = _kind(parameter)
    words = re.findall(r"[A-Za-z][\w./-]*", getattr(parameter, "help", None) or "")
    meant = BY_METAVAR.get(getattr(parameter, "metavar", None) or "", "").split()
    plausible = meant * 20 + words * 4 + WORDS
    if "int" in kind:
        good = st.sampled_from(["0", "1", "2", "3", "7"])
    elif "float" in kind:
        good = st.sampled_from(["0", "0.5", "1e-3", "1", "2"])
    else:
        good = st.sampled_from(plausible)
    if not odd_too:
        return good
    odd = st.sampled_from(ODD)
    numbers = st.one_of(st.integers().map(str), st.floats().map(str))
    return st.one_of(good, good, odd, odd, _TEXT, numbers)
