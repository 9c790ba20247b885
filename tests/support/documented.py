"""Validate a client against the OpenAPI document: its requests, the responses, and the fields that it reads."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from app.conform.contract import Contract

OF_HTTP = {
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "user-agent",
}
"""Headers of a request that are no parameters."""


class Documented:
    """The document, and the operations that a client has requested."""

    def __init__(self, url: str, contract: Contract) -> None:
        self.operations: set[str] = set()
        self._base = url + contract.base
        self._contract = contract

    @contextmanager
    def client(self, user_agent: str) -> Iterator[None]:
        """Check the requests of one client that are sent to this server, and the responses, within the block."""
        send = requests.Session.send

        def checked(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            response = send(session, request, **options)
            if request.headers.get("User-Agent") == user_agent and str(request.url).startswith(self._base):
                self._check(request, response)
            return response

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requests.Session, "send", checked)
            yield

    def _check(self, request: requests.PreparedRequest, response: requests.Response) -> None:
        operation_id = self._operation_of(request)
        self.operations.add(operation_id)
        self._contract.check_response(operation_id, response)
        self._check_request(operation_id, request, refused=response.status_code == requests.codes.bad_request)
        content = self._contract.described(operation_id, response.status_code).get("content", {})
        if media := content.get("application/json"):
            known = self._read_as(media["schema"], response.json())
            response.json = lambda **_: known  # type: ignore[method-assign]

    def _operation_of(self, request: requests.PreparedRequest) -> str:
        path = urlsplit(str(request.url)).path.removeprefix(self._contract.base)
        for operation_id, (method, template, _) in self._contract.operations.items():
            if method == request.method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
                return operation_id
        raise AssertionError(f"the document has no {request.method} {path}")

    def _check_request(self, operation_id: str, request: requests.PreparedRequest, *, refused: bool) -> None:
        """Check names and values; the values of a request that was refused are the user's."""
        _, template, operation = self._contract.operations[operation_id]
        shared = self._contract.document["paths"][template].get("parameters", [])
        parameters = [self._contract.resolved(node) for node in [*shared, *operation.get("parameters", [])]]
        schemas = {
            (parameter["in"], parameter["name"].lower()): self._contract.resolved(parameter["schema"])
            for parameter in parameters
        }
        sent = [("query", *pair) for pair in parse_qsl(urlsplit(str(request.url)).query, keep_blank_values=True)]
        sent += [("header", name, value) for name, value in request.headers.items() if name.lower() not in OF_HTTP]
        for place, name, text in sent:
            schema = schemas[place, name.lower()]
            if refused:
                continue
            schema = schema.get("items", schema)
            is_number = self._contract.resolved(schema)["type"] == "integer"
            self._contract.validate(f"{operation_id}: {name}", schema, int(text) if is_number else text)
        described = self._contract.resolved(operation.get("requestBody", {}))
        if request.body is None:
            assert not described.get("required"), f"{operation_id} was sent without a body"
            return
        media_type = str(request.headers["Content-Type"])
        schema = described["content"][media_type]["schema"]
        if media_type == "application/json" and not refused:
            self._contract.validate(operation_id, schema, json.loads(request.body))

    def _read_as(self, schema: dict[str, Any], value: Any) -> Any:
        schema = self._contract.resolved(schema)
        if isinstance(value, list):
            return [self._read_as(schema["items"], item) for item in value]
        if not isinstance(value, dict) or "properties" not in schema:
            return value
        members = schema["properties"]
        return Known({name: self._read_as(members[name], item) for name, item in value.items()}, set(members))


class Known(dict[str, Any]):
    """An object of a response, of which no member is read that the document does not have."""

    def __init__(self, value: dict[str, Any], members: set[str]) -> None:
        super().__init__(value)
        self._members = members

    def __getitem__(self, name: str) -> Any:
        self._look_up(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._look_up(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a member or the default."""
        self._look_up(name)
        return super().get(name, default)

    def _look_up(self, name: object) -> None:
        assert name in self._members, f"the document has no {name}, but {', '.join(sorted(self._members))}"
