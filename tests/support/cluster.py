"""A cluster: API servers and workers as processes, on one PostgreSQL database."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from typer.testing import Result

from app.store import workers
from app.store.open import open_transactions
from app.store.tables import SESSIONS
from tests.support.api import Api, served_contract
from tests.support.command import invoke
from tests.support.deadline import eventually
from tests.support.server import ServerProcess, create_key, free_port, server_process, server_store
from tests.support.store import SECRETS_KEY

UNLIMITED = {"RATE_LIMIT_RPS": "1000000", "RATE_LIMIT_BURST": "1000000"}
TERMINAL = {"RUN_FINISHED", "RUN_ERROR"}


def pid_of(worker: str) -> int:
    """Return the process id that the name of a worker has in it."""
    return int(worker.rsplit("-", 3)[1])


class Cluster:
    """Two API servers, and workers by name."""

    def __init__(self, directory: Path, stack: ExitStack, *, serve: Sequence[str], **environment: str) -> None:
        """`serve` is the command of the servers, and `environment` what they have besides."""
        self.directory = directory
        self._serve = serve
        self._environment_of_servers = environment
        self.store = server_store(directory)
        self._stack = stack
        key = create_key(directory)
        self.apis: list[Api] = []
        self.servers: list[ServerProcess] = []
        for number in range(2):
            (directory / f"server-{number}").mkdir()
            server = self._start_server(number, free_port())
            self.servers.append(server)
            self.apis.append(stack.enter_context(Api(server.url, served_contract(server.url), token=key)))
        self.workers: dict[str, ServerProcess] = {}

    @property
    def _environment(self) -> dict[str, Any]:
        return {"BACKEND_URL": self.store, **UNLIMITED}

    def _start_server(self, number: int, port: int, **environment: str) -> ServerProcess:
        directory = self.directory / f"server-{number}"
        environment = self._environment | self._environment_of_servers | environment
        return self._stack.enter_context(server_process(directory, *self._serve, port=port, **environment))

    def command(self, *arguments: str) -> Result:
        """Run a command of an operator."""
        return invoke(self.directory, *arguments, **self._environment, SECRETS_KEY=SECRETS_KEY)

    def disk_of(self, worker: ServerProcess) -> Path:
        """The data directory of a worker."""
        return Path(worker.environment["DATA_DIR"])

    def restart_server(self, number: int, **environment: str) -> None:
        """Kill an API server and start it again at its port."""
        killed = self.servers[number]
        killed.kill()
        self.servers[number] = self._start_server(number, killed.port, **environment)

    def start_worker(
        self, name: str, disk: str = "disk", launcher: Sequence[str] = (), **environment: str
    ) -> ServerProcess:
        """Start a worker on a disk, which is ended with the cluster, and wait until it takes sessions."""
        home = self.directory / name
        home.mkdir()
        port = free_port()
        environment |= {"DATA_DIR": str(self.directory / disk), "WORKER_HEALTH_PORT": str(port)}
        worker = ServerProcess(home, "worker", port=port, launcher=launcher, **(self._environment | environment))
        self._stack.callback(worker.close)
        self.workers[name] = worker
        worker.wait_until_ready()
        return worker

    def owner(self, session_id: str) -> ServerProcess:
        """Wait until a worker owns a session, and return it."""
        pid = pid_of(eventually(lambda: self._owner(session_id)))
        return next(worker for worker in self.workers.values() if worker.pid == pid)

    def has_owner(self, session_id: str) -> bool:
        """Whether a worker has the lease of a session."""
        return bool(self._owner(session_id))

    def _owner(self, session_id: str) -> str:
        with open_transactions(self.store) as transaction, transaction() as connection:
            query = SESSIONS.select().with_only_columns(SESSIONS.c.owner).where(SESSIONS.c.id == session_id)
            return connection.execute(query).scalar_one() or ""

    def alive(self) -> list[str]:
        """The names of the workers that are alive."""
        with open_transactions(self.store) as transaction, transaction() as connection:
            return [worker.name for worker in workers.known(connection) if worker.is_alive]

    def jobs(self) -> list[tuple[Any, ...]]:
        """All jobs: their queue, status and lock, and when their worker has been seen."""
        query = (
            "SELECT queue_name, status::text, lock, last_heartbeat FROM procrastinate_jobs"
            " LEFT JOIN procrastinate_workers workers ON worker_id = workers.id"
        )
        with psycopg.connect(self.store) as connection:
            return connection.execute(query).fetchall()

    def ends(self, session_id: str) -> dict[str, list[str]]:
        """The events from the first terminal one on, of each run of a session."""
        log: list[dict[str, Any]] = self.apis[0].output(session_id, format="events").ok()["events"]
        ends: dict[str, list[str]] = {}
        for event in log:
            if event["type"] in TERMINAL or event["runId"] in ends:
                ends.setdefault(event["runId"], []).append(event["type"])
        return ends


@contextmanager
def cluster_in(
    directory: Path, serve: Sequence[str] = ("serve", "--no-worker"), **environment: str
) -> Iterator[Cluster]:
    """Yield a cluster whose servers have this command, and this environment besides."""
    with ExitStack() as stack:
        yield Cluster(directory, stack, serve=serve, **environment)
