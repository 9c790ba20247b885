"""Fixtures for all tests: one server for each backend, and a separate project for each test."""

import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from app.observability import logs
from tests.support.api import Api
from tests.support.server import Background, background
from tests.support.stage import EmbeddedStage, PlatformStage, Stage, embedded_stage, platform_stage

# On a busy machine every generator is slow at times; no test asserts a time.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")


@pytest.fixture(scope="session")
def loop() -> Iterator[Background]:
    logs.configure("info")
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
def platform(shared_platform: PlatformStage) -> Iterator[PlatformStage]:
    """The platform's stage, reset after each test."""
    yield shared_platform
    shared_platform.reset()


@pytest.fixture
def embedded(shared_embedded: EmbeddedStage) -> EmbeddedStage:
    return shared_embedded


@pytest.fixture(params=["ambient", "embedded"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """Each backend in turn."""
    stage: Stage = request.getfixturevalue("platform" if request.param == "ambient" else "embedded")
    return stage


@pytest.fixture
def api(stage: Stage) -> Iterator[Api]:
    """A client with the role admin in a new project."""
    with stage.api() as api:
        yield api


@pytest.fixture
def platform_api(platform: PlatformStage) -> Iterator[Api]:
    with platform.api() as api:
        yield api


@pytest.fixture
def embedded_api(embedded: EmbeddedStage) -> Iterator[Api]:
    with embedded.api() as api:
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
