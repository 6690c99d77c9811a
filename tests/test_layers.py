"""The modules of trio_rpc are in layers, and each imports from lower ones only."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import trio_rpc.server.rooms
import trio_rpc.typed

from .support.imports import import_graph

#: What is in the package, from the bottom to the top; `trio_rpc` is its public names. Of `links`,
#: some are further up: those for LiveKit's servers, which are made of WebRTC.
_LAYERS = (
    ("errors",),
    ("protocol",),
    ("participant",),
    ("concurrency", "events"),
    ("net", "tokens"),
    ("links",),
    ("streams", "webrtc"),
    ("links.webrtc", "rpc"),
    ("links.server_connector",),
    ("links.urls",),
    ("client", "server"),
    ("typed",),
    ("trio_rpc",),
    ("cli", "testing"),
    ("__main__",),
)


_ROOMS = {room for rooms in _LAYERS for room in rooms}


def _room(module: str) -> str:
    """Return the part of the package, as the names of `_LAYERS`, that a module is in."""
    first, *path = module.split(".")
    names = [".".join(path[: size + 1]) for size in range(len(path))]
    return next((name for name in reversed(names) if name in _ROOMS), names[0] if names else first)


def test_imports_lead_to_lower_layers_only() -> None:
    graph = import_graph()
    level = {room: level for level, rooms in enumerate(_LAYERS) for room in rooms}
    assert {_room(module) for module in graph} == set(level)
    upwards = [
        f"{module} imports {imported}"
        for module, imports in graph.items()
        for imported in imports
        if imported in graph
        and _room(imported) != _room(module)
        and level[_room(imported)] >= level[_room(module)]
    ]
    assert not upwards


def test_the_top_level_fits_on_a_page() -> None:
    package = Path(trio_rpc.__file__).parent
    modules = [*package.glob("*.py"), *package.glob("*/__init__.py")]
    assert 10 < len(modules) <= 18


def test_no_module_imports_itself_by_way_of_others() -> None:
    # Raises CycleError, which names them.
    TopologicalSorter(import_graph()).prepare()


def test_rooms_await_nothing() -> None:
    """Rooms are values and queues; who has to wait does so in the session of a participant."""
    graph = import_graph()
    rooms = [module for module in graph if module.startswith("trio_rpc.server.rooms.")]
    event_loops = {"anyio", "asyncio", "trio", "trio_rpc.concurrency"}
    assert not [module for module in rooms if graph[module] & event_loops]
    asynchronous = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    paths = list(Path(trio_rpc.server.rooms.__file__).parent.glob("*.py"))
    assert len(paths) > len(rooms)
    for path in paths:
        nodes = ast.walk(ast.parse(path.read_text()))
        assert not any(isinstance(node, asynchronous) for node in nodes), path


def test_typed_calls_use_public_names_alone() -> None:
    """They are a layer above calls of strings, which has no back door for them."""
    folder = Path(trio_rpc.typed.__file__).parent
    private = [
        f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) not in {"self", "cls"}
    ]
    assert not private
    assert len(list(folder.rglob("*.py"))) > 10
