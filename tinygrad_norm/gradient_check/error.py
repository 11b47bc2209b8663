"""What gradcheck raises."""


class GradcheckError(RuntimeError):
    """A backward that is not the derivative of its forward; the message says where and by how much."""
