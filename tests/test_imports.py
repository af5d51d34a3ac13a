"""Imports point one way: app, blueprints, auth; and the embedded Supabase knows nothing of them, nor they of it."""

import ast

import pytest

from tests.test_app import PROJECT

MAY_IMPORT = {
    "app.py": {"auth", "blueprints"},
    "blueprints": {"auth", "blueprints"},
    "auth": {"auth"},
    "local_supabase": {"local_supabase"},
}
OURS = {"app", "auth", "blueprints", "local_supabase", "tests"}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_point_one_way(part):
    files = [PROJECT / part] if part.endswith(".py") else sorted((PROJECT / part).rglob("*.py"))
    assert files
    for file in files:
        assert _imported(file) & OURS <= MAY_IMPORT[part], file


def test_the_rules_know_nothing_of_flask():
    for file in (PROJECT / "auth").glob("*.py"):
        assert not _imported(file) & {"flask", "flask_wtf", "flask_limiter", "werkzeug", "wtforms"}, file


def _imported(file):
    """The top names of what a file imports when it runs; not what it imports for types alone."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}
