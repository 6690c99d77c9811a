"""docs/reference/cli.md says what the command line does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trio_rpc.cli import main
from trio_rpc.cli.exits import ExitCode
from trio_rpc.cli.options import DEV_API_KEY, DEV_API_SECRET

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def sections() -> dict[str, str]:
    """Return the text under each heading of the second level."""
    blocks = REFERENCE.read_text(encoding="utf-8").split("\n## ")
    return dict(block.partition("\n")[::2] for block in blocks)


@pytest.mark.parametrize(
    "command",
    [
        "serve",
        "token create",
        "token inspect",
        "call",
        "methods",
        "mcp",
        "answer",
        "send",
        "listen",
    ],
)
def test_every_option_is_documented(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    usage = capsys.readouterr().out.partition("\n\n")[0]
    options = set(re.findall(r"--[a-z-]+", usage))
    assert options
    assert sorted(options - set(re.findall(r"--[a-z-]+", sections()[command]))) == []


def test_every_exit_code_is_documented() -> None:
    codes = re.findall(r"^\| (\d+) \|", sections()["Exit codes"], re.MULTILINE)
    assert [int(code) for code in codes] == list(ExitCode)


def test_the_key_of_development_is_documented() -> None:
    assert f"`{DEV_API_KEY}`" in sections()["serve"]
    assert f"`{DEV_API_SECRET}`" in sections()["serve"]
