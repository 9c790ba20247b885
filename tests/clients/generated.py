"""A client as its generator makes it: commands that run in a copy of its directory below `clients/`."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from app import spec
from tests.support.server import ROOT

WORK = ROOT / ".venv" / "clients"
"""Where clients are generated and compiled; `tools/` in it has the programs that come from PyPI."""

TIMEOUT = 900
"""Seconds for one command. The first time it may download what it needs."""


@dataclass(frozen=True)
class Client:
    """The commands that generate one client from `openapi.yaml`, compile it and run its stories."""

    directory: str
    generate: tuple[str, ...]
    check: tuple[str, ...]
    stories: dict[str, str] = field(default_factory=dict, hash=False)

    def build(self) -> None:
        """Generate and compile the client in a new directory."""
        shutil.rmtree(self.path, ignore_errors=True)
        source = ROOT / "clients" / self.directory
        if source.is_dir():
            shutil.copytree(source, self.path)
        else:
            self.path.mkdir(parents=True)
        (self.path / "openapi.yaml").write_text(spec.as_yaml(spec.published(spec.load())), encoding="utf-8")
        for command in (*self.generate, *self.check):
            self.run(command)

    def tell(self, story: str, address: str, key: str) -> str:
        """Run a story with the API at this address and return what it prints."""
        return self.run(self.stories[story], AMBIENT_API=address, AMBIENT_KEY=key)

    @property
    def path(self) -> Path:
        """Where the client is."""
        return WORK / self.directory

    def run(self, command: str, **environment: str) -> str:
        """Run a command in the client's directory and return its output. Fails if the command does."""
        done = subprocess.run(  # noqa: S602 - our own commands, as the README of the client has them
            command,
            check=False,
            shell=True,
            cwd=self.path,
            env={**os.environ, **_environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-8000:]}"
        return done.stdout


def _environment() -> dict[str, str]:
    """Only tools from registries: those in the two virtual environments first, caches in our own directory."""
    path = [str(WORK / "tools" / "bin"), str(ROOT / ".venv" / "bin"), os.environ["PATH"]]
    return {
        "PATH": os.pathsep.join(path),
        "GOPATH": str(WORK / "gopath"),
        "GOCACHE": str(WORK / "gocache"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",  # so that .venv can be removed
        "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1",  # short programs
        "NO_COLOR": "1",
    }


_PYTHON = (
    "openapi-python-client generate --path openapi.yaml --config config.yaml --meta none --fail-on-warning "
    "--output-path ambient_client"
)
PYTHON = Client(
    directory="python",
    generate=(_PYTHON,),
    check=("mypy story.py",),
    stories={"python": "python story.py"},
)
TYPESCRIPT = Client(
    directory="typescript",
    generate=("npm ci --ignore-scripts --no-audit --no-fund --silent", "npm run generate"),
    check=("npm run check",),
    stories={"typescript": "npm run --silent story", "typescript-light": "npm run --silent story-light"},
)
GO = Client(
    directory="go",
    generate=("mkdir -p ambient && go tool oapi-codegen -config oapi-codegen.yaml openapi.yaml",),
    check=("go vet ./...", "go build -o story ."),
    stories={"go": "./story"},
)
JAVA = Client(
    directory="java",
    generate=("openapi-generator-cli generate --input-spec openapi.yaml --config config.yaml --output .",),
    check=("mvn --batch-mode --no-transfer-progress compile dependency:copy-dependencies",),
    stories={"java": "java -cp 'target/classes:target/dependency/*' Story"},
)
WITH_STORIES = (PYTHON, TYPESCRIPT, GO, JAVA)

_TSC = "npx --yes --package typescript@5.9.3 tsc --noEmit --strict --target es2023 --module esnext"
_OPENAPI_GENERATOR = {
    "python": ("", ('python -c "import openapi_client"',)),
    "go": ("--additional-properties=enumClassPrefix=true", ("go mod tidy", "go vet .")),
    "rust": ("", ("cargo check --quiet",)),
    "typescript-fetch": ("", (f"{_TSC} --moduleResolution bundler index.ts",)),
    "java": (
        "--library okhttp-gson --additional-properties=disallowAdditionalPropertiesIfNotPresent=false",
        ("mvn --batch-mode --no-transfer-progress compile",),
    ),
}
"""The options and the check of each of its languages."""
SWEEP = (
    *(
        Client(
            directory=f"sweep/{language}",
            generate=(f"openapi-generator-cli generate -g {language} -i openapi.yaml -o . {options}",),
            check=check,
        )
        for language, (options, check) in _OPENAPI_GENERATOR.items()
    ),
    Client(
        directory="sweep/ogen",
        generate=(
            "go mod init sweep",
            "go get -tool github.com/ogen-go/ogen/cmd/ogen@v1.25.0",
            "go tool ogen --target ambient --package ambient --clean openapi.yaml",
        ),
        check=("go mod tidy", "go vet ./..."),
    ),
)
