"""What a drawing's DOT text says: its nodes, their labels, its edges."""

import re

NODE = re.compile(r"^\t+(\w+) \[label=(.*)\]$", re.MULTILINE)
EDGE = re.compile(r"^\t+(\w+) -> (\w+)(?! \[style=invis\])(?: \[.*\])?$", re.MULTILINE)


def text_of(drawing):
    """Its DOT text with single spaces."""
    return re.sub("(?:&#160;| )+", " ", drawing.dot)


def nodes(drawing):
    return dict(NODE.findall(text_of(drawing)))


def edges(drawing):
    return sorted(EDGE.findall(drawing.dot))


def tensor_nodes(drawing):
    return {key: label for key, label in nodes(drawing).items() if "data: " in label}
