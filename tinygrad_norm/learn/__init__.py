"""Learning tools: explanations with numbers, a doctor for backwards, pictures, watched training, tables."""

from ..gradient_check import registered as check  # its earlier name, which other code may import
from .doctor.diagnosis import diagnose
from .doctor.findings import Diagnosis
from .draw import Drawing, draw_model
from .explanation import Explanation, explain
from .poolpicture import pool_picture
from .watching import Watched, watch

__all__ = [
    "Diagnosis",
    "Drawing",
    "Explanation",
    "Watched",
    "check",
    "diagnose",
    "draw_model",
    "explain",
    "pool_picture",
    "watch",
]
