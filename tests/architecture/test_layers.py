"""The tree is the diagram: what may import what, read from the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lmscope

SOURCE = Path(lmscope.__file__).parent
ROOT = SOURCE.parents[1]
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}
by_module = pytest.mark.parametrize("name", sorted(MODULES))


def imports_of(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def facade_imports(tree):
    """Names taken from a package that are not modules of it."""
    return [
        f"{node.module}.{alias.name}"
        for node in imports_of(tree)
        if node.module in PACKAGES
        for alias in node.names
        if f"{node.module}.{alias.name}" not in MODULES and alias.name != "__version__"
    ]


def test_there_is_something_to_check():
    assert {"lmscope.core.site", "lmscope.runs.run"} <= set(MODULES)
    assert facade_imports(ast.parse("from lmscope.core import Site")) == ["lmscope.core.Site"]
    assert facade_imports(ast.parse("from lmscope.core import site")) == []


@by_module
def test_every_module_has_a_docstring(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_text())) or not name.rpartition(".")[2]


@by_module
def test_no_file_is_longer_than_500_lines(name):
    assert len(MODULES[name].read_text().splitlines()) <= 500


@by_module
def test_imports_are_absolute_and_from_the_defining_module(name):
    tree = ast.parse(MODULES[name].read_text())
    assert not [node for node in imports_of(tree) if node.level]
    assert facade_imports(tree) == []


@pytest.mark.parametrize("package", sorted(PACKAGES - {"lmscope"}))
def test_a_package_file_holds_its_docstring_only(package):
    assert len(ast.parse(MODULES[package].read_text()).body) == 1


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="an installed copy")
def test_imports_only_go_down_the_tree():
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    result = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("module", ["lmscope", "lmscope.core.config", "lmscope.cli.main"])
def test_light_modules_do_not_import_heavy_ones(module):
    heavy = "{'torch', 'transformers', 'numpy', 'matplotlib', 'datasets'}"
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr
