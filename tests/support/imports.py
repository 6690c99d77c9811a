"""The imports of trio_rpc's modules, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from importlib.util import resolve_name
from pathlib import Path

import trio_rpc

_ROOT = Path(trio_rpc.__file__).parent


def import_graph() -> dict[str, set[str]]:
    """Return the names of the modules that each module of trio_rpc imports.

    Imports in functions and under `TYPE_CHECKING` are among them; not those of parent packages,
    which Python makes by itself.
    """
    paths = {_module_name(path): path for path in _ROOT.rglob("*.py")}
    return {module: set(_imports(module, path, paths)) for module, path in paths.items()}


def _module_name(path: Path) -> str:
    parts = path.relative_to(_ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _imports(module: str, path: Path, modules: Container[str]) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                submodule = f"{origin}.{alias.name}"
                yield submodule if submodule in modules else origin
