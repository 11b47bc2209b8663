"""Mutants that change nothing a test could see, each with the reason: they are not planted."""

from fnmatch import fnmatchcase

EQUIVALENT = [
    # (file, text of the line, what is replaced by what, reason); the first three may be patterns with *
]


def reason_for(mutant):
    """Why a mutant is equivalent to the file as it is, or None."""
    for path, line, change, reason in EQUIVALENT:
        if fnmatchcase(mutant.path, path) and _fits(mutant.line_text, line) and _fits(mutant.change, change):
            return reason
    return None


def _fits(text, pattern):
    return text == pattern or fnmatchcase(text, pattern.replace("[", "[[]"))
