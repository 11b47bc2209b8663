"""What the doctor found, and the verdict as text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A mistake: the gradients that it makes wrong, what it is, both formulas, and the first wrong entry.

    `line` is the line of the derivation, "" if no known mistake fits; a formula that is "" is not shown;
    `others` are mistakes that give the same numbers here.
    """

    gradients: tuple[str, ...]
    what: str
    line: str = ""
    wrong: str = ""
    right: str = ""
    first: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{', '.join(self.gradients)}: {self.what}" if self.gradients else self.what]
        if self.line:
            lines += [f"  line    {self.line}", f"  yours   {self.wrong}"]
            lines += [f"  right   {self.right}"] if self.right else []
        if self.first:
            lines.append(f"  first wrong entry: {self.first}")
        lines += [f"  or: {other}" for other in self.others]
        return "\n".join(lines)


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found; `str` of it is the verdict.

    `passed` is what finite differences say. `like` is the registered op that forward computes, or "".
    `unchecked` are the arrays without a gradient to check, each with the reason.
    `doubtful` if what is wrong is so small that rounding in forward may be the reason.
    """

    name: str
    like: str
    passed: bool
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    checked: str
    unchecked: tuple[str, ...] = ()
    doubtful: bool = False

    @property
    def failed(self) -> bool:
        """Whether there was nothing to compare: backward raised, or its result cannot be a gradient."""
        return any(not finding.gradients for finding in self.findings)

    def __str__(self) -> str:
        like = f" (computes {self.like})" if self.like else ""
        wrong = "the check failed" if self.failed else "the backward is wrong"
        verdict = "the backward is right" if self.passed else wrong
        lines = [f"{self.name}{like}: {verdict}", f"  checked with {self.checked}"]
        lines += [f"  not checked: {', '.join(self.unchecked)}"] if self.unchecked else []
        for finding in self.findings:
            lines += ["", str(finding)]
        lines += ["", *(f"warning: {text}" for text in self.warnings)] if self.warnings else []
        return "\n".join(lines)
