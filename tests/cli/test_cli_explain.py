"""`tinygrad-norm explain`: its tables, its page and its errors."""

import re
from html.parser import HTMLParser

import numpy
import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app

LOADED = """
from tinygrad_norm.autograd.function import Function
from tinygrad_norm.registry import Case, register


class Wrong(Function):
    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, dy):
        return dy * self.saved[0]


register(name="{name}", function=lambda x: Wrong.apply(x), composed=lambda x: x * x, cases=(Case(((3,),)),))
"""


def run(*arguments):
    return CliRunner().invoke(app, ["explain", *arguments])


def words(result):
    """The output as one line: boxes around errors broken up."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", result.output)


def test_the_numbers_of_the_readme():
    result = run("layer_norm", "--x", "1,2,3,6", "--dy", "1,0,0,0")
    assert result.exit_code == 0
    numbers = {}
    for line in result.output.splitlines():
        found = re.match(r"  (straight|through m|through r)\s", line)
        if found:
            numbers[found[1]] = re.findall(r"-?\d+(?:\.\d+)?", line[37:])
    assert numbers == {
        "straight": ["0.5345", "0", "0", "0"],
        "through m": ["-0.1336"] * 4,
        "through r": ["-0.1527", "-0.0764", "0", "0.2291"],
    }
    assert "Everything agrees" in result.output
    assert run("layer_norm").output == result.output  # the defaults


def test_numbers_stand_below_each_other():
    lines = [line.replace("\u0302", "") for line in run("layer_norm").output.splitlines()]  # of x̂
    found = [match.start() for line in lines for match in re.finditer(r"\.\d{4}(?= |$)", line[37:])]
    assert len(found) > 50
    assert {point % 10 for point in found} == {found[0] % 10}


def test_rows_files_and_shapes(tmp_path):
    by_hand = run("rms_norm", "--x", "1,2;3,5", "--dy", "1,0;0,-1")
    assert by_hand.exit_code == 0
    numpy.save(tmp_path / "x.npy", numpy.array([[1, 2], [3, 5]]))
    assert run("rms_norm", "--input", str(tmp_path / "x.npy"), "--dy", "1,0;0,-1").output == by_hand.output
    random = run("layer_norm", "--shape", "2x4", "--seed", "3")
    assert random.exit_code == 0
    assert random.output == run("layer_norm", "--shape", "2x4", "--seed", "3").output
    assert random.output != run("layer_norm", "--shape", "2x4").output


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_no_other_file(tmp_path):
    path = tmp_path / "page.html"
    result = run("layer_norm", "--html", str(path))
    assert result.exit_code == 0
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    assert not page.links
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    for words_in_it in ("through r", "-0.1527", "Ba, Kiros, Hinton", "✓"):
        assert words_in_it in text


def test_options_of_the_op_are_given_as_in_python():
    result = run("group_norm", "--x", "1,2,3,6", "--option", "num_groups=2", "--option", "eps=0.5")
    assert result.exit_code == 0
    assert "group_norm(num_groups=2, eps=0.5)" in result.output
    assert "none" in run("mse_loss", "--option", "reduction=none").output


def test_what_has_many_steps_is_shortened_unless_all_is_asked_for():
    brief, full = run("gru"), run("gru", "--full")
    assert brief.exit_code == full.exit_code == 0
    assert len(brief.output.splitlines()) < 300 < len(full.output.splitlines())
    assert "43 steps. --full" in brief.output
    assert "incoming" in full.output
    assert "incoming" not in brief.output


def test_a_wrong_closed_form_gives_status_1(tmp_path, forget_loaded):
    path = tmp_path / "wrong.py"
    path.write_text(LOADED.replace("{name}", "wrong_square"))
    result = run("wrong_square", "--load", str(path))
    assert result.exit_code == 1
    assert "✗" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["layer_nrom"], "Did you mean layer_norm"),
        (["layer_norm", "--x", "1,two"], "'1,two' must be numbers"),
        (["layer_norm", "--x", "1,2;3"], "rows of equal length"),
        (["layer_norm", "--x", ""], "must be numbers"),
        (["layer_norm", "--x", "1,nan"], "must be finite"),
        (["layer_norm", "--x", "1,2", "--dy", "1,2,3"], "a number for each of y, 2"),
        (["layer_norm", "--dy", "1,2,3"], "a number for each of y"),
        (["layer_norm", "--shape", "2xa"], "must be sizes"),
        (["layer_norm", "--shape", "100x100"], "x may have 400"),
        (["layer_norm", "--x", "1,2", "--shape", "2x4"], "choose one"),
        (["layer_norm", "--input", "nowhere.npy"], "nowhere.npy cannot be read"),
        (["layer_norm", "--html", "nowhere/page.html"], "is not a folder"),
        (["batch_norm", "--shape", "1x3"], "more than one value"),
        (["group_norm", "--option", "groups=2"], "unknown option of group_norm 'groups'"),
        (["group_norm", "--option", "num_groups"], "must be NAME=VALUE"),
        (["group_norm", "--x", "1,2,3,6", "--option", "num_groups=two"], "num_groups must be an int"),
        (["softmax", "--option", "dim=7"], "softmax cannot be called with dim=7"),
        (["exp", "--option", "dim=7"], "exp has no options"),
        (["power_norm", "--option", "momentum=0.1"], "cannot be compared with finite differences"),
    ],
)
def test_errors_say_what_is_wrong(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in words(result)


def test_a_page_marks_a_kink_as_neither_right_nor_wrong(tmp_path):
    path = tmp_path / "relu.html"
    assert run("relu", "--x=-1,0,2", "--dy", "1,1,1", "--html", str(path)).exit_code == 0
    text = path.read_text(encoding="utf-8")
    assert '<td class="verdict unknown">–</td>' in text
    assert '<td class="verdict wrong">✗' not in text
