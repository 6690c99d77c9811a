"""The protocol in code knows no event loop."""

from __future__ import annotations

from ..support.imports import import_graph

_IMPURE = {"anyio", "asyncio", "sniffio", "trio"}


def test_nothing_in_protocol_imports_an_event_loop() -> None:
    graph = import_graph()
    reached = {module for module in graph if module.startswith("trio_rpc.protocol.")}
    assert reached
    rest = list(reached)
    while rest:
        for imported in graph.get(rest.pop(), set()) - reached:
            reached.add(imported)
            rest.append(imported)
    assert "trio_rpc.concurrency" not in reached
    assert not _IMPURE & {module.partition(".")[0] for module in reached}
