"""The page with the counts has a row for each test that counts, and no other."""

import ast
from pathlib import Path

import pytest
from reliability import INTRODUCTION, PAGE, Tally, read_rows, versions


def counting_tests():
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            if is_test and "tally" in [argument.arg for argument in node.args.args]:
                yield ast.get_docstring(node).splitlines()[0].rstrip(".")


def test_the_page_is_the_generated_one():
    rows = read_rows()
    assert sorted(row.split(" |")[0][2:] for row in rows) == sorted(counting_tests())
    text = PAGE.read_text(encoding="utf-8")
    assert text.endswith("\n".join(sorted(rows)) + "\n")
    if versions() in text:
        assert text == INTRODUCTION.format(versions=versions()) + "\n".join(sorted(rows)) + "\n"


@pytest.mark.parametrize("error", [ValueError("b.png: cut"), ValueError("a.png:\ncut"), KeyError("a.png")])
def test_what_is_no_refusal_is_not_counted(error):
    def action():
        raise error

    tally = Tally()
    with pytest.raises((AssertionError, KeyError)):
        tally.attempt(action, "a.png")
    assert tally.refused == tally.survived == 0
    assert tally.attempt(lambda: 3) == 3 and tally.survived == 1
