"""Each client takes every step with a server, before the document's own check, and with a server of a later version."""

import json
from typing import Any

import pytest
import requests

from app import spec
from app.web import reference
from tests.clients.conftest import Build, Server
from tests.clients.generated import TIMEOUT, TYPESCRIPT, WITH_STORIES, Client
from tests.support.later import CODE, FIELD
from tests.support.server import ROOT

pytestmark = pytest.mark.timeout(3 * TIMEOUT)

each_story = pytest.mark.parametrize(
    ("client", "story"),
    [
        pytest.param(client, story, id=story, marks=pytest.mark.xdist_group(client.directory))
        for client in WITH_STORIES
        for story in client.stories
    ],
)


@each_story
def test_a_client_takes_every_step(built: Build, client: Client, story: str, server: Server) -> None:
    assert built(client).tell(story, server.address, server.key).splitlines()[-1] == "done"


@each_story
def test_every_step_is_as_the_document_says(built: Build, client: Client, story: str, checked_server: Server) -> None:
    assert built(client).tell(story, checked_server.address, checked_server.key).splitlines()[-1] == "done"


@each_story
def test_a_client_takes_every_step_with_a_later_version(
    built: Build, client: Client, story: str, later_server: Server
) -> None:
    lines = built(client).tell(story, later_server.address, later_server.key).splitlines()

    assert f"refused: 400 {CODE}" in lines
    assert lines[-1] == "done"


@pytest.mark.xdist_group(TYPESCRIPT.directory)
def test_the_samples_of_the_reference_compile(built: Build) -> None:
    client = built(TYPESCRIPT)
    paths = reference.rendered(spec.published(spec.load()))["paths"].values()
    operations = [found for path in paths for found in path.values() if isinstance(found, dict)]
    for operation in operations:
        [sample] = operation["x-codeSamples"]
        (client.path / f"sample-{operation['operationId']}.ts").write_text(sample["source"], encoding="utf-8")

    client.run(*client.check)


@pytest.mark.parametrize("client", WITH_STORIES, ids=lambda client: client.directory)
def test_the_page_of_a_client_has_the_commands_that_are_tested(client: Client) -> None:
    page = (ROOT / "clients" / client.directory / "README.md").read_text(encoding="utf-8")
    lines = " ".join(page.replace("\\\n", " ").split())

    for command in (*client.generate, *client.check, *client.stories.values()):
        assert command in lines


def test_the_check_refuses_what_the_document_does_not_allow(checked_server: Server) -> None:
    wrong = get(checked_server, "/sessions?limit=0")

    assert wrong.headers["Content-Type"] == "application/problem+json"
    assert get(checked_server, "/sessions?limit=1").status_code == requests.codes.ok


def test_a_later_version_has_one_more_field_everywhere_and_one_more_code(later_server: Server) -> None:
    body = {"task": "Hello", "labels": {"team": "basket"}}
    created = requests.post(f"{later_server.address}/sessions", json=body, headers=authorized(later_server), timeout=60)
    session = f"/sessions/{created.json()['id']}"
    run_id = created.json()["run_id"]
    stream = get(later_server, f"{session}/events?run_id={run_id}")
    page = get(later_server, "/sessions").json()
    log = get(later_server, f"{session}/output?format=compact").json()
    events = [json.loads(line.removeprefix("data: ")) for line in stream.text.splitlines() if line.startswith("data: ")]

    assert created.json()["labels"] == {"team": "basket"}
    assert all(FIELD in node for node in (created.json(), page, page["items"][0], log, *log["events"], *events))
    assert events[-1]["type"] == "RUN_FINISHED"
    assert get(later_server, "/sessions?limit=0").json()["code"] == CODE


def get(server: Server, path: str) -> requests.Response:
    return requests.get(f"{server.address}{path}", headers=authorized(server), timeout=60)


def authorized(server: Server) -> dict[str, Any]:
    return {"Authorization": f"Bearer {server.key}"}
