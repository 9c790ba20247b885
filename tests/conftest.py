"""How tests are distributed, and fixtures for all of them: a server for each backend, a project for each test."""

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.nodeid import NodeId
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling

from app.observability import logs
from tests.support.api import Api
from tests.support.server import Background, background
from tests.support.stage import EmbeddedStage, PlatformStage, Stage, embedded_stage, platform_stage
from tests.support.store import ON_POSTGRESQL, remove_postgresql_server

# On a busy machine every generator is slow at times; no test asserts a time.
for profile, examples in (("quick", 30), ("thorough", 300)):
    settings.register_profile(
        profile, max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("quick")

AMBIENT, EMBEDDED = {"ambient", "on_ambient"}, {"embedded", "on_embedded"}
SHORT = {"store", "tests", "web"}
"""Directories of short files: they come last, so that no worker is left with a long one."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test its id where Schemathesis and pytest-xdist look for it, and in a worker its group.

    Both know an attribute that pytest 9.2 no longer has.
    """
    groups = item.iter_markers("xdist_group") if hasattr(item.config, "workerinput") else ()
    item._id = NodeId.parse("@".join([item.nodeid, *(mark.args[0] for mark in groups)]))
    item._nodeid = item.nodeid  # type: ignore[attr-defined]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests; leave out those of the platform's backend, which has no store, where the store is PostgreSQL."""
    items.sort(key=lambda item: item.path.parent.name in SHORT)
    if ON_POSTGRESQL:
        left_out = [item for item in items if _needs_no_store(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_collection_finish() -> None:
    """Keep the tests and all that they have imported from the garbage collector: each full collection takes 0.2 s."""
    gc.freeze()


def _needs_no_store(item: pytest.Item) -> bool:
    fixtures = set(item.fixturenames) if isinstance(item, pytest.Function) else set()
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return parameters.get("stage") == "ambient" or (not fixtures.isdisjoint(AMBIENT) and fixtures.isdisjoint(EMBEDDED))


class Files(LoadGroupScheduling):  # type: ignore[misc]  # ships no types
    """The tests of a file run in one worker, unless they have groups: its fixtures are made once."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return nodeid.partition("::")[0] if scope == nodeid else scope


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Files:
    return Files(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """Return more workers than cores, since a third of the time tests wait for processes, timeouts and disks."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_unconfigure() -> None:
    remove_postgresql_server()


@pytest.fixture(scope="session", autouse=True)
def log_lines() -> None:
    """Log as a server does; structlog's own default takes seconds to draw a traceback."""
    logs.configure("info")


@pytest.fixture(scope="session")
def loop() -> Iterator[Background]:
    with background() as loop:
        yield loop


@pytest.fixture(scope="session")
def shared_platform(loop: Background) -> Iterator[PlatformStage]:
    with platform_stage(loop) as stage:
        yield stage


@pytest.fixture(scope="session")
def shared_embedded(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    with embedded_stage(loop, tmp_path_factory.mktemp("embedded")) as stage:
        yield stage


@pytest.fixture
def ambient(shared_platform: PlatformStage) -> Iterator[PlatformStage]:
    """The platform's stage, reset after each test."""
    yield shared_platform
    shared_platform.reset()


@pytest.fixture
def embedded(shared_embedded: EmbeddedStage) -> EmbeddedStage:
    return shared_embedded


@pytest.fixture(params=["ambient", "embedded"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """Each backend in turn."""
    stage: Stage = request.getfixturevalue(request.param)
    return stage


@pytest.fixture
def api(stage: Stage) -> Iterator[Api]:
    """A client with the role admin in a new project."""
    with stage.api() as api:
        yield api


@pytest.fixture
def ambient_api(ambient: PlatformStage) -> Iterator[Api]:
    with ambient.api() as api:
        yield api


@pytest.fixture
def embedded_api(embedded: EmbeddedStage) -> Iterator[Api]:
    with embedded.api() as api:
        yield api


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory below which the project `demo` may use local directories on the server of `local`."""
    return tmp_path_factory.mktemp("roots")


@pytest.fixture(scope="session")
def local(loop: Background, roots: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    with embedded_stage(loop, tmp_path_factory.mktemp("local"), local_roots=f"demo={roots}") as stage:
        yield stage


@pytest.fixture
def local_api(local: EmbeddedStage) -> Iterator[Api]:
    with local.api("demo") as api:
        yield api


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a git repository with a branch main, a README.md and a directory docs."""
    directory = tmp_path_factory.mktemp("git") / "shop"
    (directory / "docs").mkdir(parents=True)
    (directory / "README.md").write_text("A shop\n")
    (directory / "docs" / "guide.md").write_text("A guide\n")
    git = ("git", "-C", str(directory), "-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (("init", "--quiet", "-b", "main"), ("add", "."), ("commit", "--quiet", "-m", "Begin")):
        subprocess.run([*git, *command], check=True)  # noqa: S603 - our own command
    return directory.as_uri()
