"""What the letters, names and signs of the docstrings' formulas are in LaTeX."""

import re
import unicodedata


class NotAFormula(ValueError):
    """A text that is not understood as a formula."""


_LETTERS = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ"
GREEK = {c: unicodedata.name(c).split()[-1].lower().replace("lamda", "lambda") for c in _LETTERS}
GREEK |= {c: GREEK[c].capitalize() for c in _LETTERS if c.isupper()} | {"φ": "varphi"}
LETTER = "A-Za-z" + "".join(GREEK)
HAT, BAR = "\u0302", "\u0304"
OPERATORS = {
    "·": r"\cdot", "×": r"\times", "∘": r"\circ", "⊗": r"\otimes", "@": r"\,", "+": "+", "-": "-", "−": "-",
    "±": r"\pm", "=": "=", ":=": r"\mathrel{:=}", "←": r"\leftarrow", "→": r"\to", "<": "<", ">": ">",
    "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "∈": r"\in", "/": "/",
}  # fmt: skip
SYMBOLS = {"∞": r"\infty", "…": r"\ldots", "½": r"\tfrac12"}
PAIRS = {"(": ")", "[": "]", "⟨": "⟩", "‖": "‖", "|": "|"}
_FENCES = {
    "(": ("(", ")"), "[": ("[", "]"), "⟨": (r"\langle", r"\rangle"),
    "‖": (r"\lVert", r"\rVert"), "|": (r"\lvert", r"\rvert"),
}  # fmt: skip
_FUNCTIONS = ("exp", "ln", "log", "max", "min", "tanh", "sin", "cos", "det")
ALONE = (*_FUNCTIONS, "tr")  # which may do without parentheses
APPLIED = (*ALONE, "mean", "erf", "sign", "sym", "clip", "softmax", "silu", "log1p", "expm1")
_INDEXED = (*APPLIED, "weight", "bias", "index", "std", "conv")
NAMES = re.compile(
    "eps|momentum|prior|scale|shift|mask|kept|weight|bias|size|rmax|dmax|query|key|value|rnorm|ones|alpha|beta"
    "|logdet|index"
)
_DERIVED = ("weight", "bias", "scale", "shift", "logdet", "mask", "query", "key")
_UPRIGHT = re.compile(r"[A-Z]{2,}|[a-z]{5,}|rows|enc|dec|max|min|ih|hh|hr|qk")


def starts_operand(text: str) -> bool:
    """Return whether something to add up, or to take a function of, begins with this token."""
    if not text:
        return False
    is_word = len(text) > 1 and text.isascii() and text.isalpha()
    if is_word:
        return bool(derived(text) or NAMES.fullmatch(text) or text in APPLIED)
    return text[0].isalnum() or text[0] in "(√|‖∂"


def joins(base: str, lower: str) -> bool:
    """Return whether base and subscript are one name, as in mean_range; not weight_fck, which is indexed."""
    if len(base) < 2 or not base.isalpha() or not re.fullmatch(r"_[A-Za-z]{2,}", lower):
        return False
    return len(lower) > 4 or not (derived(base) or base in _INDEXED)


def derived(text: str) -> str:
    """Return of what `text` is the derivative: x of dx, weight of dweight; else nothing."""
    rest = text[1:].rstrip("0123456789")
    if not text.startswith("d"):
        return ""
    letters = rest.replace(HAT, "").replace(BAR, "")
    return rest if len(letters) == 1 or rest in _DERIVED else ""


def symbol(text: str) -> str:
    """Return the LaTeX of a name without its subscripts."""
    if text.startswith("d" + BAR):
        return rf"\overline{{\mathrm{{d}}{symbol(text[2:])}}}"
    if rest := derived(text):
        return rf"\mathrm{{d}}{symbol(rest)}"
    for mark, command in ((HAT, "hat"), (BAR, "bar")):
        if text.endswith(mark) and len(text) == 2:
            return rf"\{command}{{{symbol(text[0])}}}"
    if text in GREEK:
        return rf"\{GREEK[text]} "
    if text in ("alpha", "beta"):
        return rf"\{text} "
    if text in _FUNCTIONS:
        return rf"\{text} "
    if text in APPLIED:
        return rf"\operatorname{{{text}}}"
    if not re.fullmatch(r"[A-Za-z.]+", text):
        raise NotAFormula(f"{text!r} is not a name")
    return text if len(text) == 1 else rf"\mathrm{{{text}}}"


def index(text: str) -> str:
    """Return the LaTeX of a subscript: letters that count, or a word."""
    text = text.strip("{}()")
    if text in GREEK:
        return rf"\{GREEK[text]} "
    if _UPRIGHT.fullmatch(text):
        return rf"\mathrm{{{text}}}"
    if not re.fullmatch(r"[A-Za-z0-9 +\-,]+", text):
        raise NotAFormula(f"{text!r} is not a subscript")
    return text


def fenced(opening: str, inner: str) -> str:
    """Return LaTeX in parentheses, or in what else opens so; they grow with what is tall."""
    left, right = _FENCES[opening]
    if re.search(r"\\frac|\\sqrt|\\sum", inner):
        return rf"\left{left} {inner} \right{right}"
    return f"{left} {inner} {right}" if left.startswith("\\") else f"{left}{inner}{right}"


def is_fraction(latex: str) -> bool:
    """Return whether LaTeX is one fraction and nothing else, which needs no parentheses in a product."""
    depth = groups = 0
    for c in latex.removeprefix(r"\frac"):
        depth += (c == "{") - (c == "}")
        groups += c == "}" and depth == 0
        if depth == 0 and c != "}":
            return False
    return latex.startswith(r"\frac") and groups == 2
