"""The commands of the image, as far as they can run without one."""

import json
import re
import subprocess
import sys
from pathlib import Path

from app import settings
from tests.support.server import ROOT, free_port, server_process

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")


def check_health(port: int) -> int:
    """The exit status of the image's health check for a server on `port`."""
    [words] = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    program, *arguments = json.loads(words)
    assert program == "python"
    environment = {"PORT": str(port), "http_proxy": f"http://127.0.0.1:{free_port()}"}
    done = subprocess.run([sys.executable, *arguments], check=False, env=environment, capture_output=True, timeout=30)  # noqa: S603 - our own Dockerfile
    return done.returncode


def test_the_health_check_succeeds_when_the_server_is_up(tmp_path: Path) -> None:
    with server_process(tmp_path) as server:
        assert check_health(server.port) == 0


def test_the_health_check_fails_when_nothing_listens() -> None:
    assert check_health(free_port()) == 1


def test_the_image_sets_only_what_the_server_and_python_know() -> None:
    [line] = re.findall(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)
    names = {word.partition("=")[0] for word in line.split()}
    assert {name for name in names if not name.startswith("PYTHON")} <= {each.name for each in settings.reference()}


def test_the_base_image_is_named_by_its_digest() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", image) for image in images)


def test_what_the_image_copies_is_let_through() -> None:
    copied = {line.split()[0] for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)}
    let_through = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
