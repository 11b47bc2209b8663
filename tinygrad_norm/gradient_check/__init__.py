"""Gradient checking."""

from .check import gradcheck
from .error import GradcheckError
