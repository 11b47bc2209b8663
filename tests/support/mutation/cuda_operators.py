"""Mutation operators for CUDA C++: where in a file which mistake can be made, found in its text.

Comments, preprocessor lines, template heads and launch bounds are left alone. The files are formatted, so an
operator between two values has blanks around it, and the brackets of a template have none.
"""

import re

from .mutant import Mutant, numbered, text_of

LEFT_ALONE = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | "(?:\\.|[^"\\\n])*" | ^[ ]*\#(?:[^\n]*\\\n)*[^\n]*
    | ^template[ ]<[^;{]*?> (?=\n) | __launch_bounds__\((?:[^()]|\([^()]*\))*\) | \bstatic_assert\([^;]*;
    | \busing[ ][^;]*; | __align__\(\d+\)""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
OTHER = {
    "+": "-", "-": "+", "*": "/", "/": "*", "%": "/", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=",
    "!=": "==", "&&": "||", "||": "&&", "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "|=": "&=",
    "&=": "|=", "<<": ">>", ">>": "<<", "&": "|", "|": "&",
}  # fmt: skip
BINARY = re.compile(r"(?<=[\w\])>]) (\+|-|\*|/|%|<=?|>=?|==|!=|&&|\|\||<<|>>|[-+*/|&]=|&|\|) (?=[\w(!~\-:])")
NUMBER = re.compile(r"(?<![\w.])(?:\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+|\d+)(?=f?\b)(?![\w]*[xX])")
BARRIER = re.compile(r"(?<=[\s{])(?:__syncthreads|__syncwarp|\w*synchronize\w*)(?:<\w+>)?\([^;]*\);")
STATEMENT = re.compile(r"(?<=[\s{;)])[a-z_]\w*(?:\.\w+|\[[^\];]*\]|->\w+)*(?: [-+*/|&]=|(?<=\]) =) [^;{}]*;")
INDEX = re.compile(r"\b(\w+) \* (\w+) \+ (\w+)\b")
HEAD = re.compile(r"^(?:__global__|__device__|struct|template)[^;{]*?\{|^\}", re.DOTALL | re.MULTILINE)
AFTER_TERM = re.compile(r" (?:[-+]|[<>=!]=|[<>?:]|&&|\|\||<<|>>) ")
AFTER_FACTOR = re.compile(r" (?:[-+*/%]|[<>=!]=|[<>?:]|&&|\|\||<<|>>) ")
CONDITION = re.compile(r"\b(?:if|while) \(")
POINTER = re.compile(r"\b(?:const|T|A|M|void|char|float|double|int|>) \* ")


def cuda_mutants(path):
    """Every mutant of a CUDA file; some do not compile."""
    text = text_of(path)
    masked = LEFT_ALONE.sub(lambda found: re.sub(r"[^\n]", "\0", found[0]), text)
    mutants = []

    def plant(operator, start, end, new):
        before = len(text[:start].encode())
        mutants.append(Mutant(path, before, before + len(text[start:end].encode()), new, operator))

    pointers = {found.end() - 2 for found in POINTER.finditer(masked)}
    for found in BINARY.finditer(masked):
        if found.start(1) in pointers:
            continue
        plant("comparison" if found[1][0] in "<>=!" else "operator", *found.span(1), OTHER[found[1]])
        if found[1] in "+-*":
            end = _operand_end(masked, found.end(), found[1])
            plant("dropped factor" if found[1] == "*" else "dropped term", found.start(), end, "")
    for found in NUMBER.finditer(masked):
        number = found[0]
        plant("constant", *found.span(), str(int(number) + 1) if number.isdigit() else f"(2 * {number})")
    for found in BARRIER.finditer(masked):
        plant("missing barrier", *found.span(), ";")
    for found in STATEMENT.finditer(masked):
        plant("dropped statement", *found.span(), ";")
    for found in INDEX.finditer(masked):
        plant("swapped index", *found.span(), f"{found[3]} * {found[2]} + {found[1]}")
    for found in CONDITION.finditer(masked):
        end = _closing(masked, found.end())
        plant("condition", found.end(), end, f"!({text[found.end() : end]})")
    return numbered(mutants)


def enclosing_kernel(path, start):
    """The name of the __global__ function that byte `start` of a file is in, or None."""
    before = text_of(path).encode()[:start].decode()
    heads = HEAD.findall(before)
    if not heads or "__global__" not in heads[-1]:
        return None
    return re.search(r"(\w+)\(", LEFT_ALONE.sub("", heads[-1]))[1]


def _closing(text, start):
    """Where the bracket closes that was opened just before `start`."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            if depth == 0:
                return at
            depth -= 1
    return len(text)


def _operand_end(text, start, operator):
    """Where the operand ends that begins at `start`: before an operator that binds less, or a bracket."""
    weaker = AFTER_FACTOR if operator == "*" else AFTER_TERM
    depth = 0
    for at in range(start, len(text)):
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            if depth == 0:
                return at
            depth -= 1
        elif depth == 0 and (text[at] in ",;" or weaker.match(text, at)):
            return at
    return len(text)
