"""ImageScaler: the three scalings, both layouts, their order, errors."""

import numpy
import pytest

from tinygrad_norm.data import IMAGENET_MEAN, IMAGENET_STD, ImageScaler


@pytest.fixture
def x():
    return numpy.random.default_rng(0).integers(0, 256, (4, 3, 5, 6)).astype(numpy.uint8)


def test_bytes_become_0_to_1(x):
    y = ImageScaler().transform(x)
    assert y.dtype == numpy.float32
    assert (y == x.astype(numpy.float32) / 255).all()


def test_bytes_become_minus_1_to_1(x):
    y = ImageScaler((-1, 1)).transform(x)
    assert numpy.allclose(y, x / 127.5 - 1, rtol=0, atol=1e-7)
    extremes = numpy.array([0, 255], numpy.uint8).reshape(1, 1, 1, 2)
    assert ImageScaler((-1, 1)).transform(extremes).ravel().tolist() == [-1, 1]


def test_imagenet_statistics_come_after_dividing_by_255(x):
    y = ImageScaler(mean=IMAGENET_MEAN, std=IMAGENET_STD).transform(x)
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        expected = (x[:, channel] / 255 - mean) / std
        assert numpy.allclose(y[:, channel], expected, rtol=0, atol=1e-6)


def test_channels_last_is_the_same_transposed(x):
    first = ImageScaler(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    last = ImageScaler(mean=IMAGENET_MEAN, std=IMAGENET_STD, channels_last=True)
    nhwc = x.transpose(0, 2, 3, 1)
    assert (last.transform(nhwc).transpose(0, 3, 1, 2) == first.transform(x)).all()
    y = first.transform(x)
    assert numpy.allclose(last.inverse_transform(y.transpose(0, 2, 3, 1)), nhwc, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "scaler",
    [ImageScaler(), ImageScaler((-1, 1)), ImageScaler(mean=IMAGENET_MEAN, std=IMAGENET_STD)],
    ids=["0 to 1", "-1 to 1", "imagenet"],
)
def test_inverse_transform_gives_the_pixels_back(x, scaler):
    assert (scaler.inverse_transform(scaler.fit_transform(x)).round() == x).all()


@pytest.mark.parametrize("dtype", [numpy.float16, numpy.float32, numpy.float64])
def test_floating_images_of_0_to_255_keep_their_type(x, dtype):
    y = ImageScaler().transform(x.astype(dtype))
    assert y.dtype == dtype
    assert numpy.allclose(y, x / 255, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [numpy.uint8, numpy.int16, numpy.uint16, numpy.int64])
def test_any_integers_become_float32(dtype):
    assert ImageScaler().transform(numpy.full((1, 1, 2, 2), 51, dtype)).dtype == numpy.float32


def test_max_value_is_the_white_of_the_recording():
    digits = numpy.array([0, 8, 16], numpy.float32).reshape(1, 1, 1, 3)
    assert ImageScaler(max_value=16).transform(digits).ravel().tolist() == [0, 0.5, 1]
    assert ImageScaler((-1, 1), max_value=16).transform(digits).ravel().tolist() == [-1, 0, 1]


def test_scaling_twice_raises(x):
    scaled = ImageScaler().transform(x)
    with pytest.raises(ValueError, match="look already scaled"):
        ImageScaler().transform(scaled)
    with pytest.raises(ValueError, match="already scaled"):
        ImageScaler().transform(ImageScaler((-1, 1)).transform(x))
    with pytest.raises(ValueError, match="already scaled"):
        ImageScaler().transform(ImageScaler(mean=IMAGENET_MEAN, std=IMAGENET_STD).transform(x))


def test_dark_images_are_accepted():
    assert (ImageScaler().transform(numpy.ones((1, 1, 2, 2), numpy.uint8)) == numpy.float32(1 / 255)).all()
    assert (ImageScaler().transform(numpy.zeros((1, 1, 2, 2), numpy.float32)) == 0).all()
    assert ImageScaler().transform(numpy.zeros((0, 3, 2, 2), numpy.float32)).shape == (0, 3, 2, 2)


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (numpy.full((1, 1, 2, 2), 256), ValueError, "got 256 … 256: is max_value right"),
        (numpy.full((1, 1, 2, 2), -1), ValueError, "got -1 … -1: are they already scaled"),
        (numpy.full((1, 1, 2, 2), numpy.nan), ValueError, "nan at index"),
        (numpy.ones((1, 1, 2, 2), bool), TypeError, "bools"),
        (numpy.ones((1, 1, 2, 2), complex), TypeError, "complex128"),
        (numpy.ones((2, 2), numpy.uint8), ValueError, r"\(N, C, H, W\), got shape \(2, 2\)"),
    ],
    ids=["too large", "negative", "nan", "bool", "complex", "2-d"],
)
def test_invalid_images_raise(images, error, match):
    with pytest.raises(error, match=match):
        ImageScaler().transform(images)


def test_the_wrong_layout_raises(x):
    scaler = ImageScaler(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    with pytest.raises(ValueError, match=r"3 channels.*has 5: is channels_last=False right"):
        scaler.transform(x.transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match="3 channels"):
        scaler.inverse_transform(x.transpose(0, 2, 3, 1) / 255)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mean": IMAGENET_MEAN}, "give both or neither"),
        ({"std": IMAGENET_STD}, "give both or neither"),
        ({"mean": (0.5, 0.5), "std": (1.0,)}, "one number per channel"),
        ({"mean": 0.5, "std": 0.5}, "one number per channel"),
        ({"mean": (0.5,), "std": (0.0,)}, "std positive"),
        ({"mean": (numpy.nan,), "std": (1.0,)}, "must be finite"),
        ({"mean": (0.5,), "std": (numpy.inf,)}, "must be finite"),
        ({"feature_range": (-1, 1), "mean": (0.5,), "std": (0.5,)}, r"images in \[0, 1\], not in \[-1, 1\]"),
        ({"feature_range": (1, 0)}, "a < b"),
        ({"max_value": 0.5}, "max_value must be at least 1"),
    ],
)
def test_invalid_options_raise(options, match):
    with pytest.raises(ValueError, match=match):
        ImageScaler(**options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_value": "a"}, "max_value must be a number, got 'a'"),
        ({"feature_range": (0, "a")}, "feature_range must be a number, got 'a'"),
        ({"mean": (0.5, "a"), "std": (0.5, 0.5)}, "mean must be a number, got 'a'"),
        ({"mean": (0.5,), "std": (None,)}, "std must be a number, got None"),
    ],
)
def test_an_option_that_is_not_a_number_raises(options, match):
    with pytest.raises(TypeError, match=match):
        ImageScaler(**options)
