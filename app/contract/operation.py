"""Operations of the document, callable without HTTP."""

import hashlib
import inspect
import json
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from app.contract.input import JsonBody, Parameter, RawBody
from app.errors import BadRequest, Detail, IdempotencyKeyInUse
from app.models.caller import Caller, Credentials, IdempotencyKey, Role
from app.port.backend import Backend

Handler = Callable[..., Awaitable[Any]]

IDEMPOTENCY_KEY = "Idempotency-Key"


class ContractError(Exception):
    """The document and a handler do not fit together."""


class Operation:
    """One operation of the document: its arguments, the role that it needs, and its handler.

    Callers that do not use HTTP pass credentials and plain JSON values:

        run = await operation(credentials, {"session_id": "s1", "body": {"content": "hello"}})

    `HttpOperation` takes the same steps one by one, since a request is decoded in between.
    """

    def __init__(
        self, definition: dict[str, Any], handler: Handler, *, backend: Backend, in_flight: set[bytes]
    ) -> None:
        """Compile a definition whose references are resolved; raise `ContractError` if the handler does not fit it.

        `in_flight` holds the idempotency keys of running requests, and is shared by all operations of a server.
        """
        self.operation_id: str = definition["operationId"]
        self.role = Role(definition["x-role"])
        self.backend = backend
        self._handler = handler
        self._in_flight = in_flight
        taken = inspect.signature(handler).parameters
        types = typing.get_type_hints(handler)

        self.parameters: dict[str, Parameter] = {}  # by the name of the handler's argument
        self.other_headers: dict[str, Parameter] = {}  # those that the handler does not take
        for parameter in definition.get("parameters", []):
            argument = _argument_name(parameter)
            if parameter["in"] == "header" and argument not in taken:
                self.other_headers[parameter["name"]] = Parameter(parameter)
            else:
                self.parameters[argument] = Parameter(parameter, types.get(argument))
        self._key = self.other_headers.get(IDEMPOTENCY_KEY)

        self.body: JsonBody | RawBody | None = None
        if body := definition.get("requestBody"):
            self.body = JsonBody(body) if "application/json" in body["content"] else RawBody()
        self._body_type = types.get("body") if isinstance(self.body, JsonBody) else None

        given = {"backend", "caller", *self.parameters, *(["body"] if self.body else [])}
        if given != set(taken):
            raise ContractError(
                f"{self.operation_id}: the document gives {sorted(given)}, the handler takes {sorted(taken)}"
            )
        if self._key and isinstance(self.body, RawBody):
            raise ContractError(f"{self.operation_id}: a raw body cannot be repeated, so it has no {IDEMPOTENCY_KEY}")

    async def __call__(
        self, credentials: Credentials, values: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Any:
        """Return the result of the handler for plain JSON values by the names of its arguments.

        Raises the errors of `authorize`, `bind` and `invoke`, in this order.
        """
        caller = await self.authorize(credentials)
        return await self.invoke(caller, self.bind(values), idempotency_key=idempotency_key)

    async def authorize(self, credentials: Credentials) -> Caller:
        """Return the caller; raise `MissingProject`, `Unauthorized`, or `Forbidden` if their role is too small."""
        return await self.backend.authorize(credentials, self.role)

    def bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for `invoke`: validated, with defaults, parameters typed. Raises `BadRequest`."""
        checks: dict[str, Callable[[Any], Any]] = {name: parameter.check for name, parameter in self.parameters.items()}
        if self.body:
            checks["body"] = self.body.check
        if unknown := [Detail(name, "is not known here") for name in values if name not in checks]:
            raise BadRequest(details=unknown)
        return {name: check(values.get(name)) for name, check in checks.items()}

    async def invoke(self, caller: Caller, arguments: Mapping[str, Any], *, idempotency_key: str | None = None) -> Any:
        """Return the result of the handler for valid arguments, whose JSON body is not typed yet.

        An operation that takes no idempotency key ignores it. Raises `BadRequest` for a malformed key,
        `IdempotencyKeyInUse` while the first request with it is running, and the errors of the port.
        """
        key = None
        if self._key and idempotency_key is not None:
            self._key.check(idempotency_key)
            key = self._identify(caller, idempotency_key, arguments)
            caller = msgspec.structs.replace(caller, idempotency_key=key)
        if self._body_type is not None and (body := arguments["body"]) is not None:
            arguments = {**arguments, "body": msgspec.convert(body, self._body_type)}
        if key is None:
            return await self._handler(backend=self.backend, caller=caller, **arguments)
        if key.key in self._in_flight:
            raise IdempotencyKeyInUse
        self._in_flight.add(key.key)
        try:
            return await self._handler(backend=self.backend, caller=caller, **arguments)
        finally:
            self._in_flight.discard(key.key)

    def _identify(self, caller: Caller, key: str, arguments: Mapping[str, Any]) -> IdempotencyKey:
        """Return the key as this caller's in this project, with a fingerprint of the request in canonical JSON."""
        return IdempotencyKey(
            key=_digest([caller.project, caller.token, key]), fingerprint=_digest([self.operation_id, arguments])
        )


def _digest(value: Any) -> bytes:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()


def _argument_name(parameter: dict[str, Any]) -> str:
    """Return how a handler calls a parameter: the header `Last-Event-ID` is `last_event_id`."""
    name: str = parameter["name"]
    return name.lower().replace("-", "_") if parameter["in"] == "header" else name
