"""README.md says which test proves which statement; the docstrings say it too. Here the two are compared."""

import ast
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECURITY = [str(number) for number in range(1, 50)]
WRONGLY_ASSUMED = [f"10.3.{number}" for number in range(1, 10)]

# A docstring begins with the sections and statements it is about: "25, 3.11: …", "13, and 10.3.1: …".
ABOUT = re.compile(r"(?:(?:[Ss]ection )?\d+(?:\.\d+)*(?:, and |, | and )?)+")


@cache
def _tests_by_statement() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {statement: set() for statement in SECURITY + WRONGLY_ASSUMED}
    for file in sorted(HERE.glob("test_auth_*.py")):
        short = file.stem.removeprefix("test_auth_")
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for statement in _statements(ast.get_docstring(node) or ""):
                    found[statement].add(f"{short}: {node.name.removeprefix('test_')}")
    return found


def _statements(docstring: str) -> set[str]:
    about = ABOUT.match(docstring)
    named = set(re.findall(r"[\d.]*\d", re.sub(r"[Ss]ection \d+", "", about[0]))) if about else set()
    return (named & set(SECURITY)) | set(re.findall(r"10\.3\.\d", docstring))


def _index() -> dict[str, str]:
    """The rows of README.md: statement, and what proves it or why nothing does."""
    rows = re.findall(r"^\| ([\d.]+) \|[^|]*\| (.*) \|$", (HERE / "README.md").read_text(), flags=re.MULTILINE)
    return dict(rows)


def _proofs(cell: str) -> set[str]:
    """The tests a cell names: "`file`: one, another; `other`: a third"."""
    named = re.findall(r"`(\w+)`: ([\w, ]+)", cell)
    return {f"{file}: {test}" for file, tests in named for test in tests.split(", ")}


def test_every_statement_has_its_row():
    assert list(_index()) == SECURITY + WRONGLY_ASSUMED


@pytest.mark.parametrize("statement", SECURITY + WRONGLY_ASSUMED)
def test_a_row_names_the_tests_that_name_it_or_says_why_there_is_none(statement):
    cell, tests = _index()[statement], _tests_by_statement()[statement]
    if cell.startswith("absent: "):
        assert not tests
    else:
        assert tests, "no test, and no reason"
        assert _proofs(cell) == tests


def test_only_somebody_elses_supabase_may_lack_something(server):
    """Whether a test is skipped is has_to_have()'s to say. Nothing is skipped here: what it would skip by is caught."""
    elsewhere = replace(server, is_ours=False)
    with pytest.raises(pytest.skip.Exception, match="needs MAILBOX_URL"):
        elsewhere.has_to_have(None, "MAILBOX_URL")
    with pytest.raises(pytest.fail.Exception, match="our own stack lacks MAILBOX_URL"):
        replace(server, is_ours=True).has_to_have(None, "MAILBOX_URL")
