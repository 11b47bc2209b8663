"""Contrast normalization: formulas against a plain loop, flat images, extremes, errors."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_norm.data import GlobalContrastScaler, LocalContrastScaler
from tinygrad_norm.data import scaler as scaler_module

deterministic = settings(derandomize=True, deadline=None, database=None, max_examples=100)
BOTH = [GlobalContrastScaler(), LocalContrastScaler()]


def images(dtype):
    numbers = st.floats(width=numpy.dtype(dtype).itemsize * 8, allow_nan=False, allow_infinity=False)
    return hnp.arrays(dtype, hnp.array_shapes(min_dims=4, max_dims=4, max_side=5), elements=numbers)


@pytest.fixture
def x():
    return numpy.random.default_rng(0).normal(3, 2, (4, 2, 7, 9))


def window_mean(image, sigma):
    """The mean over a Gaussian window cut off at 3·sigma and at the borders, pixel by pixel."""
    _, height, width = image.shape
    out = numpy.empty((height, width))
    for i in range(height):
        for j in range(width):
            total = weight = 0.0
            for p in range(height):
                for q in range(width):
                    if max(abs(p - i), abs(q - j)) <= 3 * sigma:
                        w = numpy.exp(-((p - i) ** 2 + (q - j) ** 2) / (2 * sigma**2))
                        total, weight = total + w * image[:, p, q].mean(), weight + w
            out[i, j] = total / weight
    return out


@pytest.mark.parametrize("eps", [1e-8, 2.5])
def test_global_contrast_is_its_formula(x, eps):
    y = GlobalContrastScaler(eps).transform(x)
    mean, std = x.mean((1, 2, 3), keepdims=True), x.std((1, 2, 3), keepdims=True)
    assert numpy.allclose(y, (x - mean) / numpy.maximum(std, eps), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("sigma", "eps"), [(0.8, 1e-8), (1.5, 1.9), (20.0, 1e-8)])
def test_local_contrast_is_its_formula(x, sigma, eps):
    y = LocalContrastScaler(sigma, eps).transform(x)
    for image, result in zip(x, y, strict=True):
        v = image - window_mean(image, sigma)
        std = numpy.sqrt(window_mean(v * v, sigma))
        assert numpy.allclose(result, v / numpy.maximum(std, eps), rtol=0, atol=1e-12)


def test_a_very_wide_window_is_global(x):
    y = LocalContrastScaler(sigma=1e6).transform(x)
    assert numpy.allclose(y, GlobalContrastScaler().transform(x), rtol=0, atol=1e-9)


def test_channels_last_is_the_same_transposed(x):
    y = LocalContrastScaler(channels_last=True).transform(x.transpose(0, 2, 3, 1))
    assert numpy.allclose(y.transpose(0, 3, 1, 2), LocalContrastScaler().transform(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("scaler", BOTH, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e8 / 3, 1e300])
def test_flat_images_give_zeros(scaler, value, x):
    flat = numpy.full((1, 2, 7, 9), value)
    assert (scaler.transform(flat) == 0).all()
    beside = scaler.transform(numpy.concatenate([x, flat]))
    assert (beside[-1] == 0).all()
    assert numpy.allclose(beside[:-1], scaler.transform(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("scaler", BOTH, ids=lambda s: type(s).__name__)
def test_brightness_and_contrast_make_no_difference(scaler, x):
    expected = scaler.transform(x)
    assert numpy.allclose(scaler.transform(5 * x + 40), expected, rtol=0, atol=1e-11)
    assert numpy.allclose(scaler.transform(1e300 * x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("scaler", BOTH, ids=lambda s: type(s).__name__)
def test_every_image_is_scaled_independently(scaler, x, monkeypatch):
    expected = scaler.transform(x)
    assert numpy.allclose(scaler.transform(x[2:3]), expected[2:3], rtol=0, atol=1e-14)
    monkeypatch.setattr(scaler_module, "BLOCK", 1)
    assert numpy.allclose(scaler.transform(x), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("scaler", BOTH, ids=lambda s: type(s).__name__)
def test_eps_is_in_units_of_x(scaler):
    faint = 1e-9 * numpy.random.default_rng(0).normal(size=(2, 1, 6, 6))
    assert 0 < numpy.abs(scaler.transform(faint)).max() < 0.5
    assert numpy.abs(scaler.transform(1e3 * faint)).max() > 1


@pytest.mark.parametrize("scaler", BOTH, ids=lambda s: type(s).__name__)
def test_floating_types_stay_and_bytes_become_float32(scaler, x):
    for dtype in (numpy.float16, numpy.float32, numpy.float64):
        assert scaler.fit_transform(x.astype(dtype)).dtype == dtype
    assert scaler.transform(numpy.abs(x * 20).astype(numpy.uint8)).dtype == numpy.float32


@deterministic
@given(x=images(numpy.float64) | images(numpy.float32), scaler=st.sampled_from(BOTH))
def test_any_finite_data_gives_finite_numbers(x, scaler):
    assert numpy.isfinite(scaler.transform(x)).all()


@pytest.mark.parametrize("scaler", BOTH, ids=lambda s: type(s).__name__)
def test_there_is_no_inverse(scaler):
    assert not hasattr(scaler, "inverse_transform")


@pytest.mark.parametrize("scaler", BOTH, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("shape", [(0, 1, 3, 3), (2, 1, 0, 3), (2, 0, 3, 3)])
def test_empty_stays_empty(scaler, shape):
    assert scaler.transform(numpy.ones(shape)).shape == shape


@pytest.mark.parametrize("scaler", BOTH, ids=lambda s: type(s).__name__)
def test_invalid_images_raise(scaler):
    with pytest.raises(ValueError, match=r"expected images .*got shape \(5,\)"):
        scaler.transform(numpy.ones(5))
    with pytest.raises(ValueError, match="nan at index"):
        scaler.transform(numpy.full((1, 1, 2, 2), numpy.nan))
    with pytest.raises(TypeError, match="complex128"):
        scaler.transform(numpy.ones((1, 1, 2, 2), complex))


@pytest.mark.parametrize("value", [0, -1, numpy.nan, numpy.inf])
def test_parameters_must_be_positive(value):
    with pytest.raises(ValueError, match="eps must be positive"):
        GlobalContrastScaler(value)
    with pytest.raises(ValueError, match="eps must be positive"):
        LocalContrastScaler(eps=value)
    with pytest.raises(ValueError, match="sigma must be positive"):
        LocalContrastScaler(sigma=value)


@pytest.mark.parametrize("value", ["a", None])
def test_parameters_that_are_not_numbers_raise(value):
    with pytest.raises(TypeError, match=f"eps must be a number, got {value!r}"):
        GlobalContrastScaler(value)
    with pytest.raises(TypeError, match=f"sigma must be a number, got {value!r}"):
        LocalContrastScaler(sigma=value)
