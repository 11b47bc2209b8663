"""Whether operations are recorded: `no_grad`, `enable_grad` and `set_grad_enabled`."""

import contextlib
import functools
import inspect
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
            raise TypeError(f"{cls.__name__} takes a function to decorate, or nothing: got {function!r}")
        return cls()(function)

    def __call__(self, function: Any) -> Any:
        """Return `function` decorated.

        Raises:
            TypeError: if it is a generator function, which runs after the decorator has returned.
        """
        if inspect.isgeneratorfunction(function):
            mode = type(self).__name__
            raise TypeError(
                f"{mode} cannot decorate {function.__qualname__}, a generator function: "
                f"write `with {mode}():` inside of it"
            )
        return super().__call__(function)

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


class inference_mode(_SetGrad):
    """Record nothing inside, as `no_grad`; with `mode=False`, record.

    A context manager or a decorator, with or without parentheses. Unlike PyTorch's, the results may be used
    in a recorded computation afterwards, as constants.

    Raises:
        TypeError: unless it is given a bool, a function to decorate, or nothing.
    """

    def __new__(cls, mode: Any = True) -> Any:
        """Return `mode` decorated if it is a function."""
        return super().__new__(cls, None if isinstance(mode, bool) else mode)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.enabled = not mode


class set_grad_enabled:
    """Record from now on, or record nothing: takes effect at once.

    As a context manager or a decorator it also restores the previous state.

    Raises:
        TypeError: unless mode is a bool.
    """

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"set_grad_enabled takes True or False, got {mode!r}")
        self.enabled, self.previous = mode, is_grad_enabled()
        _enable(mode)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` decorated; the mode outside of it stays as it was."""
        _enable(self.previous)

        @functools.wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            with set_grad_enabled(self.enabled):
                return function(*arguments, **options)

        return called

    def __enter__(self) -> None:
        _enable(self.enabled)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _enable(self.previous)


def _enable(enabled: bool) -> None:
    mode.enabled = enabled


def is_grad_enabled() -> bool:
    """Return whether operations are being recorded."""
    return mode.enabled
