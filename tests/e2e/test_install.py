"""The wheel, installed into an environment of its own and used from another directory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.deadline import eventually
from tests.support.server import ROOT, free_port

pytestmark = pytest.mark.xdist_group("install")

UV = Path(sys.executable).with_name("uv")


class Installed:
    """The installed command, with a home and a working directory that have nothing to do with the sources."""

    def __init__(self, environment: Path, home: Path) -> None:
        self.packages = next((environment / "lib").glob("python*/site-packages"))
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = environment / "bin" / "ambient-api"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PORT": str(self.port)}

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(  # noqa: S603 - our own command
            [self._command, *arguments],
            check=False,
            cwd=self.home,
            env={**self._environment, **variables},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self) -> "subprocess.Popen[bytes]":
        """Start a server in the background."""
        return subprocess.Popen(  # noqa: S603 - our own command
            [self._command, "serve"], cwd=self.home, env=self._environment, stderr=subprocess.DEVNULL
        )

    def is_healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel with the locked versions of what it needs, and without its extras."""
    directory = tmp_path_factory.mktemp("install")
    environment, home = directory / "environment", directory / "home"
    home.mkdir()
    for arguments in (
        ("build", "--wheel", "--out-dir", directory, ROOT),
        ("venv", "--python", sys.executable, environment),
        ("pip", "install", "--python", environment, "--constraint", ROOT / "requirements.lock"),
    ):
        wheels = directory.glob("*.whl") if "install" in arguments else ()
        subprocess.run([UV, *arguments, "--quiet", *wheels], check=True, timeout=300)  # noqa: S603 - our own command
    return Installed(environment, home)


@pytest.fixture
def server(installed: Installed) -> Iterator[Installed]:
    process = installed.start()
    try:
        eventually(installed.is_healthy)
        yield installed
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_the_project_takes_one_name_in_site_packages(installed: Installed) -> None:
    [metadata] = installed.packages.glob("ambient_public_api-*.dist-info")
    files = [line.split(",")[0] for line in (metadata / "RECORD").read_text().splitlines()]

    assert {file.split("/")[0] for file in files} == {"..", "ambient_public_api", metadata.name}
    assert not any("/tests/" in file or file.endswith((".pyc", ".db")) for file in files if "__pycache__" not in file)


def test_commands_that_only_look_need_no_server_and_leave_nothing(installed: Installed) -> None:
    assert installed.run("--version").stdout.startswith("ambient-api ")
    assert installed.run().stdout == installed.run("--help").stdout
    assert installed.run("spec").stdout.startswith("openapi: 3.0.3\n")
    assert installed.run("keys", "list").returncode == 1
    assert list(installed.home.iterdir()) == []


def test_it_serves_with_its_data_in_the_users_directory(server: Installed) -> None:
    made = server.run("keys", "create", "--project", "demo", "--role", "admin")
    variables = {"AMBIENT_URL": server.url, "AMBIENT_KEY": made.stdout.strip()}

    assert f" in {server.home}/.local/share/ambient-public-api/ambient.db" in made.stderr
    assert "<title>" in requests.get(server.url, timeout=10).text
    assert requests.get(f"{server.url}/v1/docs", timeout=10).ok
    answer = server.run("chat", stdin="list the files", **variables)
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, "The workspace is empty.")
    [session] = server.run("sessions", "list", **variables).stdout.splitlines()
    assert session.endswith("list the files")
    assert [path.name for path in server.home.iterdir()] == [".local"]


def test_tracing_names_the_extra_that_it_needs(installed: Installed) -> None:
    done = installed.run("serve", OTEL_ENABLED="true")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http\n")
    assert len(done.stderr.splitlines()) == 1
