"""Which mutants there are: Cosmic Ray's, less those that say nothing about the tests."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.plugins import get_operator

PACKAGE = Path(__file__).resolve().parents[2] / "tinygrad_rnn"

REPLACED = {
    "BinaryOperator": "Add_Sub Add_Mul Sub_Add Mul_Div Mul_Add Div_Mul FloorDiv_Mul Mod_Add Pow_Mul "
    "BitAnd_BitOr BitOr_BitAnd BitXor_BitAnd LShift_RShift RShift_LShift",
    "ComparisonOperator": "Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is Lt_LtE Lt_Gt LtE_Lt LtE_GtE Gt_GtE Gt_Lt "
    "GtE_Gt GtE_LtE",
    "UnaryOperator": "USub_UAdd Delete_Not Delete_Invert",
}
OTHERS = "AddNot ExceptionReplacer NumberReplacer ZeroIterationForLoop ReplaceAndWithOr ReplaceOrWithAnd"
FLAGS = "ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceBreakWithContinue ReplaceContinueWithBreak"
OPERATORS = {f"core/Replace{kind}_{name}" for kind, names in REPLACED.items() for name in names.split()}
OPERATORS |= {f"core/{name}" for name in (OTHERS + " " + FLAGS).split()}
"""Cosmic Ray's operators, less those whose mutants any test kills by a TypeError at import or at the first
call (``a << b`` of floats, a primitive that is not declared one), and less ``==`` in place of ``is``."""

TRIED = {"samples", "domain", "kinks"}
"""What a declaration says to the tests alone, which are not to be tested by it."""


class Mutant(NamedTuple):
    file: str
    operator: str
    occurrence: int
    concerned: str
    """The operations that it may change, for pytest's ``-k``; empty for all of a file that declares none."""


def mutants(file: str) -> list[Mutant]:
    source = (PACKAGE / file).read_text(encoding="utf-8")
    lines = source.splitlines()
    regions = list(left_out(source))
    nodes = list(ast_nodes(get_ast(source)))
    declared = operations(ast.parse(source))
    found = []
    for name in sorted(OPERATORS):
        operator = get_operator(name)()
        starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        found += [
            Mutant(file, name, k, " or ".join(declared.get(start[0], ())))
            for k, start in enumerate(starts)
            if not any(low <= start < high for low, high in regions)
            # The stroke and the star among parameters are no operators.
            and lines[start[0] - 1][start[1] : start[1] + 2] not in ("/,", "/)", "*,")
        ]
    return found


def operations(tree: ast.Module) -> dict[int, list[str]]:
    """For each line the operations that are made of it, directly or through other functions of the file."""
    statements: list[tuple[str, ast.stmt, set[str]]] = []
    for node in tree.body:
        target: Any = node.targets[0] if isinstance(node, ast.Assign) else node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            target = getattr(node.value.func, "value", None)  # tanh in tanh.defvjp(...)
        name = getattr(target, "name", getattr(target, "id", ""))
        statements.append((name, node, {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}))
    declared = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(d).startswith(("primitive(", "composite(")) for d in node.decorator_list)
    }
    lines = {}
    for name, node, _ in statements:
        users = {name}
        while more := {user for user, _, used in statements if used & users} - users:
            users |= more
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        for line in range(first, (node.end_lineno or first) + 1):
            lines[line] = sorted(users & declared or declared)
    return lines


def names(*trees: ast.AST) -> Counter[str]:
    """How often each name is read in some trees, which may lie in each other."""
    nodes = {n for tree in trees for n in ast.walk(tree)}
    return Counter(n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


def left_out(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where nothing is mutated: annotations, and what declarations say to the tests alone."""
    tree = ast.parse(source)
    parts: list[Any] = []
    tried: list[Any] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            parts.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            parts.append(node.returns)
            calls = [d for d in node.decorator_list if isinstance(d, ast.Call)]
            tried += [k.value for call in calls for k in call.keywords if k.arg in TRIED]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "sample":
            tried.append(node)
    # What nothing else uses, a function or a list, is for the tests, too.
    everywhere = names(tree)
    named = [(getattr(getattr(n, "targets", [n])[0], "id", getattr(n, "name", "")), n) for n in tree.body]
    while True:
        here = names(*tried)
        more = [n for name, n in named if n not in tried and 0 < here[name] == everywhere[name]]
        if not more:
            break
        tried += more
    for p in filter(None, parts + tried):
        yield (p.lineno, p.col_offset), (p.end_lineno, p.end_col_offset)
