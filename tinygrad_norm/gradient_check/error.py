"""The error that gradcheck raises."""


class GradcheckError(RuntimeError):
    """A backward is not the derivative of its forward; the message says where and by how much."""
