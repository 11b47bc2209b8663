"""Mutation operators for Python: where in a file which mistake can be made, found in its syntax tree.

The text is replaced, not the tree, so that all else keeps its line. Docstrings and messages, annotations,
`__all__`, the text of `repr` and what is registered (`register(...)`) are left alone.
"""

import ast
import re

from .mutant import Mutant, numbered, text_of

OTHER = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.Pow: "*", ast.FloorDiv: "*", ast.Mod: "//",
    ast.BitAnd: "|", ast.BitOr: "&", ast.LShift: ">>", ast.RShift: "<<",
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
SYMBOL = re.compile(rb"\*\*|//|<<|>>|<=|>=|==|!=|is\s+not|not\s+in|\b(?:is|in|and|or)\b|[-+*/%@&|^<>]")
SYMMETRIC = {"add", "allclose", "isclose", "max", "maximum", "min", "minimum", "multiply", "swapaxes"}
SYMMETRIC |= {f"{pool}{of}_products" for pool in ("", "row_", "channel_") for of in ("sum", "mean")}
SILENT = {"__repr__", "__str__", "extra_repr"}  # functions whose result is read by people only


def python_mutants(path):
    """Every mutant of a Python file; a few may not compile."""
    return numbered(_Finder(path).found())


class _Finder(ast.NodeVisitor):
    def __init__(self, path):
        self.path, self.source = path, text_of(path).encode()
        lines = self.source.split(b"\n")
        self.starts = [0]
        for line in lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.tree = ast.parse(self.source)
        self.registered = _only_registered(self.tree)
        self.mutants, self.depth = [], 0

    def found(self):
        self.visit(self.tree)
        return self.mutants

    # -- places in the text

    def span(self, node):
        start = self.starts[node.lineno - 1] + node.col_offset
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset

    def source_of(self, node):
        start, end = self.span(node)
        return self.source[start:end].decode()

    def between(self, left, right):
        """The operator between two operands: where it begins and ends."""
        start, end = self.span(left)[1], self.span(right)[0]
        gap = re.sub(rb"#[^\n]*", lambda found: b" " * len(found[0]), self.source[start:end])
        found = SYMBOL.search(gap)
        return start + found.start(), start + found.end()

    def plant(self, operator, span, new):
        if self.source[span[0] : span[1]].decode() != new:
            self.mutants.append(Mutant(self.path, *span, new, operator))

    # -- what is left alone

    def visit_Assign(self, node):
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if self.depth == 0 and (names & (self.registered | {"__all__", "__slots__"})):
            return
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self.plant("dropped statement", self.span(node), "pass")
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node):
        if node.name in SILENT or any(_name(one) == "overload" for one in node.decorator_list):
            return
        for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)
        self.depth += 1
        for statement in node.body:
            self.visit(statement)
        self.depth -= 1

    def visit_Raise(self, node):
        self.plant("dropped statement", self.span(node), "pass")

    def visit_JoinedStr(self, node):
        pass

    def visit_Assert(self, node):
        self.visit(node.test)

    # -- operators

    def visit_BinOp(self, node):
        at = self.between(node.left, node.right)
        start, end = self.span(node)
        left = self.source[start : at[0]].strip().decode()
        right = self.source[at[1] : end].strip().decode()
        kind = type(node.op)
        alternative = kind in (ast.BitOr, ast.BitAnd) and self.depth == 0  # of types, as a rule
        if kind in OTHER and not alternative and not _is_text(node.left):
            self.plant("operator", at, OTHER[kind])
        if kind in (ast.Add, ast.Sub):
            self.plant("dropped term", (start, end), left)
        if kind in (ast.Mult, ast.Div, ast.Pow):
            self.plant("dropped factor", (start, end), left)
        if kind is ast.Add:
            self.plant("dropped term", (start, end), right)
        if kind is ast.Mult:
            self.plant("dropped factor", (start, end), right)
        self.generic_visit(node)

    def visit_AugAssign(self, node):
        self.plant("dropped statement", self.span(node), "pass")
        at = self.between(node.target, node.value)
        if type(node.op) in OTHER:
            self.plant("operator", at, OTHER[type(node.op)])
        self.visit(node.value)
        self.visit(node.target)

    def visit_Compare(self, node):
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            self.plant("comparison", self.between(left, right), OTHER[type(operator)])
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        gaps = [self.between(a, b) for a, b in zip(node.values, node.values[1:], strict=False)]
        start, end = self.span(node)
        for at in gaps:
            self.plant("operator", at, "or" if isinstance(node.op, ast.And) else "and")
        self.plant("dropped condition", (start, end), self.source[gaps[0][1] : end].strip().decode())
        self.plant("dropped condition", (start, end), self.source[start : gaps[-1][0]].strip().decode())
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            self.plant("constant", self.span(node), f"-{_other_number(node.operand.value)}")
        if isinstance(node.op, ast.USub | ast.Not | ast.Invert):
            self.plant("operator", self.span(node), self.source_of(node.operand))
        if not isinstance(node.operand, ast.Constant):
            self.visit(node.operand)

    # -- conditions

    def negate(self, test):
        if not isinstance(test, ast.Compare | ast.UnaryOp):
            self.plant("condition", self.span(test), f"(not ({self.source_of(test)}))")

    def visit_If(self, node):
        if _name(node.test) == "TYPE_CHECKING":
            return
        self.negate(node.test)
        self.generic_visit(node)

    visit_While = visit_IfExp = visit_If

    def visit_comprehension(self, node):
        for test in node.ifs:
            self.negate(test)
        self.generic_visit(node)

    # -- numbers, slices, arguments

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            self.plant("constant", self.span(node), str(not node.value))
        elif isinstance(node.value, int | float):
            self.plant("constant", self.span(node), _other_number(node.value))

    def visit_Slice(self, node):
        for bound, shift in ((node.lower, "+ 1"), (node.upper, "- 1")):
            if bound is not None and not _is_number(bound):
                self.plant("off by one", self.span(bound), f"({self.source_of(bound)}) {shift}")
        self.generic_visit(node)

    def visit_Subscript(self, node):
        if _name(node.value) not in ("Literal", "Callable", "Annotated"):
            self.generic_visit(node)

    def visit_Call(self, node):
        name = _name(node.func)
        if name in ("register", "TypeVar", "cast") or (name == "warn" and self.depth):
            return
        if name == "range" and not _is_number(stop := node.args[min(len(node.args) - 1, 1)]):
            self.plant("off by one", self.span(stop), f"({self.source_of(stop)}) - 1")
        plain = ast.Name | ast.Attribute | ast.Subscript | ast.Constant
        swaps = len(node.args) > 1 and name not in SYMMETRIC and not (name or "").startswith("is")
        if swaps and all(isinstance(one, plain) for one in node.args[:2]):
            a, b = node.args[:2]
            start, end = self.span(a)[0], self.span(b)[1]
            middle = self.source[self.span(a)[1] : self.span(b)[0]].decode()
            self.plant("swapped arguments", (start, end), self.source_of(b) + middle + self.source_of(a))
        self.generic_visit(node)

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call):
            if _name(node.value.func) == "register":
                return
            self.plant("dropped statement", self.span(node), "pass")
        self.visit(node.value)

    def visit_Delete(self, node):
        self.plant("dropped statement", self.span(node), "pass")

    def visit_Break(self, node):
        self.plant("dropped statement", self.span(node), "pass")

    visit_Continue = visit_Break


def _other_number(value):
    if isinstance(value, int):
        return str(value + 1)
    return repr(value * 2 if value else 1.0)


def _is_number(node):
    node = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(node, ast.Constant)


def _is_text(node):
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _name(node):
    if isinstance(node, ast.Call):
        return _name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def _only_registered(tree):
    """The names of a module that nothing but its registration uses."""
    used = [set(), set()]
    for statement in tree.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        registers = isinstance(call, ast.Call) and _name(call) == "register"
        assigned = statement.targets if isinstance(statement, ast.Assign) else []
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node not in assigned:
                used[registers].add(node.id)
    return used[True] - used[False]
