"""Whether operations are recorded: `no_grad` and `enable_grad`."""

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any


class _Mode(threading.local):
    enabled = True


mode = _Mode()


class _SetGrad(contextlib.ContextDecorator):
    enabled: bool

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """Return `function` decorated: `@no_grad` is `@no_grad()`."""
        if function is None:
            return super().__new__(cls)
        if not callable(function):
            raise TypeError(f"{cls.__name__} decorates a function or stands in `with`, got {function!r}")
        return cls()(function)

    def __init__(self) -> None:
        self.previous: list[bool] = []  # a stack: one instance may decorate a recursive function

    def __enter__(self) -> None:
        self.previous.append(mode.enabled)
        mode.enabled = self.enabled

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mode.enabled = self.previous.pop()


class no_grad(_SetGrad):
    """Record nothing inside: results have `requires_grad=False`.

    A context manager, `with no_grad():`, or a decorator, `@no_grad` or `@no_grad()`.
    """

    enabled = False


class enable_grad(_SetGrad):
    """Record again inside a `no_grad` block. A context manager or a decorator, like `no_grad`."""

    enabled = True


def is_grad_enabled() -> bool:
    """Return whether operations are being recorded."""
    return mode.enabled
