"""Values of other libraries as arrays of numbers: pandas, polars, PyTorch, JAX, Python's sequences."""

from typing import Any

import numpy


def is_array_like(data: Any) -> bool:
    """Return whether `data` is an array with a dtype of its own, or converts itself to one: a DataFrame."""
    return any(hasattr(data, name) for name in ("dtype", "__array__", "__array_interface__", "__dlpack__"))


def read(data: Any, dtype: Any = None) -> numpy.ndarray:
    """Return `data` as a NumPy array, copied only if necessary.

    Raises:
        TypeError: if NumPy cannot have it.
        ValueError: for a masked array with masked values.
    """
    check_unmasked(data)
    try:
        array = numpy.asarray(data, dtype)
    except TypeError:
        if (own := _name(data)) == "bfloat16":
            raise TypeError(_refusal(own)) from None
        raise
    if array.dtype.kind == "O" and hasattr(data, "__dlpack__"):
        array = numpy.asarray(numpy.from_dlpack(data), dtype)
    return array


def check_numbers(dtype: numpy.dtype, data: Any = None) -> None:
    """Raise TypeError unless `dtype`, that of `data`, is of bools or of real numbers with up to 64 bits."""
    if dtype.kind not in "biuf":
        raise TypeError(_of_columns(data) if hasattr(data, "columns") else _refusal(_name(data) or dtype))
    check_precision(dtype)


def check_precision(dtype: numpy.dtype) -> None:
    """Raise TypeError for floating-point numbers of more than 64 bits."""
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise TypeError(
            f"numbers of {dtype} are not supported: convert them to float64, .astype(numpy.float64)"
        )


def check_unmasked(data: Any, what: str = "the array") -> None:
    """Raise ValueError if `data` is a masked array with masked values: below the mask are any numbers."""
    if isinstance(data, numpy.ma.MaskedArray) and numpy.ma.is_masked(data):
        count = int(numpy.ma.getmaskarray(data).sum())
        raise ValueError(
            f"{what} has {count} masked values: replace them, x.filled(0), or drop their samples first"
        )


def _name(data: Any) -> str:
    """Return the dtype that `data` says it has, without the name of its library; "" if it says none."""
    return str(getattr(data, "dtype", "")).removeprefix("torch.")


def _refusal(dtype: Any) -> str:
    instead = {
        "bfloat16": ": convert them to float32 first",
        "category": ": encode them as numbers first",
        "boolean": ", and some are missing: fill them first",
    }.get(str(dtype), "")
    return f"a tensor holds real numbers or bools, got values of dtype {dtype}{instead}"


def _of_columns(frame: Any) -> str:
    """Return what to do about a DataFrame whose columns are not all numbers, or of no common dtype."""
    columns = list(zip(frame.columns, frame.dtypes, strict=True))
    bad = [(name, dtype) for name, dtype in columns if not _is_number(frame[name])]
    listed = ", ".join(f"{name!r} ({dtype})" for name, dtype in (bad or columns)[:5])
    more = "" if len(bad or columns) <= 5 else f" and {len(bad or columns) - 5} more"
    if bad:
        return (
            f"a tensor holds real numbers or bools, got a DataFrame with the columns {listed}{more}: "
            "drop or encode them first, and fill missing values"
        )
    return f"the columns {listed}{more} of a DataFrame have no common dtype: convert them, .astype('float32')"


def _is_number(column: Any) -> bool:
    return numpy.asarray(column).dtype.kind in "biuf"
