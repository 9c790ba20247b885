"""Schemathesis on the whole document against a real server, once before each backend.

A few random requests, always the same ones; FUZZ_EXAMPLES=n asks for n, and for new ones each time. The requests for
each rule of the document by itself are two thousand, and slow; so are the walks along the links.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.core.transport import Response
from schemathesis.generation.meta import TestPhase
from schemathesis.schemas import BaseSchema

from app import spec
from app.agents import demo
from app.backends.ambient.backend import AmbientBackend
from app.conform.fuzz import fit, is_decided, is_valid, prepared
from app.contract.middleware import METHODS
from app.factory import create_app
from app.models.caller import Role
from app.settings import Settings
from app.store.keys import AccessKeys
from tests.support.deadline import eventually
from tests.support.document import closed
from tests.support.platform import FakePlatform
from tests.support.server import Background, serving
from tests.support.store import SECRETS_KEY, store_url

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
pytestmark = pytest.mark.timeout(0 if FUZZ_EXAMPLES else 600)  # the requests of one operation may take 20 s of CPU
UNLIMITED: dict[str, Any] = {
    "rate_limit_rps": 1_000_000,
    "rate_limit_burst": 1_000_000,
    "audit_log": None,
    "secrets_key": SECRETS_KEY,
}
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# A state that does not permit a request is no fault of its data.
ACCEPTANCE = ["2xx", "304", "401", "403", "404", "409", "422"]
# Text that is too long for its field may be too large for a body or a head first.
REJECTION = ["400", "401", "403", "404", "405", "409", "413", "415", "422", "431"]
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": ACCEPTANCE},
    "negative_data_rejection": {"expected-statuses": REJECTION},
}
RANDOM = {"coverage": {"enabled": False}}
# Every random request is also sent without a token and with a wrong one; for the others that would show the same again.
SYSTEMATIC = {"coverage": {"checks": {"ignored_auth": {"enabled": False}}}, "fuzzing": {"enabled": False}}
# The platform responds to an interrupt with 502 where the session has no runner, and what it says is passed on.
NO_RUNNER = {
    "include-operation-id": "interrupt_session",
    "checks": {
        "positive_data_acceptance": {"expected-statuses": [*ACCEPTANCE, "502"]},
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "502"]},
    },
}
FRAME = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "data": {"type": "string", "minLength": 2},
    },
}


@functools.cache
def document() -> dict[str, Any]:
    """The document, made stricter: with closed answers, without the `default` responses that would make any status a
    documented one. A stream is judged frame by frame."""
    document: dict[str, Any] = closed(prepared(spec.load()))
    for item in document["paths"].values():
        for method in METHODS:
            responses = item.get(method, {"responses": {}})["responses"]
            responses.pop("default", None)
            for response in responses.values():
                if stream := response.get("content", {}).get("text/event-stream"):
                    stream["schema"] = FRAME
    return document


def judge(*operations: dict[str, Any], phases: dict[str, Any] = RANDOM) -> BaseSchema:
    config = schemathesis.Config.from_dict({"checks": CHECKS, "phases": phases, "operations": [*operations]})
    schema = schemathesis.openapi.from_dict(document(), config=config)
    schema.hook("filter_case")(is_decided)
    return schema


OPERATIONS = [
    item[method]["operationId"] for item in spec.load()["paths"].values() for method in METHODS if method in item
]


GROUPS = 2
"""Workers that share the operations of a backend."""


def grouped(name: str) -> list[Any]:
    """Return the operations as parameters, with random requests and with those for each rule of the document.

    They are spread over GROUPS workers.
    """
    groups = [pytest.mark.xdist_group(f"{name}-{number}") for number in range(GROUPS)]
    return [
        pytest.param((operation, phases), id=f"{operation}-{title}", marks=[groups[index % GROUPS], *marks])
        for index, operation in enumerate(OPERATIONS)
        for title, phases, marks in (("random", RANDOM, []), ("systematic", SYSTEMATIC, [pytest.mark.slow]))
    ]


def only(operation_id: str) -> dict[str, Any]:
    """Return the configuration that disables every operation but one."""
    return {"exclude-operation-id": operation_id, "enabled": False}


examples = settings(
    max_examples=FUZZ_EXAMPLES or 3,
    derandomize=not FUZZ_EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Service(NamedTuple):
    """A server, how to get a token for a project, and the only repository that it may clone."""

    url: str
    token: Callable[[str], str]
    needs_project: bool  # a platform's token has no project of its own
    repository: str | None


@pytest.fixture(scope="module")
def ambient(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    file = tmp_path_factory.mktemp("fuzz") / "idempotency.db"
    with FakePlatform(auto=True) as platform:
        backend = AmbientBackend(platform.url, 30, idempotency_file=file, interrupt_timeout=2, poll_interval=0.05)

        def token(project: str) -> str:
            platform.tokens[f"token-{project}"] = (project, "admin")
            return f"token-{project}"

        with serving(create_app(Settings(backend_url=platform.url, **UNLIMITED), backend), loop) as url:
            yield Service(f"{url}/v1", token, True, None)


@pytest.fixture(scope="module")
def embedded(loop: Background, tmp_path_factory: pytest.TempPathFactory, repository: str) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("fuzz")
    store = store_url(directory / "ambient.db")
    chosen = Settings(data_dir=directory, backend_url=store, git_protocols=("file",), **UNLIMITED)

    def token(project: str) -> str:
        with AccessKeys.open(store) as keys:
            return keys.create(project=project, role=Role.ADMIN)[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "WORD_SECONDS", 0)
        with serving(create_app(chosen), loop) as url:
            yield Service(f"{url}/v1", token, False, repository)


class Client:
    """A caller in a new project who makes what was generated fit there; nothing that is wrong on purpose is touched."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.project = f"p-{uuid4().hex[:12]}"
        self.headers = {"Authorization": f"Bearer {service.token(self.project)}"}
        self._session = ""

    def fit(self, case: Case[Any]) -> None:
        """Name the caller's project and repository, keys of its own, no parent, local directory or agent."""
        project = case.headers.get("X-Ambient-Project", "")
        if NAME.fullmatch(project) or (project == "" and self.service.needs_project):
            case.headers["X-Ambient-Project"] = self.project
        fit(case)  # a change may have made the request valid
        if self.service.repository and is_valid(case) and isinstance(case.body, dict):
            if case.body.get("repos"):
                case.body["repos"] = [{"url": self.service.repository, "branch": "main"}]
            if case.body.get("active_workflow"):
                case.body["active_workflow"] = {"git_url": self.service.repository, "branch": "main", "path": "docs"}

    def aim(self, case: Case[Any]) -> None:
        """Put a running session in the place of one that does not exist."""
        if "session_id" in case.path_parameters and is_valid(case) and is_random(case):
            case.path_parameters["session_id"] = session_id = self.running_session()
            if case.path.endswith("/events"):
                case.query["run_id"] = self.ended_run(session_id)  # without a run a stream has no end

    def running_session(self) -> str:
        """The id of a running session, a new one when the last one runs no more."""
        if not self._session or self.status(self._session) != "running":
            self._session = self._ask("POST", "/sessions", json={"task": "Say hello"})["id"]
            self.wait(self._session)
        return self._session

    def ended_run(self, session_id: str) -> str:
        """The id of a session's first run, which has ended."""
        [run, *_] = self._ask("GET", f"/sessions/{session_id}/runs")["runs"]
        return str(self._ask("GET", f"/sessions/{session_id}/runs/{run['run_id']}", params={"wait": 60})["run_id"])

    def wait(self, session_id: str) -> None:
        """Return once a session is no longer on its way to where it is going."""
        eventually(lambda: self.status(session_id) not in {"pending", "stopping"})

    def status(self, session_id: str) -> str:
        """The status of a session, "" of one that is gone."""
        return str(self._ask("GET", f"/sessions/{session_id}").get("status", ""))

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        headers = self.headers | {"X-Ambient-Project": self.project}
        response: dict[str, Any] = requests.request(
            method, self.service.url + path, headers=headers, timeout=30, **options
        ).json()
        return response


def is_random(case: Case[Any]) -> bool:
    return case.meta is None or case.meta.phase.name is TestPhase.FUZZING


def fuzz(case: Case[Any], client: Client) -> None:
    client.fit(case)
    client.aim(case)
    case.call_and_validate(client.service.url, headers=client.headers)


def walk(schema: BaseSchema, service: Service) -> None:
    """Follow the links of the document, from one operation to the next; each walk in a project of its own."""

    class Walk(schema.as_state_machine()):  # type: ignore[misc]  # made at run time
        def setup(self) -> None:
            self.client = Client(service)

        def before_call(self, case: Case[Any]) -> None:
            self.client.fit(case)

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:  # noqa: ARG002 - the same for every case
            return {"base_url": service.url, "headers": self.client.headers}

        def after_call(self, response: Response, case: Case[Any]) -> None:
            super().after_call(response, case)
            if response.status_code in {201, 202} and "status" in response.json():
                self.client.wait(response.json()["id"])

    Walk.run(
        settings=settings(examples, max_examples=FUZZ_EXAMPLES or 5, stateful_step_count=12, phases=[Phase.generate])
    )


@pytest.fixture(params=grouped("fuzz-ambient"))
def on_ambient(request: pytest.FixtureRequest) -> BaseSchema:
    """One operation, whose requests are made when its test runs, and not at collection in every worker."""
    operation, phases = request.param
    return judge(NO_RUNNER, only(operation), phases=phases)


@pytest.fixture(params=grouped("fuzz-embedded"))
def on_embedded(request: pytest.FixtureRequest) -> BaseSchema:
    operation, phases = request.param
    return judge(only(operation), phases=phases)


@pytest.fixture(scope="module")
def platform_client(ambient: Service) -> Client:
    return Client(ambient)


@pytest.fixture(scope="module")
def embedded_client(embedded: Service) -> Client:
    return Client(embedded)


@schemathesis.pytest.from_fixture("on_ambient").parametrize()
@examples
def test_every_response_fits_the_document_when_the_platform_runs_the_sessions(
    case: Case[Any], platform_client: Client
) -> None:
    fuzz(case, platform_client)


@schemathesis.pytest.from_fixture("on_embedded").parametrize()
@examples
def test_every_response_fits_the_document_when_the_server_runs_the_sessions(
    case: Case[Any], embedded_client: Client
) -> None:
    fuzz(case, embedded_client)


@pytest.mark.slow
@pytest.mark.xdist_group("walk-ambient")
def test_the_links_of_the_document_lead_on_when_the_platform_runs_the_sessions(ambient: Service) -> None:
    walk(judge(NO_RUNNER), ambient)


@pytest.mark.slow
@pytest.mark.xdist_group("walk-embedded")
def test_the_links_of_the_document_lead_on_when_the_server_runs_the_sessions(embedded: Service) -> None:
    walk(judge(), embedded)
