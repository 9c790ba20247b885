"""Operations without HTTP: plain JSON values in, the port's results out."""

import asyncio
from typing import Any

import pytest

from app.contract.operation import ContractError, Operation
from app.errors import BadRequest, Forbidden, IdempotencyKeyInUse
from app.models.caller import Caller, Credentials, Role
from app.models.runs import AcceptedRun, MessageCreate, OnBusy
from app.port.backend import Backend
from tests.support.contract import CannedBackend
from tests.support.small_contract import BYTES, definition, parameter

CREDENTIALS = Credentials(token="t", project="demo")
MESSAGE = {
    "type": "object",
    "required": ["content"],
    "additionalProperties": False,
    "properties": {
        "content": {"type": "string", "pattern": r"\S"},
        "on_busy": {"type": "string", "enum": ["enqueue", "reject"]},
    },
    "x-aliases": {"onBusy": "on_busy"},
}
KEY = parameter("Idempotency-Key", "header", minLength=1)


class Viewers(CannedBackend):
    """A backend whose callers may only look."""

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        if role is not Role.VIEW:
            raise Forbidden
        return await super().authorize(credentials, role)


class Calls:
    """An operation whose handler records its arguments; it waits until `proceed` is set."""

    def __init__(self, backend: Backend | None = None, **more: Any) -> None:
        self.arguments: list[dict[str, Any]] = []
        self.proceed = asyncio.Event()
        self.proceed.set()
        self.operation = Operation(
            definition(
                "send",
                parameter("session_id", "path", pattern="^[a-z0-9]+$"),
                parameter("limit", "query", type="integer", minimum=1, default=20),
                parameter("Last-Event-ID", "header", type="integer"),
                parameter("X-Ambient-Project", "header"),
                KEY,
                requestBody={"required": True, "content": {"application/json": {"schema": MESSAGE}}},
                **more,
            ),
            self.send,
            backend=backend or CannedBackend(),
            in_flight=set(),
        )

    async def send(
        self,
        backend: Backend,  # noqa: ARG002 - what every handler takes
        caller: Caller,
        *,
        session_id: str,
        limit: int,
        last_event_id: int | None,
        body: MessageCreate,
    ) -> AcceptedRun:
        self.arguments.append(
            {"caller": caller, "session_id": session_id, "limit": limit, "last_event_id": last_event_id, "body": body}
        )
        await self.proceed.wait()
        return AcceptedRun(run_id="r", thread_id="t")

    async def call(self, key: str | None = None, **values: Any) -> Any:
        return await self.operation(CREDENTIALS, values, idempotency_key=key)


async def problems(calls: Calls, **values: Any) -> list[tuple[str, str]]:
    with pytest.raises(BadRequest) as caught:
        await calls.call(**values)
    assert calls.arguments == []
    return [(detail.location, detail.message) for detail in caught.value.details]


async def test_the_handler_gets_typed_values_and_defaults() -> None:
    calls = Calls()
    result = await calls.call(session_id="s1", body={"content": "hello", "on_busy": "reject"})
    assert result == AcceptedRun(run_id="r", thread_id="t")
    [arguments] = calls.arguments
    assert arguments.pop("caller").project == "demo"
    assert arguments == {
        "session_id": "s1",
        "limit": 20,
        "last_event_id": None,
        "body": MessageCreate(content="hello", on_busy=OnBusy.REJECT),
    }


async def test_null_reads_as_absent_and_deprecated_names_as_the_current_ones() -> None:
    calls = Calls()
    await calls.call(
        session_id="s1", limit=None, last_event_id=7, body={"content": "hello", "onBusy": "reject", "on_busy": None}
    )
    [arguments] = calls.arguments
    assert (arguments["limit"], arguments["last_event_id"]) == (20, 7)
    assert arguments["body"] == MessageCreate(content="hello", on_busy=OnBusy.REJECT)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, ("path.session_id", "is required")),
        ({"session_id": "S 1"}, ("path.session_id", "must match ^[a-z0-9]+$")),
        ({"session_id": "s1", "limit": 0}, ("query.limit", "must be at least 1")),
        ({"session_id": "s1", "limit": "5"}, ("query.limit", "must be an integer")),
        ({"session_id": "s1"}, ("body", "is required")),
        ({"session_id": "s1", "body": {}}, ("body.content", "is required")),
        ({"session_id": "s1", "body": {"content": 7}}, ("body.content", "must be a string")),
        ({"session_id": "s1", "bogus": 1, "body": {"content": "c"}}, ("bogus", "is not known here")),
    ],
)
async def test_values_are_validated_as_those_of_a_request(values: dict[str, Any], problem: tuple[str, str]) -> None:
    assert await problems(Calls(), **values) == [problem]


async def test_the_role_comes_before_the_values() -> None:
    calls = Calls(Viewers(), **{"x-role": "edit"})
    with pytest.raises(Forbidden):
        await calls.call(session_id="S 1")
    await Calls(Viewers()).call(session_id="s1", body={"content": "c"})


async def test_the_same_request_has_the_same_fingerprint_and_another_one_another() -> None:
    calls = Calls()
    await calls.call("k", session_id="s1", body={"content": "a", "on_busy": "reject"})
    await calls.call("k", session_id="s1", body={"on_busy": "reject", "content": "a"})
    await calls.call("k", session_id="s1", body={"content": "b"})
    await calls.call("l", session_id="s1", body={"content": "b"})
    await calls.call(session_id="s1", body={"content": "b"})
    first, again, other, another_key, without = [arguments["caller"].idempotency_key for arguments in calls.arguments]
    assert first == again
    assert (first.key, first.fingerprint != other.fingerprint) == (other.key, True)
    assert (another_key.key != other.key, another_key.fingerprint) == (True, other.fingerprint)
    assert without is None


async def test_a_key_that_is_in_use_is_refused_until_its_request_has_ended() -> None:
    calls = Calls()
    calls.proceed.clear()
    first = asyncio.create_task(calls.call("k", session_id="s1", body={"content": "a"}))
    await asyncio.sleep(0)
    with pytest.raises(IdempotencyKeyInUse):
        await calls.call("k", session_id="s1", body={"content": "a"})
    calls.proceed.set()
    await first
    await calls.call("k", session_id="s1", body={"content": "a"})


async def test_a_malformed_key_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        await Calls().call("", session_id="s1", body={"content": "a"})
    assert caught.value.details[0].location == "header.Idempotency-Key"


async def test_a_raw_body_takes_no_idempotency_key() -> None:
    async def put(backend: Backend, caller: Caller, *, body: Any) -> None: ...

    with pytest.raises(ContractError, match="put: a raw body cannot be repeated"):
        Operation(definition("put", KEY, requestBody={"content": BYTES}), put, backend=CannedBackend(), in_flight=set())
