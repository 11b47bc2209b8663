"""MinMaxScaler and StandardScaler: formulas, constant features, extremes, streaming, errors."""

from fractions import Fraction

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_norm.autograd import Tensor
from tinygrad_norm.data import (
    GlobalContrastScaler,
    ImageScaler,
    LocalContrastScaler,
    MinMaxScaler,
    StandardScaler,
)
from tinygrad_norm.data import scaler as scaler_module

deterministic = settings(derandomize=True, deadline=None, database=None, max_examples=150)
SCALERS = [MinMaxScaler(), MinMaxScaler((-1, 1)), MinMaxScaler((0.3, 7)), StandardScaler()]
TYPES = {numpy.float16: 2e-3, numpy.float32: 1e-6, numpy.float64: 1e-14}


def matrices(dtype=numpy.float64, limit=None):
    if limit is None:
        limit = float(numpy.finfo(dtype).max)
    numbers = st.floats(-limit, limit, width=numpy.dtype(dtype).itemsize * 8)
    return hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=numbers)


def without_subnormals(x):
    """Replace tiny numbers by 0, so that differences keep the full precision of float64."""
    return numpy.where(numpy.abs(x) < 1e-290, 0, x)


@pytest.fixture
def x():
    return numpy.random.default_rng(0).normal(5, 3, (50, 4))


@pytest.mark.parametrize(("a", "b"), [(0, 1), (-1, 1), (-2.5, 10)])
def test_min_max_is_its_formula(x, a, b):
    y = MinMaxScaler((a, b)).fit_transform(x)
    low, high = x.min(0), x.max(0)
    assert numpy.allclose(y, a + (x - low) * (b - a) / (high - low), rtol=0, atol=1e-13)
    assert (y.min(0) == a).all()
    assert (y.max(0) == b).all()


def test_min_max_maps_new_data_beyond_the_range():
    scaler = MinMaxScaler().fit([[0.0], [10.0]])
    assert scaler.transform([[20.0], [-5.0]]).tolist() == [[2.0], [-0.5]]


def test_standardization_is_its_formula_with_ddof_0(x):
    scaler = StandardScaler()
    y = scaler.fit_transform(x)
    assert numpy.allclose(y, (x - x.mean(0)) / x.std(0, ddof=0), rtol=0, atol=1e-13)
    assert numpy.allclose(scaler.mean_, x.mean(0), rtol=1e-15)
    assert numpy.allclose(scaler.std_, x.std(0), rtol=1e-15)


def test_statistics_come_from_the_training_data_alone(x):
    train, test = x[:30], x[30:] + 100
    for scaler in (MinMaxScaler(), StandardScaler()):
        scaler.fit(train)
        before = scaler.transform(train)
        scaler.transform(test)
        assert (scaler.transform(train) == before).all()


def test_agrees_with_scikit_learn(x):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x[:, 2] = 7.0
    for ours, theirs in (
        (MinMaxScaler((-1, 3)), preprocessing.MinMaxScaler((-1, 3))),
        (StandardScaler(), preprocessing.StandardScaler()),
    ):
        train, test = x[:30], x[30:]
        expected = theirs.fit(train)
        assert numpy.allclose(ours.fit(train).transform(test), expected.transform(test), rtol=0, atol=1e-12)
        y = numpy.random.default_rng(1).normal(size=(5, 4))
        assert numpy.allclose(ours.inverse_transform(y), expected.inverse_transform(y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e8 / 3, 1e300, 5e-324])
def test_a_constant_feature_has_divisor_1(value):
    x = numpy.full((7, 1), value)
    assert (MinMaxScaler((2, 5)).fit_transform(x) == 2).all()
    assert (StandardScaler().fit_transform(x) == 0).all()
    assert StandardScaler().fit(numpy.full((7, 1), 4.0)).transform([[6.5]]) == 2.5
    assert MinMaxScaler((2, 5)).fit(numpy.full((7, 1), 4.0)).transform([[4.5]]) == 3.5


@pytest.mark.parametrize("value", [0.1, 1 / 3, -1e8 / 3])
def test_a_constant_feature_stays_constant_over_many_blocks(value, monkeypatch):
    monkeypatch.setattr(scaler_module, "BLOCK", 8)
    scaler = StandardScaler().fit(numpy.full((1001, 2), value))
    assert (scaler.std_ == 0).all()
    assert (scaler.mean_ == value).all()


def test_variance_is_exact_where_the_mean_is_large():
    x = (1e9 + numpy.random.default_rng(0).integers(0, 9, (1000, 1))).astype(numpy.float64)
    exact = [Fraction(int(v)) for v in x[:, 0]]
    mean = sum(exact) / len(exact)
    var = sum((v - mean) ** 2 for v in exact) / len(exact)
    assert StandardScaler().fit(x).std_[0] ** 2 == pytest.approx(float(var), rel=1e-13)


@pytest.mark.parametrize("sizes", [[50], [1, 49], [20, 1, 29], [1] * 50])
def test_learning_part_by_part_is_learning_at_once(x, sizes):
    x[:, 1] += 1e6
    parts = numpy.split(x, numpy.cumsum(sizes)[:-1])
    standard, min_max = StandardScaler(), MinMaxScaler()
    for part in parts:
        standard.partial_fit(part)
        min_max.partial_fit(part)
    assert standard.n_samples_seen_ == 50
    assert numpy.allclose(standard.mean_, x.mean(0), rtol=1e-14)
    assert numpy.allclose(standard.std_, x.std(0), rtol=1e-9)
    assert (min_max.data_min_ == x.min(0)).all()
    assert (min_max.data_max_ == x.max(0)).all()


def test_blocks_change_no_result(x, monkeypatch):
    whole = StandardScaler().fit_transform(x)
    monkeypatch.setattr(scaler_module, "BLOCK", 12)
    assert numpy.allclose(StandardScaler().fit_transform(x), whole, rtol=0, atol=1e-13)


def test_fit_forgets_what_was_learned_before(x):
    for scaler in (MinMaxScaler(), StandardScaler()):
        again = scaler.fit(x * 100 + 7).fit(x[:, :2]).transform(x[:, :2])
        assert (again == type(scaler)().fit_transform(x[:, :2])).all()


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("dtype", TYPES)
def test_floating_types_stay_and_integers_become_float32(scaler, dtype):
    x = numpy.random.default_rng(0).integers(0, 200, (9, 3))
    y = scaler.fit_transform(x.astype(dtype))
    assert y.dtype == dtype
    assert scaler.inverse_transform(y).dtype == dtype
    assert numpy.allclose(scaler.inverse_transform(y), x, rtol=TYPES[dtype], atol=200 * TYPES[dtype])
    for integers in (x, x.astype(numpy.uint8), x > 100):
        assert scaler.fit_transform(integers).dtype == numpy.float32


def test_images_are_scaled_per_pixel():
    x = numpy.random.default_rng(0).normal(size=(20, 2, 3, 4)).astype(numpy.float32)
    y = StandardScaler().fit_transform(x)
    assert y.shape == x.shape
    assert numpy.allclose(y.mean(0), 0, atol=1e-6)
    assert numpy.allclose(y.std(0), 1, atol=1e-6)


def test_the_input_is_left_alone(x):
    copy = x.copy()
    for scaler in SCALERS:
        scaler.inverse_transform(scaler.fit_transform(x))
    assert (x == copy).all()


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda s: type(s).__name__)
def test_no_samples_give_no_samples(scaler, x):
    assert scaler.fit(x).transform(x[:0]).shape == (0, 4)


@deterministic
@given(x=matrices(limit=1e6), scaler=st.sampled_from(SCALERS))
def test_inverse_transform_undoes_transform(x, scaler):
    back = scaler.inverse_transform(scaler.fit_transform(x))
    assert numpy.allclose(back, x, rtol=0, atol=1e-14 * max(1, numpy.abs(x).max()) * 10)


@deterministic
@given(x=matrices().map(without_subnormals), a=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3))
def test_min_max_stays_in_its_range(x, a, width):
    b = a + width
    y = MinMaxScaler((a, b)).fit_transform(x)
    slack = 1e-15 * max(abs(a), abs(b))
    assert (y >= a - slack).all()
    assert (y <= b + slack).all()
    varies = x.max(0) > x.min(0)
    assert (y.max(0)[varies] == b).all()


@deterministic
@given(x=matrices().map(without_subnormals))
def test_standardized_data_has_mean_0_and_std_1_whatever_its_size(x):
    y = StandardScaler().fit_transform(x)
    spread = x.max(0) / 2 - x.min(0) / 2 > 1e-10 * numpy.abs(x).max(0)
    assert numpy.allclose(y.mean(0)[spread], 0, atol=1e-4)
    assert numpy.allclose(y.std(0)[spread], 1, atol=1e-4)


@deterministic
@given(x=matrices() | matrices(numpy.float32), scaler=st.sampled_from(SCALERS))
def test_any_finite_data_gives_finite_numbers(x, scaler):
    assert numpy.isfinite(scaler.fit_transform(x)).all()


@pytest.mark.parametrize("factor", [1e-300, 1e-150, 1e150, 1e300])
def test_scale_makes_no_difference(x, factor):
    for scaler in SCALERS:
        expected = scaler.fit_transform(x)
        assert numpy.allclose(scaler.fit_transform(x * factor), expected, rtol=0, atol=1e-12)
        assert numpy.allclose(scaler.inverse_transform(expected), x * factor, rtol=1e-12, atol=0)


def test_a_range_no_float64_can_hold_is_scaled_too():
    largest = numpy.finfo(numpy.float64).max
    x = numpy.array([[-largest], [0], [largest]])
    for scaler, end in ((MinMaxScaler((-1, 1)), 1), (StandardScaler(), 1.5**0.5)):
        y = scaler.fit_transform(x)
        assert y.ravel().tolist() == pytest.approx([-end, 0, end], rel=1e-15)
        assert numpy.allclose(scaler.inverse_transform(0.9 * y), 0.9 * x, rtol=1e-15)


def test_no_step_on_the_way_back_overflows():
    largest = numpy.finfo(numpy.float64).max
    x = numpy.array([[largest]] * 9 + [[-largest]])
    for scaler in (MinMaxScaler(), StandardScaler()):
        y = scaler.fit_transform(x)
        assert numpy.allclose(scaler.inverse_transform(y * (1 - 1e-12)), x, rtol=1e-11)


@pytest.mark.parametrize("method", ["transform", "inverse_transform"])
@pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler])
def test_before_fit_it_says_to_fit(scaler, method):
    with pytest.raises(RuntimeError, match=f"{scaler.__name__} is not fitted: call fit"):
        getattr(scaler(), method)(numpy.ones((2, 3)))


@pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler])
def test_other_features_than_fitted_raise(scaler, x):
    fitted = scaler().fit(x)
    for call in (fitted.transform, fitted.inverse_transform, fitted.partial_fit):
        with pytest.raises(ValueError, match=r"fitted on data of shape \(N, 4\), got \(50, 3\)"):
            call(x[:, :3])
    with pytest.raises(ValueError, match=r"got \(4,\)"):
        fitted.transform(x[0])
    with pytest.raises(ValueError, match=r"got \(\)"):
        fitted.transform(1.0)


def test_a_failed_fit_leaves_the_scaler_as_it_was(x):
    scaler = StandardScaler().fit(x)
    expected = scaler.transform(x)
    with pytest.raises(ValueError):
        scaler.fit(numpy.full((2, 9), numpy.nan))
    assert (scaler.transform(x) == expected).all()


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        (numpy.ones(5), ValueError, r"shape \(5,\).*reshape\(-1, 1\)"),
        (numpy.ones((0, 3)), ValueError, r"without samples.*\(0, 3\)"),
        (numpy.ones((3, 0)), ValueError, r"without features.*\(3, 0\)"),
        ([[1.0, 2.0], [numpy.nan, 0.0]], ValueError, r"nan at index \(1, 0\)"),
        ([[1.0, numpy.inf]], ValueError, r"inf at index \(0, 1\)"),
        (numpy.ones((2, 2), complex), TypeError, "complex128"),
        ([["a", "b"]], TypeError, "got <U1"),
        (numpy.ones((2, 2), numpy.longdouble), TypeError, "float16, float32, float64"),
    ],
    ids=["1-d", "no samples", "no features", "nan", "inf", "complex", "text", "long double"],
)
@pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler])
def test_invalid_training_data_raise(scaler, data, error, match):
    with pytest.raises(error, match=match):
        scaler().fit(data)


def test_nan_raises_after_fit_too(x):
    x_bad = x.copy()
    x_bad[3, 1] = numpy.nan
    with pytest.raises(ValueError, match=r"nan at index \(3, 1\)"):
        StandardScaler().fit(x).transform(x_bad)


def test_a_result_too_large_for_its_type_raises():
    scaler = MinMaxScaler().fit([[0.0], [1e-300]])
    with pytest.raises(ValueError, match="do not fit float64"):
        scaler.transform([[1e300]])
    with pytest.raises(ValueError, match="do not fit float16"):
        scaler.fit([[0.0], [1e-6]]).transform(numpy.array([[1.0]], numpy.float16))


@pytest.mark.parametrize(
    "feature_range", [(1, 0), (1, 1), (0, numpy.inf), (numpy.nan, 1), 1, "ab", None, (0,), (0, 1, 2)]
)
def test_a_range_must_ascend(feature_range):
    with pytest.raises(ValueError, match="a < b"):
        MinMaxScaler(feature_range)


@pytest.mark.parametrize("feature_range", [(0, "a"), (None, 1), ([0], [1])])
def test_limits_that_are_not_numbers_raise(feature_range):
    with pytest.raises((TypeError, ValueError), match="feature_range must be"):
        MinMaxScaler(feature_range)


@pytest.mark.parametrize(
    "scaler",
    [*SCALERS, ImageScaler(), GlobalContrastScaler(), LocalContrastScaler()],
    ids=lambda scaler: type(scaler).__name__,
)
def test_a_tensor_counts_as_an_array_unless_it_requires_grad(scaler):
    x = numpy.random.default_rng(0).integers(0, 255, (5, 1, 4, 4)).astype(numpy.float32)
    numpy.testing.assert_array_equal(scaler.fit_transform(Tensor(x)), scaler.fit_transform(x))
    for call in (scaler.fit_transform, scaler.transform):
        with pytest.raises(TypeError, match=r"a Tensor that requires grad.*pass x\.detach\(\)"):
            call(Tensor(x, requires_grad=True))
