"""Responses that are sent while they are produced."""

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.models.caller import Role
from app.server import streaming
from tests.support import platform_failures as fault
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.stage import PlatformStage

EVENTS, SIZE = 400, 5_000
PATH = "/v1/sessions/{}/output?format={}"


def headers(stage: PlatformStage, api: Api) -> dict[str, str]:
    token = stage.token(str(api.project), Role.ADMIN)
    return {"Authorization": f"Bearer {token}", "X-Ambient-Project": str(api.project)}


def opened(stage: PlatformStage, api: Api, session_id: str, format: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urlsplit(stage.url).netloc, timeout=30)
    connection.request("GET", PATH.format(session_id, format), headers=headers(stage, api))
    return connection


def events(*numbers: int) -> list[dict[str, Any]]:
    return [{"type": "CUSTOM", "name": "filling", "value": f"{number:05}" + "x" * SIZE} for number in numbers]


@pytest.mark.parametrize("format", ["events", "compact"])
def test_a_response_is_aborted_where_the_platform_breaks_off(
    ambient: PlatformStage, ambient_api: Api, format: str
) -> None:
    session_id = ambient.session(ambient_api, "running")
    begun = b'{"aguiEvents":[%b,' % b",".join(json.dumps(event).encode() for event in events(*range(EVENTS)))
    ambient.platform.always("export", fault.truncate_after(begun))
    with closing(opened(ambient, ambient_api, session_id, format)) as connection:
        response = connection.getresponse()
        assert response.status == 200
        with pytest.raises(http.client.IncompleteRead) as aborted:
            response.read()
    assert aborted.value.partial.startswith(b'{"session_id":"%b"' % session_id.encode())


@pytest.mark.parametrize("format", ["events", "compact", "transcript"])
def test_a_response_of_which_nothing_can_be_read_is_an_error(
    ambient: PlatformStage, ambient_api: Api, format: str
) -> None:
    session_id = ambient.session(ambient_api, "running")
    ambient.platform.always("export", fault.respond(200, b'{"aguiEvents":[{"type":"CUSTOM"},'))
    assert ambient_api.output(session_id, format=format).error == (502, "backend_unavailable")


@pytest.mark.parametrize("query", [{"format": "events"}, {"format": "compact"}, {"format": "events", "limit": 1}, {}])
@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
def test_what_is_not_utf8_is_not_sent(
    ambient: PlatformStage, ambient_api: Api, query: dict[str, Any], broken: bytes
) -> None:
    session_id = ambient.session(ambient_api, "running")
    event = b'{"type":"TEXT_MESSAGE_CHUNK","runId":"r","messageId":"m","delta":"%b"}'
    ambient.platform.always("export", fault.respond(200, b'{"aguiEvents":[%b]}' % (event % broken)))
    assert ambient_api.output(session_id, **query).error == (502, "backend_unavailable")
    (run,) = ambient_api.list_runs(session_id).body["runs"]
    assert (run["run_id"], run["event_count"]) == ("r", 1)


@pytest.mark.parametrize("format", ["events", "compact"])
def test_a_reader_that_leaves_releases_the_platform(ambient: PlatformStage, ambient_api: Api, format: str) -> None:
    session_id = ambient.session(ambient_api, "running")
    endless = fault.Endless(json.dumps(events(0)[0]).encode())
    ambient.platform.always("export", endless)
    with closing(opened(ambient, ambient_api, session_id, format)) as connection:
        assert connection.getresponse().read(SIZE)
    eventually(lambda: endless.closed)


def test_a_reader_that_does_not_read_is_disconnected(
    ambient: PlatformStage, ambient_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "SEND_SECONDS", 0.2)
    session_id = ambient.session(ambient_api, "running")
    endless = fault.Endless(json.dumps(events(0)[0]).encode())
    ambient.platform.always("export", endless)
    with closing(opened(ambient, ambient_api, session_id, "events")):
        eventually(lambda: endless.closed)
