"""The figures of the simulations, at the end of the run."""

from __future__ import annotations

import pytest

from .run import Figures

FIGURES: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.fixture
def report_figures(request: pytest.FixtureRequest) -> object:
    """Return a function that records the figures of a simulation."""

    def report(figures: Figures) -> None:
        lines = request.config.stash.setdefault(FIGURES, [])
        lines.append(f"{request.node.name}\n{figures}")

    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if figures := config.stash.get(FIGURES, None):
        terminalreporter.section("simulation")
        for lines in figures:
            terminalreporter.write_line(lines)
