"""The package mpmath, which numbers of many digits need: the extra `exact`."""

try:
    import mpmath
except ImportError:
    raise RuntimeError(
        "numbers of many digits need the package mpmath: pip install 'tinygrad_norm[exact]'"
    ) from None

__all__ = ["mpmath"]
