"""Cuts as users write them: ``"phot_g_mean_mag < 14 & abs(b) > 5"``.

Only column names, numbers, arithmetic, comparisons, ``& | ~``, ``and or not`` and a few functions exist; the text is parsed, never
executed. ``&`` and ``|`` bind as ``and`` and ``or`` do, so that comparisons need no brackets. Where a value is missing the
comparison is false, and so is its negation: a star whose value is unknown never passes a cut on it.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in ("abs", "sqrt", "log", "log10", "exp", "sin", "cos", "tan", "hypot", "isfinite", "minimum", "maximum")
}
_FUNCTIONS |= {"min": np.minimum, "max": np.maximum}
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.Mod: np.mod,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


class Expression:
    """A condition on the columns of a table; ``names`` are the columns it needs.

    Raises
    ------
    CatalogueError
        If the text is not such a condition.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text.strip() or len(text) > 2000:
            found = text[:60] if isinstance(text, str) else text
            raise CatalogueError(f"a cut must be an expression such as 'parallax > 1', found {found!r}")
        self.text = " ".join(text.split())
        source = re.sub(r"&&?", " and ", self.text)
        source = re.sub(r"\|\|?", " or ", source)
        source = re.sub(r"[~!](?!=)", " not ", source)
        source = re.sub(r"(?i)\b(and|or|not)\b", lambda word: word.group().lower(), source)
        try:
            self._tree = ast.parse(source.strip(), mode="eval").body
            self._check(self._tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = str(error) if isinstance(error, CatalogueError) else f"it cannot be parsed ({getattr(error, 'msg', None) or error})"
            raise CatalogueError(f"cut {self.text[:80]!r}: {reason}") from None
        functions = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        self.names = sorted({node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name) and id(node) not in functions})
        if not _logical(self._tree):
            raise CatalogueError(f"cut {self.text!r}: it is not a condition; compare something, as in 'ruwe < 1.4'")

    def _check(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
                called = node.func.id if isinstance(node.func, ast.Name) else "that"
                raise CatalogueError(f"{called} is not a known function; known are {', '.join(_FUNCTIONS)}")
            wanted = 2 if node.func.id in ("hypot", "minimum", "maximum", "min", "max") else 1
            if len(node.args) != wanted:
                raise CatalogueError(f"{node.func.id} takes {wanted} argument{'s' * (wanted > 1)}")
            parts: Iterable[ast.AST] = node.args
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, complex) or not isinstance(node.value, int | float | bool):
                raise CatalogueError(f"{node.value!r} is not a number")
            if not abs(node.value) < 1e300:
                raise CatalogueError("it holds a number beyond 1e300")
            parts = ()
        elif isinstance(node, ast.Name):
            parts = ()
        elif isinstance(node, ast.BoolOp):
            parts = node.values
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.UAdd):
            parts = (node.operand,)
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            parts = (node.left, node.right)
        elif isinstance(node, ast.Compare) and all(type(op) in _OPERATORS for op in node.ops):
            parts = (node.left, *node.comparators)
        else:
            raise CatalogueError(
                f"{type(node).__name__} is not allowed; use columns, numbers, + - * / **, comparisons, & | ~ and functions"
            )
        for part in parts:
            self._check(part)

    def __call__(self, columns: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Where the condition is known to hold; ``columns`` maps each of ``names`` to float64 (NaN: missing) or bool, shape (N,)."""
        with np.errstate(all="ignore"):
            return np.asarray(_truth(self._tree, columns)[0], dtype=bool)

    def missing(self, available: Iterable[str]) -> None:
        """Raise `CatalogueError` for a name that is not a column."""
        available = list(available)
        for name in self.names:
            if name not in available:
                close = difflib.get_close_matches(name, available, n=1)
                hint = f"did you mean {close[0]!r}?" if close else "no column has a similar name"
                raise CatalogueError(f"cut {self.text!r}: the table has no column {name!r}; {hint}")


def _logical(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "isfinite"
    return isinstance(node, ast.Compare | ast.BoolOp | ast.Name) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))


def _truth(node: ast.AST, columns: Mapping[str, Any]) -> tuple[Any, Any]:
    """(known to be true, known to be false): three-valued logic, so that missing values survive a negation."""
    if isinstance(node, ast.BoolOp):
        sides = [_truth(part, columns) for part in node.values]
        every, some = np.logical_and, np.logical_or
        yes, no = sides[0]
        for true, false in sides[1:]:
            yes, no = (every(yes, true), some(no, false)) if isinstance(node.op, ast.And) else (some(yes, true), every(no, false))
        return yes, no
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yes, no = _truth(node.operand, columns)
        return no, yes
    if isinstance(node, ast.Compare):
        values = [_value(part, columns) for part in (node.left, *node.comparators)]
        known = np.logical_and.reduce(np.broadcast_arrays(*[~np.isnan(value) for value in values]))
        holds = np.ones_like(known)
        for op, left, right in zip(node.ops, values[:-1], values[1:], strict=True):
            holds = holds & _OPERATORS[type(op)](left, right)
        return known & holds, known & ~holds
    value = _value(node, columns)
    known = ~np.isnan(value)
    return known & (value != 0), known & (value == 0)


def _value(node: ast.AST, columns: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return np.float64(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return np.asarray(columns[node.id], dtype=np.float64)
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, columns), _value(node.right, columns))
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        value = _value(node.operand, columns)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return np.asarray(_FUNCTIONS[node.func.id](*(_value(part, columns) for part in node.args)), dtype=np.float64)
    yes, no = _truth(node, columns)
    return np.where(yes, 1.0, np.where(no, 0.0, np.nan))
