"""Datasets in CSV tables."""

import numpy
import pytest

from tinygrad_norm.data import load, load_csv

ROWS = [(i / 4, -i, "abc"[i % 3]) for i in range(12)]


def write(path, rows, header="height,width,label", delimiter=",", encoding="utf-8"):
    lines = [header, *(delimiter.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def values(dataset):
    """All inputs and targets, in the order of the file."""
    inputs, targets = (
        numpy.concatenate([getattr(part, name) for part in dataset.parts.values()])
        for name in ("inputs", "targets")
    )
    order = inputs[:, 0].argsort()
    return inputs[order], targets[order]


@pytest.mark.parametrize(
    ("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8"), ("\t", "utf-8"), (",", "utf-8-sig")]
)
def test_a_label_column_holds_classes(tmp_path, delimiter, encoding):
    path = write(tmp_path / "t.csv", ROWS, delimiter.join(["height", "width", "Label"]), delimiter, encoding)
    dataset = load(path)
    assert (dataset.name, dataset.classes, dataset.shape) == (str(path), ("a", "b", "c"), (2,))
    inputs, labels = values(dataset)
    assert inputs.tolist() == [list(row[:2]) for row in ROWS]
    assert labels.tolist() == [0, 1, 2] * 4
    assert (load(path, seed=1).train.inputs != dataset.train.inputs).any()


def test_a_target_column_holds_values(tmp_path):
    path = write(tmp_path / "t.csv", [(i, 0, i / 2) for i in range(12)], "a,b,y")
    dataset = load(path)
    assert (dataset.task, dataset.outputs) == ("regression", 1)
    assert values(dataset)[1].tolist() == [i / 2 for i in range(12)]
    inputs, targets = values(load_csv(path, target="a"))
    assert inputs.tolist() == [[0, i / 2] for i in range(12)] or len(inputs) == 12
    assert sorted(targets) == list(range(12))


def test_classes_that_are_numbers_are_in_their_order_whatever_they_are(tmp_path):
    path = write(tmp_path / "t.csv", [(i, (10, 9, 3)[i % 3]) for i in range(12)], "x,quality")
    dataset = load_csv(path, label="quality")
    assert dataset.classes == ("3", "9", "10")
    assert values(dataset)[1].tolist() == [2, 1, 0] * 4


def test_quotes_spaces_and_empty_lines_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        '"a, b", label\r\n\r\n' + '1.5, "x, y"\r\n 2 , z \r\n\r\n' * 4, encoding="utf-8", newline=""
    )
    dataset = load(path)
    assert dataset.classes == ("x, y", "z")
    assert values(dataset)[0].ravel().tolist() == [1.5] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("", {}, "t.csv is empty"),
        ("\n1,2\n", {}, "t.csv is empty, or its first line is"),
        ("a,label\n", {}, "has a header but no samples"),
        ("1,2,3\n4,5,6\n", {}, "has no header: its first line holds only numbers"),
        ("a,a,label\n", {}, "two columns called 'a': columns 1 and 2"),
        ("a,,label\n", {}, "no name for column 2"),
        ("label\nx\n", {}, "has one column, 'label': .*separated by commas, semicolons or tabs"),
        ("# a comment\na,label\n1,x\n", {}, "has one column, '# a comment'"),
        ("a,label\n1,nan\n", {}, "has nan, in line 2, column 'label'"),
        ("a,label\n1,x\n", {}, "at least two classes are needed"),
        ("a,label\n1,x\n2,z\n", {}, "class 'x' has 1 sample"),
        (
            "a,b\n1,2\n",
            {},
            r"called label or class \(classes\), or target or y \(values\), .*The columns are a, b",
        ),
        ("a,label,y\n1,2,3\n", {}, "the columns label and y could each be"),
        ("a,lable\n1,2\n", {"label": "label"}, r"unknown column 'label': choose one of a, lable \(did you"),
        ("a,b\n1,2\n", {"label": "a", "target": "b"}, "label 'a' and target 'b': give one"),
        ("a,b,y\n1,2,3\n4,5\n", {}, "has 2 cells in line 3, but the header has 3 columns"),
        ("a,b,y\n1,2,3\n\n4,5,6,7\n", {}, "has 4 cells in line 4"),
        ("a,b,y\n1,red,3\n", {}, "'red', which is not a number, in line 2, column 'b': convert categories"),
        ("a,b,y\n1,2,3\n1, ,3\n", {}, "an empty cell, in line 3, column 'b'$"),
        ("a;y\n1,5;2\n", {}, "'1,5', which is not a number, .*write a decimal point"),
        ("a,b,y\n1,2,high\n", {}, r"'high', which is not a number, .*column 'y': .* label \(--label y\)"),
        ("a,my b\n1,red\n", {"target": "my b"}, r"'red', .*: for classes, .* label \(--label 'my b'\)"),
        ("a,b,y\n1,2,3\n1_0,2,3\n", {}, "'1_0', which is not a number, in line 3, column 'a'"),
        ("a,y\n1,2\n1,1_0.5\n", {}, "'1_0.5', which is not a number, in line 3, column 'y'"),
        ("a,b,y\n1,nan,3\n", {}, "nan in line 2, column 'b': replace"),
        ("a,b,y\n1,2,inf\n", {}, "inf in line 2, column 'y': replace"),
        ("a,label\n1,x\n2,\n", {}, "empty cell, in line 3, column 'label'"),
        ("a,b\n" + "".join(f"{i},{i / 7}\n" for i in range(9)), {"label": "b"}, "9 different values in 9"),
        ("a,label\n" + "1,x\n" * 9 + "1,z\n" * 2, {}, "t.csv: class 'z' has 2 samples: at least 3"),
        ('a,label\n1,"x\n', {}, "is not a readable table: line 2"),
        (b"a,label\n1,\xff\n", {}, "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_column(tmp_path, text, options, match):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=match):
        load_csv(path, **options)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        load_csv(tmp_path / "t.csv")
