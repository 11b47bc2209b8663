"""The mistakes that tests/mutants.py can plant: where the operators find one, and where they must not."""

import ast
from fnmatch import fnmatchcase

import pytest
from mutation.cuda_operators import cuda_mutants, enclosing_kernel
from mutation.equivalent import EQUIVALENT
from mutation.mutant import ROOT, text_of
from mutation.python_operators import python_mutants


def changes(path, text, find=python_mutants):
    """What is planted in a file with this text: each operator, and what it replaces by what."""
    path.write_text(text)
    return {(mutant.operator, mutant.change) for mutant in find(str(path))}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = x + b", {("operator", "+ → -"), ("dropped term", "x + b → x"), ("dropped term", "x + b → b")}),
        ("y = (x - m) * r", {
            ("operator", "* → /"), ("dropped factor", "(x - m) * r → (x - m)"),
            ("dropped factor", "(x - m) * r → r"), ("operator", "- → +"), ("dropped term", "x - m → x"),
        }),
        ("y += x", {("dropped statement", "y += x → pass"), ("operator", "+ → -")}),
        ("y = x < b", {("comparison", "< → <=")}),
        ("y = x is not None", {("comparison", "is not → is")}),
        ("y = x.mean(axis=0, keepdims=True)", {("constant", "0 → 1"), ("constant", "True → False")}),
        ("y = x[1:n]", {("constant", "1 → 2"), ("off by one", "n → (n) - 1")}),
        ("for i in range(n): pass", {("off by one", "n → (n) - 1")}),
        ("if x and b:\n        pass", {
            ("condition", "x and b → (not (x and b))"), ("operator", "and → or"),
            ("dropped condition", "x and b → x"), ("dropped condition", "x and b → b"),
        }),
        ("y = not x", {("operator", "not x → x")}),
        ("y = moveaxis(a, b)", {("swapped arguments", "a, b → b, a")}),
        ("x.mark_written()", {("dropped statement", "x.mark_written() → pass")}),
        ('raise ValueError(f"{1 + x}")', {("dropped statement", 'raise ValueError(f"{1 + x}") → pass')}),
    ],
    ids=["sum", "product", "augmented", "comparison", "is not", "keywords", "slice", "range", "condition",
         "not", "arguments", "call", "raise"],
)  # fmt: skip
def test_what_is_planted_in_a_statement(body, expected, tmp_path):
    assert changes(tmp_path / "module.py", f"def f(x, a, b, m, r, n):\n    {body}\n") == expected


@pytest.mark.parametrize(
    "text",
    [
        '"""1 + 1 is 2."""\n',
        "def f(x: Literal[1] | None) -> int | None:\n    '''Add 1 + 1.'''\n",
        "__all__ = ['a' + 'b']\n",
        "_CASES = 1 + 1\nregister(cases=_CASES, tolerance=2 * 3)\n",
        "class A:\n    def __repr__(self):\n        return 'a' * (1 + 1)\n",
        "if TYPE_CHECKING:\n    a = 1 + 1\n",
        "Shape = int | tuple\n",
    ],
    ids=["docstring", "hints", "all", "registered", "repr", "type checking", "alias"],
)
def test_what_is_left_alone(text, tmp_path):
    assert changes(tmp_path / "module.py", text) == set()


KERNEL = """// A comment: a + b.
#define N (1 + 1)
template <class T, int VEC = 4 + 4>
__global__ void __launch_bounds__(256 + 1) twice(const T* __restrict__ x, long long n) {
  const T* const row = x;
HERE
}
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a[i] = b + c;", {
            ("operator", "+ → -"), ("dropped term", "+ c → nothing"),
            ("dropped statement", "a[i] = b + c; → ;"),
        }),
        ("a = (b - c) * r;", {
            ("operator", "- → +"), ("dropped term", "- c → nothing"), ("operator", "* → /"),
            ("dropped factor", "* r → nothing"),
        }),
        ("if (i < n) f(i);", {("comparison", "< → <="), ("condition", "i < n → !(i < n)")}),
        ("__syncthreads();", {("missing barrier", "__syncthreads(); → ;")}),
        ("f(x[n * D + i]);", {
            ("swapped index", "n * D + i → i * D + n"), ("operator", "* → /"), ("operator", "+ → -"),
            ("dropped factor", "* D → nothing"), ("dropped term", "+ i → nothing"),
        }),
        ("const A half = 0.5, one = A(1);", {("constant", "0.5 → (2 * 0.5)"), ("constant", "1 → 2")}),
        ("const T* const row = x;", set()),
    ],
    ids=["sum", "product", "condition", "barrier", "index", "constants", "pointer"],
)  # fmt: skip
def test_what_is_planted_in_a_kernel(body, expected, tmp_path):
    text = KERNEL.replace("HERE", f"  {body}")
    assert changes(tmp_path / "twice.cu", text, cuda_mutants) == expected
    for mutant in cuda_mutants(str(tmp_path / "twice.cu")):
        assert enclosing_kernel(mutant.path, mutant.start) == "twice"


def test_code_outside_of_kernels_belongs_to_none(tmp_path):
    (tmp_path / "one.cu").write_text(KERNEL + "__device__ float half(float x) {\n  return x * 0.5f;\n}\n")
    mutants = cuda_mutants(str(tmp_path / "one.cu"))
    assert mutants
    assert {enclosing_kernel(mutant.path, mutant.start) for mutant in mutants} == {None}


@pytest.mark.parametrize(
    "path", ["tinygrad_norm/autograd/sweep.py", "tinygrad_norm/normalization/sample/layernorm.py"]
)
def test_mutants_of_a_file_are_other_programs(path):
    original = ast.dump(ast.parse(text_of(path)))
    mutants = python_mutants(path)
    assert len(mutants) > 100
    for mutant in mutants[::10]:
        assert ast.dump(ast.parse(mutant.text)) != original
        assert mutant.text.count("\n") <= text_of(path).count("\n")


def test_equivalent_mutants_are_listed_with_a_reason_and_exist():
    for path, line, change, reason in EQUIVALENT:
        assert all((line, change, reason))
        names = [str(file.relative_to(ROOT)) for file in (ROOT / "tinygrad_norm").rglob("*.*")]
        files = [name for name in names if fnmatchcase(name, path)]
        assert files, path
        if "*" not in line:
            assert any(line in text_of(file) for file in files), line
