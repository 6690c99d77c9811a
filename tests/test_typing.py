"""The types that the public API gives to programs, as mypy and pyright see them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parent.parent
EXAMPLES: Final = ROOT / "tests" / "typing_examples.py"
#: Seconds that a checker may take, which reads all that trio_rpc imports.
TIMEOUT: Final = 300.0


def run_checker(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed here; the nox session `types` has it")
    return subprocess.run(
        [sys.executable, "-m", name, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_mypy_finds_the_mistakes_that_are_expected_and_no_others() -> None:
    completed = run_checker("mypy", "--strict", str(EXAMPLES))
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_pyright_finds_the_mistakes_that_are_expected_and_no_others(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES, tmp_path)
    settings = {
        "include": [EXAMPLES.name],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,  # these are for mypy
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    options = f"--project={tmp_path}", f"--pythonpath={sys.executable}", "--outputjson"
    completed = run_checker("pyright", *options)
    report: dict[str, Any] = json.loads(completed.stdout)
    assert report["generalDiagnostics"] == []
    assert report["summary"]["filesAnalyzed"] == 1
