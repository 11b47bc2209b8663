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


class NotAFormula(ValueError):
    """A text that is not understood as a formula."""


class Segment(NamedTuple):
    """A piece of a part: LaTeX, prose, or code, such as the shape (N, C, *S)."""

    kind: Literal["formula", "prose", "code"]
    text: str


_LETTERS = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ"
_GREEK = {c: unicodedata.name(c).split()[-1].lower().replace("lamda", "lambda") for c in _LETTERS}
_GREEK |= {c: _GREEK[c].capitalize() for c in _LETTERS if c.isupper()} | {"φ": "varphi"}
_LETTER = "A-Za-z" + "".join(_GREEK)
_HAT, _BAR = "\u0302", "\u0304"
_TOKEN = re.compile(
    rf"""\s+
    | \d+(?:\.\d+)?(?:e-?\d+)?
    | [A-Za-z]+(?:[-'][A-Za-z]+)*(?:\.[a-z]\w*)+ | [A-Za-z]{{2,}}(?:-[A-Za-z]{{2,}})+ | [A-Za-z]{{2,}}'s\b
    | d?[{_LETTER}][{_HAT}{_BAR}]? (?![A-Za-z{_HAT}{_BAR}])\d?
    | (?:[A-Za-z][{_HAT}{_BAR}]?)+ \d?
    | [{"".join(_GREEK)}]
    | _\{{[^{{}}]+\}} | _\([^()]+\) | _[A-Za-z0-9]+ | _[{"".join(_GREEK)}] | [₀-₉]+ | [⁰¹²³⁴-⁹⁺⁻ᵀⁿᵖᵇ]+
    | := | ½ | [^\w\s]""",
    re.VERBOSE,
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿᵖᵇ", "0123456789+-npb")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_OPERATORS = {
    "·": r"\cdot", "×": r"\times", "∘": r"\circ", "⊗": r"\otimes", "@": r"\,", "+": "+", "-": "-", "−": "-",
    "±": r"\pm", "=": "=", ":=": r"\mathrel{:=}", "←": r"\leftarrow", "→": r"\to", "<": "<", ">": ">",
    "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "∈": r"\in", "/": "/",
}  # fmt: skip
_SYMBOLS = {"∞": r"\infty", "…": r"\ldots", "½": r"\tfrac12"}
_MARKS = ",;:.!?–"
_PAIRS = {"(": ")", "[": "]", "⟨": "⟩", "‖": "‖", "|": "|"}
_FENCES = {
    "(": "(", ")": ")", "[": "[", "]": "]", "⟨": r"\langle", "⟩": r"\rangle",
    "‖": (r"\lVert", r"\rVert"), "|": (r"\lvert", r"\rvert"),
}  # fmt: skip
_FUNCTIONS = ("exp", "ln", "log", "max", "min", "tanh", "sin", "cos", "det")
_ALONE = (*_FUNCTIONS, "tr")  # which may do without parentheses
_APPLIED = (*_ALONE, "mean", "erf", "sign", "sym", "clip", "softmax", "silu", "log1p", "expm1")
_INDEXED = (*_APPLIED, "weight", "bias", "index", "std", "conv")
_NAMES = re.compile(
    "eps|momentum|prior|scale|shift|mask|kept|weight|bias|size|rmax|dmax|query|key|value|rnorm|ones|alpha|beta"
    "|logdet|index"
)
_DERIVED = ("weight", "bias", "scale", "shift", "logdet", "mask", "query", "key")
_AFTER_A_LETTER = ("over", "of", "and", "is", "to", "with", "for", "in", "from", "as", "at", "by", "or")
_RELATION = re.compile(r"=|←|≤|≥|<|>|≠|∈")
_UPRIGHT = re.compile(r"[A-Z]{2,}|[a-z]{5,}|rows|enc|dec|max|min|ih|hh|hr|qk")
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
            return following.text not in _AFTER_A_LETTER and not _derivative(following.text)
        if len(text) < 2 or not text.isalpha() or not text.isascii():
            return False
        glued = following.text and not following.spaced and following.text[0] in "_([^/·|'‖ᵀ@∘*"
        if glued or _derivative(text):
            return False
        if _NAMES.fullmatch(text):
            between_words = self._at + ahead > 0 and self._is_word(ahead - 1)
            return between_words or (following.spaced and following.text[:1].isalnum())
        return not (text in _ALONE and _starts_operand(following.text))

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
            elif token.text in _OPERATORS:
                items.append(Segment("formula", _OPERATORS[self._take()]))
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
        if not before or not token.spaced or before[-1].text in _OPERATORS.values():
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
        if text in _PAIRS:
            inner = self._inner(_PAIRS[text])
            fenced = _fenced(text, inner)
            whole = self._with_scripts(fenced)
            if whole == fenced and text == "(":
                return (inner, inner) if _is_fraction(inner) else (whole, inner)
            return whole, ""
        if re.match(r"\d", text):
            return self._with_scripts(text.replace("e-", r"\mathrm{e}{-}")), ""
        if text in _SYMBOLS:
            return self._with_scripts(_SYMBOLS[text]), ""
        if text[0].isalpha():
            return self._named(text), ""
        raise NotAFormula(f"{text!r} is not part of a formula")

    def _named(self, text: str) -> str:
        base = text.rstrip("0123456789")
        digits = text[len(base) :]
        lower = self._peek()
        if _joins(base, lower.text):
            while re.match(r"_[A-Za-z]", self._peek().text):
                base += rf"\{self._take()}"
            found = rf"\mathrm{{{base}}}"
        else:
            found = _symbol(base)
            if base in _GREEK and re.fullmatch(r"[a-z]", lower.text) and not lower.spaced:
                digits = self._take()
        known = self._scripts(digits)
        found += known
        following = self._peek()
        if following.text in ("(", "[") and not following.spaced:
            opening = self._take()
            found = self._with_scripts(f"{found}{_fenced(opening, self._inner(_PAIRS[opening]))}")
        elif base in _APPLIED and following.text in ("|", "‖"):
            opening = self._take()
            found = f"{found}{_fenced(opening, self._inner(_PAIRS[opening]))}"
        return found

    def _is_sum(self) -> bool:
        """Return whether the Σ that is next adds up what follows: else it is a letter, or has parentheses."""
        lower, after = self._peek(1), self._peek(2)
        if lower == ("(", False):
            return False
        following = (
            2 if lower.text.startswith("_") or (not lower.spaced and self._is_index(lower, after)) else 1
        )
        return _starts_operand(self._peek(following).text) or self._is_word(following)

    @staticmethod
    def _is_index(lower: _Token, after: _Token) -> bool:
        return lower.text.isalpha() and after.spaced and _starts_operand(after.text)

    def _sum(self) -> str:
        self._take()
        lower = self._peek()
        if lower.text.startswith("_"):
            return rf"\sum_{{{_index(self._take()[1:])}}}"
        if not lower.spaced and self._is_index(lower, self._peek(1)):
            return rf"\sum_{{{_index(self._take())}}}"
        return r"\sum"

    def _sum_of_parentheses(self) -> tuple[str, str]:
        """Return Σ(a·b) as a sum in parentheses; but Σ(a - b)² as a sum of squares."""
        self._take()
        inner = self._inner(")")
        raised = self._scripts()
        if raised:
            found = rf"\sum {_fenced('(', inner)}{raised}"
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
                lower.append(_index(self._take()[1:].strip("{}()")))
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


def _starts_operand(text: str) -> bool:
    """Return whether something to add up, or to take a function of, begins with this token."""
    if not text:
        return False
    is_word = len(text) > 1 and text.isascii() and text.isalpha()
    if is_word:
        return _derivative(text) != "" or _NAMES.fullmatch(text) or text in _APPLIED
    return text[0].isalnum() or text[0] in "(√|‖∂"


def _joins(base: str, lower: str) -> bool:
    """Return whether base and subscript are one name, as in mean_range; not weight_fck, which is indexed."""
    if len(base) < 2 or not base.isalpha() or not re.fullmatch(r"_[A-Za-z]{2,}", lower):
        return False
    return len(lower) > 4 or not (_derivative(base) or base in _INDEXED)


def _derivative(text: str) -> str:
    """Return of what `text` is the derivative: x of dx, weight of dweight; else nothing."""
    rest = text[1:].rstrip("0123456789")
    if not text.startswith("d") or not rest or text in ("do", "dB"):
        return "o" if text == "do" else ""
    letters = rest.replace(_HAT, "").replace(_BAR, "")
    return rest if len(letters) == 1 or rest in _DERIVED else ""


def _symbol(text: str) -> str:
    """Return the LaTeX of a name without its subscripts."""
    if text.startswith("d" + _BAR):
        return rf"\overline{{\mathrm{{d}}{_symbol(text[2:])}}}"
    if rest := _derivative(text):
        return rf"\mathrm{{d}}{_symbol(rest)}"
    for mark, command in ((_HAT, "hat"), (_BAR, "bar")):
        if text.endswith(mark) and len(text) == 2:
            return rf"\{command}{{{_symbol(text[0])}}}"
    if text in _GREEK:
        return rf"\{_GREEK[text]} "
    if text in ("alpha", "beta"):
        return rf"\{text} "
    if text in _FUNCTIONS:
        return rf"\{text} "
    if text in _APPLIED:
        return rf"\operatorname{{{text}}}"
    if not re.fullmatch(r"[A-Za-z.]+", text):
        raise NotAFormula(f"{text!r} is not a name")
    return text if len(text) == 1 else rf"\mathrm{{{text}}}"


def _index(text: str) -> str:
    """Return the LaTeX of a subscript: letters that count, or a word."""
    text = text.strip("{}()")
    if text in _GREEK:
        return rf"\{_GREEK[text]} "
    if _UPRIGHT.fullmatch(text):
        return rf"\mathrm{{{text}}}"
    if not re.fullmatch(r"[A-Za-z0-9 +\-,]+", text):
        raise NotAFormula(f"{text!r} is not a subscript")
    return text


def _fenced(opening: str, inner: str) -> str:
    left, right = _FENCES[opening], _FENCES[_PAIRS[opening]]
    if isinstance(left, tuple):
        left, right = left[0], _FENCES[opening][1]
    if re.search(r"\\frac|\\sqrt|\\sum", inner):
        return rf"\left{left} {inner} \right{right}"
    return f"{left} {inner} {right}" if left.startswith("\\") else f"{left}{inner}{right}"


def _is_fraction(latex: str) -> bool:
    """Return whether LaTeX is one fraction and nothing else, which needs no parentheses in a product."""
    depth = groups = 0
    for c in latex.removeprefix(r"\frac"):
        depth += (c == "{") - (c == "}")
        groups += c == "}" and depth == 0
        if depth == 0 and c != "}":
            return False
    return latex.startswith(r"\frac") and groups == 2


def _text(words: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9 .,;:()'\-]*", words):
        raise NotAFormula(f"{words!r} is not plain prose")
    return words


def _joined(before: str, item: Segment) -> str:
    needs_space = item.kind == "formula" or not (item.text[0] in ",;:.)!?" or before.endswith("("))
    return f"{before}{' ' if needs_space else ''}{item.text}"
