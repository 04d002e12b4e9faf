"""The sizes that keep the code readable. The layers are import-linter's business."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES_MAX, FUNCTION_LINES_MAX = 400, 50
MODULES = sorted(
    path
    for part in ("pipeline", "consumers", "infra", "tests")
    for path in (ROOT / part).rglob("*.py")
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text()
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert (text.count("\n") <= MODULE_LINES_MAX, long) == (True, [])
