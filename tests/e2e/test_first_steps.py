"""The first steps with `python -m app serve --demo-key`: paste the printed lines, create, talk, read, look around."""

import datetime
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
import yaml
from openapi_spec_validator import validate

from tests.support.api import Api, check_error, served_contract
from tests.support.server import ROOT, ServerProcess, run_command, server_process

pytestmark = pytest.mark.xdist_group("first_steps")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_process(tmp_path_factory.mktemp("server"), "serve", "--demo-key") as server:
        yield server


@pytest.fixture
def api(server: ServerProcess) -> Iterator[Api]:
    with Api(server.url, served_contract(server.url), token=demo_key(server)) as api:
        yield api


def demo_key(server: ServerProcess) -> str:
    found = re.search(r"ak_[A-Za-z0-9_-]{43}", server.output)
    assert found
    return found[0]


def paste(server: ServerProcess, lines: str, stdin: str = "") -> str:
    """Return what a shell in the project's directory prints."""
    done = subprocess.run(  # noqa: S603 - our own lines
        ["/bin/sh", "-c", lines],
        check=True,
        cwd=ROOT,
        env=server.environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout


def test_the_printed_lines_work_as_they_stand(server: ServerProcess) -> None:
    console, curl, export, chat, hint = server.output.splitlines()
    assert hint.startswith("# To let sessions work on directories of your own")
    assert console == f"Console: {server.url}/#key={demo_key(server)}"
    assert curl.startswith("curl ")
    assert not set("|\\") & set(curl)
    assert {"items", "total", "has_more"} <= set(json.loads(paste(server, curl)))
    assert "I am the demo agent" in paste(server, f"{export}\n{chat}", stdin="Hello")


def test_the_agents_answer_is_in_the_transcript(api: Api) -> None:
    created = api.create_session(task="list the files", display_name="First steps")
    session_id = created.body["id"]
    assert (created.status, created.headers["Location"]) == (201, f"/v1/sessions/{session_id}")
    api.wait_for_status(session_id, "running")
    run = api.say(session_id, "what did I say?")
    assert run["status"] == "completed"
    messages = api.output(session_id).ok()["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == [
        "list the files",
        "what did I say?",
    ]
    assert messages[-1]["role"] == "assistant"
    assert "list the files" in messages[-1]["content"]


def test_a_session_is_stopped_started_and_deleted(api: Api) -> None:
    session_id = api.create_session(task="slow 0").ok()["id"]
    api.wait_for_status(session_id, "running")
    assert api.stop_session(session_id).status == 202
    api.wait_for_status(session_id, "stopped")
    assert api.start_session(session_id).status == 202
    api.wait_for_status(session_id, "running")
    assert api.delete_session(session_id).status == 204


def test_probes_need_no_token(server: ServerProcess) -> None:
    assert requests.get(f"{server.url}/health", timeout=10).json() == {"status": "ok"}
    assert requests.get(f"{server.url}/ready", timeout=10).json() == {"status": "ready"}


def test_metrics_count_what_happens(server: ServerProcess, api: Api) -> None:
    api.list_sessions().ok()
    api.get_session("no-such-session")
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    assert re.search(r'^http_requests_total\{[^}]*operation="list_sessions"[^}]*\} [1-9]', text, re.MULTILINE)
    assert re.search(r'^http_requests_total\{[^}]*status="404"[^}]*\} [1-9]', text, re.MULTILINE)
    assert "no-such-session" not in text


def test_the_document_is_served_whole_in_both_notations(server: ServerProcess) -> None:
    as_json = requests.get(f"{server.url}/v1/openapi.json", timeout=10)
    as_yaml = requests.get(f"{server.url}/v1/openapi.yaml", timeout=10)
    assert as_json.headers["Content-Type"] == "application/json"
    assert as_json.json() == yaml.safe_load(as_yaml.text)
    validate(as_json.json())
    assert set(re.findall(r'"\$ref":\s*"([^"#]*)', as_json.text)) == {""}


def test_the_printed_document_is_the_served_one(server: ServerProcess, tmp_path: Any) -> None:
    served = requests.get(f"{server.url}/v1/openapi.json", timeout=10).json()
    for notation, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        printed = run_command(tmp_path, "spec", "--format", notation)
        assert printed.returncode == 0
        assert load(printed.stdout) == served


def test_the_reference_page_needs_nothing_from_elsewhere(server: ServerProcess) -> None:
    page = requests.get(f"{server.url}/v1/docs", timeout=10)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "'self'" in page.headers["Content-Security-Policy"]
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert assets
    for asset in assets:
        assert not re.match(r"(?:[a-z]+:)?//", asset), asset
        found = requests.get(urljoin(page.url, asset), timeout=10)
        assert (found.status_code, bool(found.content)) == (200, True)


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/sessions/", "/v2/sessions", "/v1/docs/assets/../../app"])
def test_any_other_path_is_an_error_in_json(server: ServerProcess, path: str) -> None:
    with requests.Session() as http:
        prepared = http.prepare_request(requests.Request("GET", server.url))
        prepared.url = server.url + path
        response = http.send(prepared, timeout=10, allow_redirects=False)
    assert response.status_code == 404
    check_error(response)


def test_the_log_is_json_and_holds_no_token(server: ServerProcess, api: Api) -> None:
    sent = "e2e-log-1"
    api.call("list_sessions", query={"search": "private"}, headers={"X-Request-ID": sent})
    with api.as_(token="secret-of-somebody") as stranger:
        stranger.list_sessions()
    [line] = [line for line in server.log if line.get("request_id") == sent]
    assert line["status"] == 200
    assert line["operation"] == "list_sessions"
    for secret in (demo_key(server), "ak_", "secret-of-somebody", "private"):
        assert secret not in server.errors


def test_a_later_start_prints_a_new_key_and_the_one_before_stays_valid_for_a_day(tmp_path: Any) -> None:
    keys = []
    for _ in range(2):
        with server_process(tmp_path, "serve", "--demo-key") as server:
            keys.append(demo_key(server))
            statuses = [
                requests.get(
                    f"{server.url}/v1/sessions", headers={"Authorization": f"Bearer {key}"}, timeout=10
                ).status_code
                for key in keys
            ]
            server.terminate()
            assert server.wait() == 0
    assert keys[0] != keys[1]
    assert statuses == [200, 200]
    _, first, second = (line.split("\t") for line in run_command(tmp_path, "keys", "list").stdout.splitlines())
    created, expires = (datetime.datetime.fromisoformat(time) for time in (second[4], first[5]))
    assert abs(expires - created - datetime.timedelta(hours=24)) < datetime.timedelta(seconds=10)
    assert second[5:7] == ["-", "-"]
