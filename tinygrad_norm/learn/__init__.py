"""Learning tools: explanations with numbers, pictures of computations, and the README's table of systems."""

from ..gradient_check import registered as check  # its earlier name, which other code may import
from .explanation import Explanation, explain

__all__ = ["Explanation", "check", "explain"]
