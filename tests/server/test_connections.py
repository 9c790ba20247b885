"""Bounds on connections and streams: nobody is locked out by those who open many, and the server survives a flood."""

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.errors import TooManyStreams
from app.models.caller import Role
from app.server.connections import STALL_SECONDS, Connections
from app.server.streaming import OpenStreams
from app.store.keys import AccessKeys
from tests.support.deadline import eventually
from tests.support.server import LOCALHOST, ServerProcess, server_process
from tests.support.store import store_url

DESCRIPTORS = 256


class Client:
    """A connection as far as the bounds know it."""

    def __init__(self, *, idle: bool, stalled: float = 0.0) -> None:
        self.idle = idle
        self.stalled = stalled
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class TestBounds:
    def test_the_oldest_idle_connection_makes_room(self) -> None:
        refused: list[str] = []
        bounds = Connections(3, refused=refused.append)
        clients = [Client(idle=False), Client(idle=True), Client(idle=True)]
        assert all(bounds.admit(client, f"198.51.100.{number}") for number, client in enumerate(clients))
        assert bounds.admit(Client(idle=True), "198.51.100.9")
        assert [client.aborted for client in clients] == [False, True, False]
        assert (len(bounds), refused) == (3, ["idle_connection_closed"])

    def test_a_new_one_is_refused_when_none_is_idle(self) -> None:
        refused: list[str] = []
        bounds = Connections(1, refused=refused.append)
        busy = Client(idle=False)
        assert bounds.admit(busy, "198.51.100.1")
        assert not bounds.admit(Client(idle=True), "198.51.100.2")
        assert refused == ["too_many_connections"]
        bounds.release(busy)
        assert bounds.admit(Client(idle=True), "198.51.100.2")

    def test_a_request_that_has_stalled_longest_makes_room(self) -> None:
        bounds = Connections(4)
        clients = [Client(idle=False, stalled=stalled) for stalled in (0.0, STALL_SECONDS, 9.0, 0.5)]
        assert all(bounds.admit(client, "198.51.100.1") for client in clients)
        assert bounds.admit(Client(idle=False), "198.51.100.2")
        assert bounds.admit(Client(idle=False), "198.51.100.2")
        assert not bounds.admit(Client(idle=False), "198.51.100.2")
        assert [client.aborted for client in clients] == [False, True, True, False]

    @pytest.mark.parametrize(
        ("address", "same"), [("198.51.100.1", "198.51.100.1"), ("2001:db8::1", "2001:db8::2:0:0:1")]
    )
    def test_one_address_makes_room_by_its_own_connections(self, address: str, same: str) -> None:
        bounds = Connections(10, per_address=1)
        other, first = Client(idle=True), Client(idle=True)
        assert bounds.admit(other, "198.51.100.9")
        assert bounds.admit(first, address)
        second = Client(idle=False)
        assert bounds.admit(second, same)
        assert (other.aborted, first.aborted) == (False, True)
        assert not bounds.admit(Client(idle=True), address)

    def test_trusted_proxies_count_in_all_only(self) -> None:
        bounds = Connections(3, per_address=1, trusted_proxies=[ipaddress.ip_network("198.51.100.0/24")])
        assert all(bounds.admit(Client(idle=False), "198.51.100.1") for _ in range(3))
        assert not bounds.admit(Client(idle=False), "198.51.100.1")

    def test_what_was_closed_is_counted_no_more(self) -> None:
        bounds = Connections(10, per_address=1)
        first = Client(idle=True)
        bounds.admit(first, "198.51.100.1")
        bounds.admit(Client(idle=False), "198.51.100.1")
        bounds.release(first)
        assert len(bounds) == 1
        assert not bounds.admit(Client(idle=False), "198.51.100.1")


class TestStreams:
    def test_each_token_has_its_own(self) -> None:
        streams = OpenStreams(1)
        with streams.hold("a"), streams.hold("b"):
            assert len(streams) == 2
            with pytest.raises(TooManyStreams), streams.hold("a"):
                pass
        with streams.hold("a"):
            assert len(streams) == 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that may open few files."""
    launcher = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"')
    with server_process(
        tmp_path_factory.mktemp("server"), launcher=launcher, RATE_LIMIT_RPS="1000000", RATE_LIMIT_BURST="1000000"
    ) as running:
        yield running


def key(server: ServerProcess) -> dict[str, str]:
    with AccessKeys.open(store_url(Path(server.environment["DATA_DIR"]) / "ambient.db")) as keys:
        return {"Authorization": f"Bearer {keys.create(project='demo', role=Role.EDIT)[1]}"}


def metrics(server: ServerProcess) -> dict[str, float]:
    lines = requests.get(f"{server.url}/metrics", timeout=10).text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


class TestFlood:
    def test_bodies_that_do_not_end_lock_nobody_out(self, server: ServerProcess) -> None:
        headers = key(server)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\n{lines}Content-Type: application/json\r\n"
        with contextlib.ExitStack() as stack:
            for _ in range(DESCRIPTORS):
                connection = stack.enter_context(socket.create_connection((LOCALHOST, server.port), timeout=10))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())

            def served() -> bool:
                with contextlib.suppress(requests.ConnectionError):
                    return requests.get(f"{server.url}/v1/whoami", headers=headers, timeout=10).status_code == 200
                return False

            eventually(served)
            for _ in range(20):
                assert served()

    def test_heads_that_do_not_end_lock_nobody_out(self, server: ServerProcess) -> None:
        headers = key(server)
        with contextlib.ExitStack() as stack:
            for _ in range(2 * DESCRIPTORS):
                connection = stack.enter_context(socket.create_connection((LOCALHOST, server.port), timeout=10))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"GET /v1/sessions HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            for _ in range(20):
                assert requests.get(f"{server.url}/v1/whoami", headers=headers, timeout=10).status_code == 200
            counted = metrics(server)
        assert counted['refused_total{code="idle_connection_closed"}'] > 0
        assert counted["http_connections"] < DESCRIPTORS

    def test_streams_of_one_key_lock_nobody_out(self, server: ServerProcess) -> None:
        greedy, other = key(server), key(server)
        created = requests.post(f"{server.url}/v1/sessions", json={"task": "hello"}, headers=greedy, timeout=10).json()
        url = f"{server.url}/v1/sessions/{created['id']}/events"
        opened: list[requests.Response] = []
        try:
            while (stream := requests.get(url, headers=greedy, stream=True, timeout=10)).status_code == 200:
                opened.append(stream)
            assert stream.json()["code"] == "too_many_streams"
            assert len(opened) == DESCRIPTORS // 2 // 2
            poll = f"{server.url}/v1/sessions/{created['id']}?wait=1"
            assert requests.get(poll, headers=greedy, timeout=10).json()["code"] == "too_many_streams"
            assert requests.get(f"{server.url}/v1/whoami", headers=greedy, timeout=10).status_code == 200
            assert requests.get(f"{server.url}/v1/whoami", headers=other, timeout=10).status_code == 200
            counted = metrics(server)
            assert counted["http_streams"] == len(opened)
            assert counted['refused_total{code="too_many_streams"}'] == 2
        finally:
            for stream in opened:
                stream.close()
        eventually(lambda: metrics(server)["http_streams"] == 0)

    def test_busy_connections_of_one_address_are_refused_beyond_its_bound(self, server: ServerProcess) -> None:
        headers = key(server)
        created = requests.post(f"{server.url}/v1/sessions", json={"task": "hello"}, headers=headers, timeout=10).json()
        path = f"/v1/sessions/{created['id']}/events"
        answers: list[bytes] = []
        with contextlib.ExitStack() as stack:
            while b" 200 " in (answers or [b" 200 "])[-1]:
                if len(answers) % 40 == 0:
                    headers = key(server)
                connection = stack.enter_context(socket.create_connection((LOCALHOST, server.port), timeout=10))
                head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n\r\n"
                connection.sendall(head.encode())
                answers.append(connection.recv(4096))
        assert len(answers) == DESCRIPTORS // 2 * 3 // 4 + 1
        assert b" 503 " in answers[-1]
        assert b"too_many_connections" in answers[-1]
        eventually(lambda: requests.get(f"{server.url}/v1/whoami", headers=headers, timeout=10).status_code == 200)
        assert metrics(server)['refused_total{code="too_many_connections"}'] >= 1

    def test_many_threads_at_once_leave_it_alive(self, server: ServerProcess) -> None:
        def connect() -> None:
            for _ in range(100):
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection((LOCALHOST, server.port), timeout=10) as one,
                ):
                    one.sendall(b"GET / HT")

        threads = [threading.Thread(target=connect) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert requests.get(f"{server.url}/health", timeout=10).status_code == 200
        assert not [line for line in server.log if line.get("level") == "error"]
