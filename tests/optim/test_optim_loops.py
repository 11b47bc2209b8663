"""The loops of the optimizers compute what the NumPy bodies compute, in every mode, for all options."""

import pickle
from itertools import product

import numpy
import pytest

from tinygrad_norm import use_loops
from tinygrad_norm.backends.cpu.blocks import settings
from tinygrad_norm.backends.cpu.loop_mode import loop_mode
from tinygrad_norm.optim.adam import adam_step
from tinygrad_norm.optim.flat_buffers import BLOCK
from tinygrad_norm.optim.sgd import sgd_step

MODES = ["python", "compiled"] if loop_mode.compiled else ["python"]
DTYPES = ["float32", "float64"]


def _adam(mode, arrays, *, amsgrad=True, step=3, **changed):
    options = {"weight_decay": 0.0, "decoupled": False, "maximize": False, "eps": 1e-8, **changed}
    param, grad, m, v, largest = [array.copy() for array in arrays]
    work = numpy.zeros((2, BLOCK), param.dtype)
    with use_loops(mode):
        adam_step(
            param, grad, m, v, largest if amsgrad else None, work,
            step=step, lr=0.01, betas=(0.9, 0.999), **options,
        )  # fmt: skip
    return param, m, v, largest


def _sgd(mode, arrays, *, first=False, **changed):
    options = {"momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
    options |= changed
    param, grad, b = [array.copy() for array in arrays[:3]]
    work = numpy.zeros((2, BLOCK), param.dtype)
    with use_loops(mode), numpy.errstate(all="ignore"):
        sgd_step(param, grad, b if options["momentum"] else None, work, first=first, lr=0.01, **options)
    return param, b


def _arrays(dtype, size=37):
    rng = numpy.random.default_rng(0)
    param, grad, m = rng.standard_normal((3, size)).astype(dtype)
    v, largest = rng.random((2, size)).astype(dtype)
    grad[::5] = 0
    return param, grad, m, v, largest


def _assert_same(found, expected):
    for x, y in zip(found, expected, strict=True):
        numpy.testing.assert_allclose(x, y, rtol=0, atol=4 * numpy.finfo(y.dtype).eps)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_steps_as_its_body(mode, dtype):
    arrays = _arrays(dtype)
    for amsgrad, weight_decay, decoupled, maximize, step in product(
        (False, True), (0.0, 0.1), (False, True), (False, True), (1, 7)
    ):
        options = {"weight_decay": weight_decay, "decoupled": decoupled, "maximize": maximize}
        options |= {"amsgrad": amsgrad, "step": step}
        _assert_same(_adam(mode, arrays, **options), _adam("off", arrays, **options))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd_steps_as_its_body(mode, dtype):
    arrays = _arrays(dtype)
    for momentum, dampening, weight_decay, nesterov, maximize, first in product(
        (0.0, 0.9), (0.0, 0.5), (0.0, 0.1), (False, True), (False, True), (False, True)
    ):
        options = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        options |= {"nesterov": nesterov and momentum > 0, "maximize": maximize, "first": first}
        _assert_same(_sgd(mode, arrays, **options), _sgd("off", arrays, **options))


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_finite_stays_so_and_zeros_stay_zeros(mode):
    hard = numpy.array([0, numpy.inf, -numpy.inf, numpy.nan, 1e30, 1e-30], numpy.float32)
    arrays = list(numpy.array([*product(hard, hard, [0.5], [0, 1], hard)], numpy.float32).T.copy())
    for options in ({}, {"eps": 0.0}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled": True}):
        with numpy.errstate(all="ignore"):
            found, expected = _adam(mode, arrays, **options), _adam("off", arrays, **options)
        for x, y in zip(found, expected, strict=True):
            numpy.testing.assert_allclose(x, y, rtol=1e-6)
    for x, y in zip(_sgd(mode, arrays), _sgd("off", arrays), strict=True):
        numpy.testing.assert_allclose(x, y, rtol=1e-6)
    zeros = [numpy.zeros(3, numpy.float32)] * 5
    for array in (*_adam(mode, zeros, eps=0.0), *_sgd(mode, zeros)):
        assert not array.any()


@pytest.mark.parametrize("mode", MODES)
def test_an_element_is_updated_alike_wherever_it_lies(mode):
    arrays = [numpy.full(101, value, numpy.float32) for value in (0.3, -0.7, 0.11, 0.013, 0.017)]
    for array in (*_adam(mode, arrays, weight_decay=0.1), *_sgd(mode, arrays, weight_decay=0.1)):
        assert len({*array.tolist()}) == 1


@pytest.mark.skipif(not loop_mode.compiled, reason="the loops are slow as Python")
def test_two_threads_step_as_one_does_bit_for_bit():
    arrays = _arrays("float32", size=4 * BLOCK + 37)
    expected = _adam("compiled", arrays), _sgd("compiled", arrays)
    with settings(threads=2):
        found = _adam("compiled", arrays), _sgd("compiled", arrays)
    for one, other in zip(sum(expected, ()), sum(found, ()), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_half_types_step_with_moments_in_float32(mode):
    param, grad, m, *_ = _arrays("float32")
    param, grad = param.astype(numpy.float16), grad.astype(numpy.float16)
    work = numpy.zeros((2, BLOCK), numpy.float32)
    before = param.copy()
    with use_loops(mode):
        sgd_step(
            param, grad, m, work, first=False, lr=0.01, momentum=0.9, dampening=0.0, weight_decay=0.0,
            nesterov=False, maximize=False,
        )  # fmt: skip
    expected = before - 0.01 * m
    numpy.testing.assert_allclose(param, expected, atol=2e-3)


@pytest.mark.parametrize("mode", MODES)
def test_pickled_arrays_are_updated_by_the_loop(mode):
    param, grad, b, *_ = _arrays("float32")
    options = {"momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
    pickled = [pickle.loads(pickle.dumps(array)) for array in (param, grad, b)]
    with use_loops(mode):
        assert sgd_step.cpu_version(*pickled, None, first=False, lr=0.01, **options) is None
    _assert_same([pickled[0], pickled[2]], _sgd(mode, (param, grad, b)))


@pytest.mark.parametrize("mode", MODES)
def test_arrays_of_another_byte_order_are_left_to_the_body(mode):
    swapped = numpy.dtype(">f4")
    arrays = [array.astype(swapped) for array in _arrays("float32")]
    assert arrays[0].dtype is arrays[1].dtype
    for momentum in (0.0, 0.9):
        _assert_same(_sgd(mode, arrays, momentum=momentum), _sgd("off", arrays, momentum=momentum))
    _assert_same(_adam(mode, arrays), _adam("off", arrays))
