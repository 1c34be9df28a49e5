"""The symbolic grading program: it runs in its own processes and is never imported.

``workers.py`` starts it as a script. The first process imports math-verify, stays idle, and forks
one worker for every socket that it is sent, within milliseconds. Kernel limits confine workers,
which answer requests, one JSON line each, until they are killed. The file imports nothing of
perl_jax: no NumPy, no threads, and a small address space to fork.

math-verify calls ``sympy.parse_expr``, which evaluates Python, from its reader of plain expressions
(not used here) and through the numbers of its LaTeX reader, which SymPy takes as strings. So a
reader of digits replaces ``parse_expr`` before math-verify is imported. Workers are also refused
every way out of the process.
"""

import ast
import ctypes
import functools
import importlib.abc
import importlib.machinery
import json
import logging
import os
import re
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any

# The only events of the operating system's modules that are allowed: late imports raise them.
_ALLOWED_EVENTS = ("os.listdir", "os.scandir")
_FORBIDDEN_MODULES = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "tempfile.")
# Of every constant this many digits are compared before a proof is tried.
_DIGITS = 40
_WARM_UP = (
    (r"\frac{x^{2}-1}{x-1}", "x+1"),
    (r"\frac{\sqrt{3}}{2}", r"\cos(\pi/6)"),
    ("(1, 2)", r"\{1, 2\}"),
    (r"x \leq 5", "5 \\geq x"),
    (r"2\sqrt{3}+50\%", r"\pi"),
    (r"\int_{0}^{1} x dx", r"\frac{1}{2}+a"),
    (r"\sum_{n=1}^{3} n", "6"),
    ("y=2x+1", "2x-y+1=0"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ \frac{4}{2} \end{pmatrix}"),
    ("(x-1)(x+1)", "x^{2}-1"),
)


class _KeepMemoryError(ast.NodeTransformer):
    """Adds ``except MemoryError: raise`` before every other handler."""

    def visit_Try(self, node: ast.Try) -> ast.Try:
        self.generic_visit(node)
        if node.handlers:
            kind = ast.Name("MemoryError", ast.Load())
            node.handlers.insert(0, ast.ExceptHandler(kind, None, [ast.Raise(None, None)]))
        return ast.fix_missing_locations(node)


class _FaithfulLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from source so that its ``except Exception`` lets MemoryError through.

    math-verify takes every exception for "not equal". At the memory limit that would be a wrong
    verdict: the error has to reach the worker's loop.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = _KeepMemoryError().visit(ast.parse(self.get_data(path), path))
        return compile(tree, path, "exec", dont_inherit=True)


class _FaithfulFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of math-verify and its LaTeX reader, except the generated parser."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, *rest = fullname.split(".")
        if package not in ("math_verify", "latex2sympy2_extended") or "gen" in rest:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _FaithfulLoader(fullname, spec.loader.path)
        return spec


def compare(answer: str, truth: str, absolute: float, relative: float) -> str:
    """Decides whether two LaTeX texts are equal.

    Returns ``equal``, ``different``, ``malformed`` or ``undefined`` (0/0) for the answer, or
    ``bad_truth`` if the truth cannot be read.
    """
    from math_verify import verify

    if "\\approx" in answer:
        exact, _, rounded = answer.partition("\\approx")
        return _compare_rounded(exact, rounded, truth)
    expression, true = _read(answer), _read(truth)
    if true is None or _is_undefined(true):
        return "bad_truth"
    if expression is None:
        return "malformed"
    if _is_undefined(expression):
        return "undefined"
    if _lone_capitals(answer) != _lone_capitals(truth):
        return "different"
    # It calls numbers equal that differ by less than 1e-15; this compares them exactly.
    vars(sys.modules[verify.__module__])["sympy_numeric_eq"] = _same
    vars(sys.modules[verify.__module__])["sympy_compare_symbols"] = _same_names
    if _is_number(expression) and _is_number(true):
        equal = _same_number(expression, true)
    else:
        # Deadlines are enforced from outside: SIGALRM cannot interrupt work on big integers.
        equal = verify([true], [expression], timeout_seconds=None, raise_on_error=True)
    return "equal" if equal or _close(expression, true, absolute, relative) else "different"


def _lone_capitals(text: str) -> set[str]:
    """The capitals of a LaTeX text that its reader takes for constants: E for e, and I for i."""
    return {"E", "I"} & set(re.sub(r"\\[A-Za-z]+", "", text))


def _same_names(true: Any, given: Any) -> bool:
    """Compares two symbols by name, in their case; the reader takes ab for one symbol or two."""
    names = [_joined(expression) for expression in (true, given)]
    if all(names):
        return names[0] == names[1]
    return str(true) == str(given)


def _joined(expression: Any) -> str:
    """The names of a product of symbols, side by side; empty for any other expression."""
    import sympy

    factors = expression.args if isinstance(expression, sympy.Mul) else (expression,)
    if not all(factor == sympy.E or isinstance(factor, sympy.Symbol) for factor in factors):
        return ""
    return "".join("e" if factor == sympy.E else factor.name for factor in factors)


def _compare_rounded(exact: str, rounded: str, truth: str) -> str:
    """Compares a constant and its rounding: either may be the truth, if they fit."""
    places = re.fullmatch(r"\s*-?\\frac\{[0-9]+\}\{(10+)\}\s*", rounded)
    value, near = _read(exact), _read(rounded)
    # 5.44 \approx 5.4 names two numbers.
    plain = re.fullmatch(r"\s*-?(?:[0-9]+|\\frac\{[0-9]+\}\{10+\})\s*", exact)
    if places is None or plain or not _is_number(value) or not _is_number(near):
        return "malformed"
    if not abs((value - near).evalf()) <= 0.5 / float(places[1]):
        return "different"
    verdicts = [compare(text, truth, 0.0, 0.0) for text in (exact, rounded)]
    return "equal" if "equal" in verdicts else verdicts[0]


def compare_all(pairs: Sequence[Sequence[str]], absolute: float, relative: float) -> str:
    """Compares the pairs of a list; the first that differs decides."""
    verdicts = (compare(answer, truth, absolute, relative) for answer, truth in pairs)
    return next((verdict for verdict in verdicts if verdict != "equal"), "equal")


def _digits(text: str, *_: Any, **__: Any) -> Any:
    """Replaces ``sympy.parse_expr``: reads only an unsigned decimal number or one name.

    SymPy's own modules ask for names.
    """
    import sympy

    if re.fullmatch(r"[0-9]+", text):
        return sympy.Integer(int(text))
    if re.fullmatch(r"[0-9]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?", text):
        return sympy.Float(text)
    if text.isidentifier():
        known = vars(sympy).get(text)
        return known if isinstance(known, sympy.Basic) else sympy.Symbol(text)
    raise sympy.SympifyError(text)


def _replace_evaluator() -> None:
    import sympy.parsing
    import sympy.parsing.sympy_parser

    sympy.parsing.sympy_parser.parse_expr = _digits
    sympy.parsing.parse_expr = _digits
    sympy.parse_expr = _digits


def _keep_case() -> None:
    """Makes the reader of LaTeX tell x from X, and no longer take gamma for a constant."""
    from latex2sympy2_extended import latex2sympy2, symbols
    from math_verify import parse

    config = latex2sympy2.ConversionConfig(lowercase_symbols=False)
    reader = functools.partial(latex2sympy2.latex2sympy, conversion_config=config)
    vars(sys.modules[parse.__module__])["latex2sympy"] = reader
    for name in ("gamma", "Gamma"):
        symbols.sympy_singleton_map.pop(name, None)


def _read(text: str) -> Any:
    from latex2sympy2_extended.math_normalization import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    # The caller has accounted for units: the reader's own list drops words like "more" and "o".
    plain = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="last"
    )
    found = parse(
        "\\boxed{" + text + "}",
        # Otherwise it takes any fraction within a text that it cannot read as the answer.
        [
            LatexExtractionConfig(
                boxed_match_priority=0, normalization_config=plain, try_extract_without_anchor=False
            )
        ],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return _with_imaginary_unit(found[0]) if found else None


def _with_imaginary_unit(expression: Any) -> Any:
    """The expression with the reader's symbol i as the square root of -1."""
    import sympy

    if not isinstance(expression, sympy.Expr):
        return expression
    named = [symbol for symbol in expression.free_symbols if symbol.name == "i"]
    return expression.subs(dict.fromkeys(named, sympy.I)) if named else expression


def _is_number(expression: Any) -> bool:
    import sympy

    return isinstance(expression, sympy.Expr) and not expression.free_symbols


def _same(true: Any, given: Any, *_: Any) -> bool:
    """Compares two expressions or matrices exactly."""
    import sympy

    if isinstance(true, sympy.MatrixBase) and isinstance(given, sympy.MatrixBase):
        pairs = zip(true.flat(), given.flat(), strict=False)
        return true.shape == given.shape and all(_same(a, b) for a, b in pairs)
    if _is_number(true) and _is_number(given):
        return _same_number(given, true)
    if not isinstance(true, sympy.Expr) or not isinstance(given, sympy.Expr):
        return False
    return bool(sympy.expand(true - given) == 0)


def _same_number(given: Any, true: Any) -> bool:
    """Compares two constants: by the difference if it is rational, else by digits, then proof.

    Digits are relative: no constant is so small that it equals another.
    """
    import sympy

    given, true = given.doit(), true.doit()
    difference = given - true
    if given == true or difference.is_Rational:
        return bool(given == true or difference == 0)
    values = [sympy.N(value, _DIGITS) for value in (given, true)]
    if all(value.is_number and value.is_finite for value in values):
        apart = abs(values[0] - values[1])
        if apart > abs(values[1]) * sympy.Float(10) ** (-_DIGITS + 10):
            return False
    return bool(sympy.simplify(difference) == 0) or difference.equals(0) is True


def _is_undefined(expression: Any) -> bool:
    import sympy

    if not isinstance(expression, sympy.Expr):
        return False
    if expression.has(sympy.nan, sympy.zoo):
        return True
    both = expression.has(sympy.oo) and expression.has(-sympy.oo)
    return both and expression.doit() is sympy.nan


def _close(expression: Any, true: Any, absolute: float, relative: float) -> bool:
    """Whether two constants agree within the tolerance of numbers."""
    if not (absolute or relative) or not (_is_number(expression) and _is_number(true)):
        return False
    value, true_value = complex(expression.evalf()), complex(true.evalf())
    return abs(value - true_value) <= max(absolute, relative * abs(true_value))


def _answer(request: dict[str, Any]) -> dict[str, str]:
    """Replies to a request. Every way to fail has a name: a failure is never a verdict."""
    try:
        return {"verdict": compare_all(request["pairs"], request["absolute"], request["relative"])}
    except MemoryError:
        return {"verdict": "memory"}
    except Exception as error:
        # An error in the library concerns this pair; one of ours would come every time.
        frames = traceback.extract_tb(error.__traceback__)
        ours = all(frame.filename == __file__ for frame in frames)
        message = "".join(traceback.format_exception_only(error))[:500]
        return {"verdict": "failed" if ours else "undecided", "message": message}


def _refuse_ways_out(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: files can only be read; no processes, no network."""
    if event.startswith(_FORBIDDEN_MODULES) and event not in _ALLOWED_EVENTS:
        raise PermissionError(f"a grading worker may not use {event}")
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise PermissionError("a grading worker may not write files")


def _limit(memory_bytes: int) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        # macOS refuses to limit address space; the deadline still holds.
        try:
            resource.setrlimit(kind, (value, value))
        except ValueError:
            if sys.platform != "darwin":
                raise


def _work(connection: socket.socket, memory_bytes: int) -> None:
    """Runs a worker."""
    _limit(memory_bytes)
    sys.addaudithook(_refuse_ways_out)
    connection.sendall(b'{"verdict": "ready"}\n')
    for line in connection.makefile("rb"):
        connection.sendall(json.dumps(_answer(json.loads(line))).encode() + b"\n")


def _die_with_parent() -> None:
    """Asks Linux to kill this worker when the process that forked it ends."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _fork(control: socket.socket, descriptor: int, memory_bytes: int) -> int:
    child = os.fork()
    if child:
        os.close(descriptor)
        return child
    status = 1
    try:
        control.close()
        _die_with_parent()
        _work(socket.socket(fileno=descriptor), memory_bytes)
        status = 0
    finally:
        # Never return into the loop of the process that forked.
        os._exit(status)


def _serve(control: socket.socket, memory_bytes: int) -> None:
    """Forks and kills workers on request, until the other end of ``control`` closes."""
    children: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            break
        if descriptors:
            reply = _fork(control, descriptors[0], memory_bytes)
            children.add(reply)
        else:
            # It was not waited for yet, so no other process can have its number.
            child = int(message)
            reply = _kill(child) if child in children else 0
            children.discard(child)
        control.sendall(b"%d\n" % reply)
    for child in children:
        _kill(child)


def _kill(child: int) -> int:
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Serves on the socket whose number is the first argument."""
    # A scheduler tells every process of a job that it ends; the trainer still needs grades then.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        sys.dont_write_bytecode = True
        logging.disable(logging.CRITICAL)
        sys.meta_path.insert(0, _FaithfulFinder())
        _replace_evaluator()
        _keep_case()
        # Also fills the parser's caches, which every worker then inherits.
        for answer, truth in _WARM_UP:
            compare(answer, truth, 0.0, 0.0)
        verdict = compare("1+x", "x+1", 0.0, 0.0)
        status = "ready" if verdict == "equal" else f"self-test: x+1 and 1+x are {verdict}"
    except BaseException as error:
        status = "".join(traceback.format_exception_only(error)).strip()
    control.sendall(json.dumps({"status": status}).encode() + b"\n")
    if status == "ready":
        _serve(control, int(sys.argv[2]))


if __name__ == "__main__":
    main()
