"""The modules of trio_rpc are in layers, and each imports from lower ones only."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import trio_rpc.server.rooms

from .support.imports import import_graph

#: What is in the package, from the bottom to the top; `trio_rpc` is its public names.
_LAYERS = (
    ("errors",),
    ("participant",),
    ("concurrency", "data"),
    ("events", "protocol"),
    ("net", "tokens"),
    ("links",),
    ("streams", "webrtc"),
    ("rpc",),
    ("client", "server"),
    ("trio_rpc",),
    ("cli", "testing"),
    ("__main__",),
)


def _room(module: str) -> str:
    """Return the part of the package, as the names of `_LAYERS`, that a module is in."""
    return module.split(".")[1] if "." in module else module


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
