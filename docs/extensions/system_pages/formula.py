"""Formulas as the docstrings write them, r = 1/√(v + eps), as LaTeX.

`parts` splits a line where it has several spaces, and each part into formulas and prose. Only what is
understood becomes LaTeX: for anything else `NotAFormula` is raised, and the caller shows the text as it is.
A wrong formula would be worse than a plain one, so there is no guessing beyond these rules:

    a/b without spaces is a fraction of the two factors beside the slash; √ takes the next factor
    x_i, h_{t-1}, P_(k-1), x₂ and x², xᵀ, x^(1/p) are subscripts and superscripts; x̂ and x̄ keep their accents
    dx, dγ, dweight are derivatives; Σ is a sum if something to add up follows, else the letter
    f(x) without a space is a function; words of two or more letters stand upright, and in a row are prose
"""

import re
import unicodedata
from typing import Literal, NamedTuple

from .symbols import (
    ALONE,
    APPLIED,
    BAR,
    GREEK,
    HAT,
    LETTER,
    NAMES,
    OPERATORS,
    PAIRS,
    SYMBOLS,
    NotAFormula,
    derived,
    fenced,
    index,
    is_fraction,
    joins,
    starts_operand,
    symbol,
)


class Segment(NamedTuple):
    """A piece of a part: LaTeX, prose, or code, such as the shape (N, C, *S)."""

    kind: Literal["formula", "prose", "code"]
    text: str


_TOKEN = re.compile(
    rf"""\s+
    | \d+(?:\.\d+)?(?:e-?\d+)?
    | [A-Za-z]+(?:[-'][A-Za-z]+)*(?:\.[a-z]\w*)+ | [A-Za-z]{{2,}}(?:-[A-Za-z]{{2,}})+ | [A-Za-z]{{2,}}'s\b
    | d?[{LETTER}][{HAT}{BAR}]? (?![A-Za-z{HAT}{BAR}])\d?
    | (?:[A-Za-z][{HAT}{BAR}]?)+ \d?
    | [{"".join(GREEK)}]
    | _\{{[^{{}}]+\}} | _\([^()]+\) | _[A-Za-z0-9]+ | _[{"".join(GREEK)}] | [₀-₉]+ | [⁰¹²³⁴-⁹⁺⁻ᵀⁿᵖᵇ]+
    | := | ½ | [^\w\s]""",
    re.VERBOSE,
)
_MARKS = ",;:.!?–"
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿᵖᵇ", "0123456789+-npb")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_AFTER_A_LETTER = ("over", "of", "and", "is", "to", "with", "for", "in", "from", "as", "at", "by", "or")
_RELATION = re.compile(r"=|←|≤|≥|<|>|≠|∈")
_SHAPED = re.compile(r"((?:\w+[\u0302]?(?:, )?){1,3}) (\([A-Z0-9…*][^()=a-z]*\)|\(…[^()=a-z]*\))(.*)")


def parts(line: str) -> list[list[Segment]]:
    """Return the parts of a line, which several spaces separate, each as formulas and prose.

    Raises:
        NotAFormula: if a part is not understood.
    """
    return [segments(part) for part in re.split(r"\s{2,}", line.strip())]


def segments(text: str) -> list[Segment]:
    """Return formulas and prose of one part; a shape behind a name is code.

    Raises:
        NotAFormula: if it is not understood.
    """
    text = unicodedata.normalize("NFD", text.replace("...", "…")).strip()
    if shaped := _SHAPED.fullmatch(text):
        names, shape, rest = shaped.groups()
        after = _Reader(rest).read() if rest else []
        return [*_Reader(names).read(), Segment("code", shape.replace("…", "...")), *after]
    return _Reader(text).read()


def is_equation(text: str) -> bool:
    """Return whether a text says that something is equal to, or compares with, something else."""
    return bool(_RELATION.search(text))


class _Token(NamedTuple):
    text: str
    spaced: bool  # whether a space stands before it


class _Reader:
    """Reads one part from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[_Token] = []
        self._at = end = 0
        spaced = False
        for found in _TOKEN.finditer(text):
            if found.start() != end:
                break
            end = found.end()
            if not found[0].isspace():
                self._tokens.append(_Token(found[0], spaced))
            spaced = found[0].isspace()
        if end != len(text):
            raise NotAFormula(f"{text[end : end + 1]!r} in {text!r} is not part of a formula")
        self._flat = not is_equation(text)

    def read(self) -> list[Segment]:
        """Return all segments, each as long as it can be."""
        merged: list[Segment] = []
        for item in self._items(None):
            if merged and merged[-1].kind == item.kind:
                merged[-1] = Segment(item.kind, _joined(merged[-1].text, item))
            else:
                merged.append(item)
        return [Segment(kind, unicodedata.normalize("NFC", text)) for kind, text in merged]

    # What comes next.

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[self._at + ahead] if self._at + ahead < len(self._tokens) else _Token("", True)

    def _take(self) -> str:
        if self._at >= len(self._tokens):
            raise NotAFormula("something is missing at the end")
        self._at += 1
        return self._tokens[self._at - 1].text

    def _is_word(self, ahead: int = 0) -> bool:
        """Return whether the token there is prose: several letters that are not a name here."""
        (text, _), following = self._peek(ahead), self._peek(ahead + 1)
        if re.search(r"[.\-']", text) and len(text) > 1 and text[0].isalpha():
            return not text.startswith("x.")
        if text in ("a", "A") and following.spaced and re.match(r"[A-Za-z]{2}", following.text):
            return following.text not in _AFTER_A_LETTER and not derived(following.text)
        if len(text) < 2 or not text.isalpha() or not text.isascii():
            return False
        glued = following.text and not following.spaced and following.text[0] in "_([^/·|'‖ᵀ@∘*"
        if glued or derived(text):
            return False
        if NAMES.fullmatch(text):
            between_words = self._at + ahead > 0 and self._is_word(ahead - 1)
            return between_words or (following.spaced and following.text[:1].isalnum())
        return not (text in ALONE and starts_operand(following.text))

    # Sequences of items.

    def _items(self, end: str | None) -> list[Segment]:
        items: list[Segment] = []
        product = 0  # where the product begins that stands before a slash
        while self._at < len(self._tokens) and self._peek().text != end:
            token = self._peek()
            if token.text in ("True", "False", "None", '"'):
                raise NotAFormula(f"{token.text} is code")
            if self._is_word() or token.text in _MARKS:
                items.append(Segment("prose", self._take()))
                product = len(items)
            elif token.text in OPERATORS:
                items.append(Segment("formula", OPERATORS[self._take()]))
                if token.text not in "·@∘":
                    product = len(items)
            elif token.text == "(" and end is None and self._has_prose():
                items.append(Segment("prose", self._take()))
                items += self._items(")")
                self._expect(")")
                items.append(Segment("prose", ")"))
                product = len(items)
            elif token.text == "Σ" and self._is_sum():
                items.append(Segment("formula", self._sum()))
                product = len(items)
            else:
                before = items[product:]
                if self._continues(before, token):
                    items.append(Segment("formula", r"\;"))
                    product, before = len(items), []
                items[product:] = self._quotient([item.text for item in before])
        return items

    def _continues(self, before: list[Segment], token: _Token) -> bool:
        """Return whether a factor follows another one behind a space: "y (N, K)"."""
        if not before or not token.spaced or before[-1].text in OPERATORS.values():
            return False
        return not re.search(r"\\(?:\w+|operatorname\{tr\}) ?(?:_\{[^}]*\})?$", before[-1].text)

    def _has_prose(self) -> bool:
        """Return whether there is prose before the parenthesis closes."""
        depth = 0
        for ahead in range(len(self._tokens) - self._at):
            token = self._peek(ahead)
            depth += (token.text == "(") - (token.text == ")")
            if not depth:
                return False
            if self._is_word(ahead):
                return True
        raise NotAFormula("a parenthesis is not closed")

    def _inner(self, end: str) -> str:
        """Return the LaTeX of what stands before `end`, which is taken too."""
        items = self._items(end)
        self._expect(end)
        found = ""
        for k, item in enumerate(items):
            if item.kind == "formula" or item.text in _MARKS:
                found += f" {item.text}"
                continue
            before = "~" if k and items[k - 1].kind == "formula" else ""
            after = "~" if k + 1 < len(items) else ""
            found += rf"\text{{{before}{_text(item.text)}{after}}}"
        return found.strip()

    def _expect(self, text: str) -> None:
        if self._take() != text:
            raise NotAFormula(f"{text!r} is missing")

    # Factors.

    def _quotient(self, before: list[str]) -> list[Segment]:
        """Return the product of `before` and the next factor, as a fraction if a slash follows."""
        above, bare = self._factor()
        while self._peek() == ("/", False) and not self._peek(1).spaced and self._peek(1).text:
            self._take()
            if self._flat:
                above = f"{above}/{self._factor()[0]}"
                continue
            if not any("frac" in text for text in (*before, above)) and self._peek().text != "∂":
                above = " ".join([*before, bare if bare and not before else above])
                before, bare = [], ""
            below, bare_below = self._factor()
            above, bare = rf"\frac{{{bare or above}}}{{{bare_below or below}}}", ""
        return [Segment("formula", text) for text in (*before, above)]

    def _factor(self) -> tuple[str, str]:
        """Return the next factor; and what is in its parentheses, if these are all of it."""
        text = self._take()
        if text == "√":
            sums = ""
            while self._peek().text == "Σ" and self._is_sum():
                sums += f"{self._sum()} "
            inner, bare = self._factor()
            return rf"\sqrt{{{sums}{bare or inner}}}", ""
        if text == "∂":
            return rf"\partial {self._factor()[0]}", ""
        if text == "-":
            return f"-{self._factor()[0]}", ""
        if text == "Σ" and self._peek() == ("(", False):
            return self._sum_of_parentheses()
        if text == "Σ":
            return self._with_scripts(r"\Sigma"), ""
        if text in PAIRS:
            inner = self._inner(PAIRS[text])
            alone = fenced(text, inner)
            whole = self._with_scripts(alone)
            if whole == alone and text == "(":
                return (inner, inner) if is_fraction(inner) else (whole, inner)
            return whole, ""
        if re.match(r"\d", text):
            return self._with_scripts(text.replace("e-", r"\mathrm{e}{-}")), ""
        if text in SYMBOLS:
            return self._with_scripts(SYMBOLS[text]), ""
        if text[0].isalpha():
            return self._named(text), ""
        raise NotAFormula(f"{text!r} is not part of a formula")

    def _named(self, text: str) -> str:
        base = text.rstrip("0123456789")
        digits = text[len(base) :]
        lower = self._peek()
        if joins(base, lower.text):
            while re.match(r"_[A-Za-z]", self._peek().text):
                base += rf"\{self._take()}"
            found = rf"\mathrm{{{base}}}"
        else:
            found = symbol(base)
            if base in GREEK and re.fullmatch(r"[a-z]", lower.text) and not lower.spaced:
                digits = self._take()
        known = self._scripts(digits)
        found += known
        following = self._peek()
        if following.text in ("(", "[") and not following.spaced:
            opening = self._take()
            found = self._with_scripts(f"{found}{fenced(opening, self._inner(PAIRS[opening]))}")
        elif base in APPLIED and following.text in ("|", "‖"):
            opening = self._take()
            found = f"{found}{fenced(opening, self._inner(PAIRS[opening]))}"
        return found

    def _is_sum(self) -> bool:
        """Return whether the Σ that is next adds up what follows: else it is a letter, or has parentheses."""
        lower, after = self._peek(1), self._peek(2)
        if lower == ("(", False):
            return False
        following = (
            2 if lower.text.startswith("_") or (not lower.spaced and self._is_index(lower, after)) else 1
        )
        return starts_operand(self._peek(following).text) or self._is_word(following)

    @staticmethod
    def _is_index(lower: _Token, after: _Token) -> bool:
        return lower.text.isalpha() and after.spaced and starts_operand(after.text)

    def _sum(self) -> str:
        self._take()
        lower = self._peek()
        if lower.text.startswith("_"):
            return rf"\sum_{{{index(self._take()[1:])}}}"
        if not lower.spaced and self._is_index(lower, self._peek(1)):
            return rf"\sum_{{{index(self._take())}}}"
        return r"\sum"

    def _sum_of_parentheses(self) -> tuple[str, str]:
        """Return Σ(a·b) as a sum in parentheses; but Σ(a - b)² as a sum of squares."""
        self._take()
        inner = self._inner(")")
        raised = self._scripts()
        if raised:
            found = rf"\sum {fenced('(', inner)}{raised}"
            return found, ""
        return rf"\left( \sum {inner} \right)", rf"\sum {inner}"

    def _with_scripts(self, base: str) -> str:
        return base + self._scripts()

    def _scripts(self, below: str = "") -> str:
        lower, upper = [below] if below else [], ""
        while True:
            token = self._peek()
            if token.spaced:
                break
            if token.text.startswith("_"):
                lower.append(index(self._take()[1:].strip("{}()")))
            elif re.match(r"[₀-₉]", token.text):
                lower.append(self._take().translate(_LOWERED))
            elif re.match(r"[⁰¹²³⁴-⁹⁺⁻ᵀⁿᵖᵇ]", token.text):
                raised = self._take().translate(_RAISED)
                upper += raised.replace("ᵀ", r"\mathsf{T}")
            elif token.text == "'":
                self._take()
                upper += r"\prime "
            elif token.text == "^":
                self._take()
                upper += self._exponent()
            else:
                break
        lowered = f"_{{{','.join(lower)}}}" if lower else ""
        return lowered + (f"^{{{upper}}}" if upper else "")

    def _exponent(self) -> str:
        sign = self._take() if self._peek().text == "-" else ""
        flat, self._flat = self._flat, True
        whole, inner = self._factor()
        self._flat = flat
        return sign + (inner or whole).replace(r"\tfrac12", "1/2")


def _text(words: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9 .,;:()'\-]*", words):
        raise NotAFormula(f"{words!r} is not plain prose")
    return words


def _joined(before: str, item: Segment) -> str:
    needs_space = item.kind == "formula" or not (item.text[0] in ",;:.)!?" or before.endswith("("))
    return f"{before}{' ' if needs_space else ''}{item.text}"
