"""Event streams of the server as a process: its end and its restart."""

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.api import Api, StreamFrame, served_contract
from tests.support.server import ServerProcess, create_key, server_process


@contextlib.contextmanager
def running(directory: Path, key: str) -> Iterator[tuple[ServerProcess, Api]]:
    with server_process(directory) as server, Api(server.url, served_contract(server.url), token=key) as api:
        yield server, api


@pytest.mark.parametrize("crash", [False, True])
def test_a_reader_goes_on_after_a_restart(tmp_path: Path, crash: bool) -> None:
    key = create_key(tmp_path)
    with running(tmp_path, key) as (server, api):
        session_id = api.create_session(task="slow 3000").ok()["id"]
        with api.stream(session_id) as stream:
            frames = iter(stream)
            seen = list(itertools.islice(frames, 5))
            if crash:
                server.kill()
                with contextlib.suppress(requests.exceptions.ChunkedEncodingError):
                    seen += frames
            else:
                server.terminate()
                seen += frames
                assert stream.comments[-1] == b"the server stops"
                assert server.wait() == 0
    with running(tmp_path, key) as (_, api):
        [run] = api.list_runs(session_id).ok()["runs"]
        with api.stream(session_id, run_id=run["run_id"], last_event_id=seen[-1].id) as stream:
            rest = list(stream)
        assert rest[-1].event["code"] == "server_restarted"
        events = api.output(session_id, format="events").ok()["events"]
        whole: list[StreamFrame] = seen + rest
        assert [json.loads(frame.data) for frame in whole] == events
        assert [frame.id for frame in whole] == [str(position) for position in range(1, len(events) + 1)]
