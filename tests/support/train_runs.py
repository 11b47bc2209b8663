"""Runs of `tinygrad-norm train` in tests, and whether two of them gave the same numbers."""

import csv

import numpy as np
from safetensors.numpy import load_file
from typer.testing import CliRunner

from tinygrad_norm.cli import app


def invoke(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def weights(folder):
    return load_file(folder / "model.safetensors")


def metrics(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def assert_same_numbers(a, b):
    assert metrics(a) == metrics(b)
    for name, value in weights(a).items():
        np.testing.assert_array_equal(value, weights(b)[name], err_msg=name)
