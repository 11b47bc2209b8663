"""Whether operations are recorded: `no_grad` and `enable_grad`."""

import contextlib
import threading
from types import TracebackType


class _Mode(threading.local):
    enabled = True


mode = _Mode()


class _SetGrad(contextlib.ContextDecorator):
    enabled: bool

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
    """Record nothing inside: results have `requires_grad=False`. A context manager or a decorator."""

    enabled = False


class enable_grad(_SetGrad):
    """Record again inside a `no_grad` block. A context manager or a decorator."""

    enabled = True


def is_grad_enabled() -> bool:
    """Return whether operations are being recorded."""
    return mode.enabled
