"""Learning tools: explanations with numbers, a doctor for backwards, pictures, tables of systems."""

from ..gradient_check import registered as check  # its earlier name, which other code may import
from .doctor.diagnosis import Diagnosis, diagnose
from .draw import Drawing, draw_model
from .explanation import Explanation, explain

__all__ = ["Diagnosis", "Drawing", "Explanation", "check", "diagnose", "draw_model", "explain"]
