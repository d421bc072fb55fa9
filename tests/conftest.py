"""Fixtures that all tests share."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import bundles, paths
from support.daemon import Daemon
from support.mlflow import MLflow
from support.process import Process


def pytest_sessionstart() -> None:
    """Without the binary there is nothing to test."""
    if not paths.BINARY.exists():
        pytest.exit(f"{paths.BINARY} is not there; run tests/run, or cargo build", returncode=66)


@pytest.fixture
def running() -> Iterator[list[Process]]:
    """Processes of this test: ended after it, their logs shown when it failed."""
    processes: list[Process] = []
    yield processes
    for process in reversed(processes):
        process.close()
        print(f"\n--- {process.log_file.name}, its end\n{process.log()[-6000:]}")


@pytest.fixture
def daemon(tmp_path: Path, running: list[Process]) -> Callable[..., Daemon]:
    """Starts gateways: `daemon(config)` gives one that is ready."""

    def start(config: str | Path, folder: str = "gateway", **env: str) -> Daemon:
        gateway = Daemon(tmp_path / folder, config, **env)
        running.append(gateway)
        return gateway.start()

    return start


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes bundles, each once: `bundle("ai4i-gbt")`. Who changes one copies it first."""
    made: dict[tuple, Path] = {}

    def make(model: str = "ai4i-gbt", **options: str) -> Path:
        key = (model, *sorted(options.items()))
        if key not in made:
            made[key] = bundles.make(tmp_path_factory.mktemp("bundle") / model, model, **options)
        return made[key]

    return make


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflow]:
    """A tracking server that lets everyone in: one for all tests of a file, since it takes long to start."""
    server = MLflow(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start(120)
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """One Chromium for all tests of a file; every visit has its own cookies."""
    from support.browser import chromium

    with chromium() as running:
        yield running


@pytest.fixture
def visits(browser, tmp_path: Path) -> Iterator[Callable]:
    """Opens windows: `visits(url, viewport)`. Afterwards all of them must have kept to the gateway."""
    from playwright.sync_api import Error

    from support.browser import DESK, Visit

    opened: list[Visit] = []

    def visit(url: str, viewport: dict[str, int] = DESK, **options) -> Visit:
        opened.append(Visit(browser, url, viewport, **options))
        return opened[-1]

    yield visit
    for number, one in enumerate(opened):
        try:
            picture = tmp_path / f"page-{number}.png"
            one.page.screenshot(path=picture)
            print(f"the window at the end: {picture}")
        except Error as error:
            print(f"no picture of the window: {error}")
        one.close()
    for one in opened:
        assert not one.elsewhere(), f"the page asked other hosts: {one.elsewhere()}"


@pytest.fixture(scope="session")
def version() -> str:
    """What the binary calls itself."""
    return subprocess.run([paths.BINARY, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
