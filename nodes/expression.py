"""Small formulas in one variable, read as arithmetic and nothing else."""

import ast
import math
import operator
from collections.abc import Callable

__all__ = ["compile_expression"]

OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
FUNCTIONS: dict[str, Callable] = {
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "exp", "log", "sqrt", "floor", "ceil")},
    **{"abs": abs, "min": min, "max": max},
}
CONSTANTS = {"pi": math.pi, "e": math.e}
LONGEST, DEEPEST = 500, 100
"""Characters of a formula, and operations inside one another."""


def compile_expression(written: str, variable: str) -> Callable[[float], float]:
    """A function of `variable` from a formula: numbers, + - * / **, pi, e, and the usual functions.

    Raises ValueError, here for what isn't such a formula, and in the function where it has no value.
    """
    if len(written) > LONGEST:
        raise ValueError(f"formula of {len(written)} characters, expected at most {LONGEST}")
    try:
        tree = ast.parse(written.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"formula {written!r} can't be read, expected one like '1 + 6 * {variable} ** 2'") from None
    _check(tree, written, variable, 1)

    def value(at: float) -> float:
        try:
            return float(_evaluate(tree, {**CONSTANTS, variable: at}))
        except (ArithmeticError, TypeError, ValueError):
            raise ValueError(f"formula {written!r} has no value at {variable} = {at:g}") from None

    return value


def _check(node: ast.AST, written: str, variable: str, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(f"a formula of more than {DEEPEST} nested operations")
    match node:
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            parts = [left, right]
        case ast.UnaryOp(op, operand) if type(op) in OPERATORS:
            parts = [operand]
        case ast.Call(ast.Name(name), arguments, []) if name in FUNCTIONS:
            parts = arguments
        case ast.Constant(value) if type(value) in (int, float):
            parts = []
        case ast.Name(name) if name == variable or name in CONSTANTS:
            parts = []
        case _:
            raise ValueError(f"formula {written!r} contains {ast.unparse(node)!r}, expected arithmetic in {variable}")
    for part in parts:
        _check(part, written, variable, depth + 1)


def _evaluate(node: ast.AST, names: dict[str, float]) -> float:
    match node:
        case ast.BinOp(left, op, right):
            return OPERATORS[type(op)](float(_evaluate(left, names)), float(_evaluate(right, names)))
        case ast.UnaryOp(op, operand):
            return OPERATORS[type(op)](_evaluate(operand, names))
        case ast.Call(ast.Name(name), arguments, []):
            return FUNCTIONS[name](*(_evaluate(argument, names) for argument in arguments))
        case ast.Name(name):
            return names[name]
        case ast.Constant(value):
            return float(value)
    raise AssertionError(node)
