"""The compiled contract beside stock Connexion: the same document and requests, and a reason for each difference."""

import json
import os
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from app import spec
from app.conform.fuzz import prepared
from app.contract.middleware import METHODS
from tests.contract.explanations import EXPLANATIONS
from tests.support.contract import AUTH, RUN, TOKEN, Sent
from tests.support.stock import Pair

pytestmark = pytest.mark.xdist_group("stock")

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
DOCUMENT = spec.load()
SCHEMA = schemathesis.openapi.from_dict(prepared(DOCUMENT))
SESSIONS = "/v1/sessions"


def get(target: str, *more: tuple[str, str]) -> Sent:
    return Sent("GET", target, (*AUTH.items(), *more))


def post(target: str, body: bytes | Any, kind: str | None = "application/json", *, chunked: bool = False) -> Sent:
    headers = AUTH if kind is None else AUTH | {"Content-Type": kind}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Sent("POST", target, tuple(headers.items()), content, chunked=chunked)


USER = {"role": "user", "content": "c"}
MORE_OF_A_SESSION: list[dict[str, Any]] = [
    {"bogus": 1},
    {"repos": [{}]},
    {"repos": None},
    {"display_name": ""},
    {"activeWorkflow": {"gitUrl": "u"}},
    {"active_workflow": {"gitUrl": "u"}},
    {"environment_variables": {"A": "b"}},
    {"environment_variables": {"A-B": "c"}},
    {"environment_variables": {"A": 1}},
    {"active_workflow": {"git_url": "u"}, "activeWorkflow": {"gitUrl": "u"}},
]
MORE_OF_A_RUN: list[dict[str, Any]] = [
    {"run_id": RUN, "state": {"a": None}, "tools": [], "context": [{}]},
    {"messages": []},
    {"messages": [{"role": "tool", "content": "c"}]},
    {"run_id": "x"},
    {"run_id": f"{RUN}\n"},
    {"tools": [1]},
    {"messages": [USER | {"attachments": [{"path": "a"}, {}]}]},
]
FIXED = [
    get(SESSIONS),
    get(f"{SESSIONS}?limit=5&offset=2&search=a&status=running&status=pending"),
    *(
        get(f"{SESSIONS}?limit={text}")
        for text in ("0", "101", "-1", "1_0", "+1", "%2B1", "%D9%A3", "1.0", "a", "", "1%0A")
    ),
    *(
        get(f"{SESSIONS}?{text}")
        for text in ("limit=1&limit=2", "page=1", "status=a", "search=%ff", "search=", "LIMIT=1")
    ),
    get(f"{SESSIONS}/"),
    get("/v1/nothing"),
    get(f"{SESSIONS}/S1"),
    get(f"{SESSIONS}/s1%0A"),
    get(f"{SESSIONS}/a%2Fb"),
    get(f"{SESSIONS}/s1/output?format=compact&run_id={RUN}"),
    get(f"{SESSIONS}/s1/output?run_id={RUN}%0A"),
    get(f"{SESSIONS}/s1/output?format=xml"),
    get(f"{SESSIONS}/s1/output?limit=1"),
    get(f"{SESSIONS}/s1/events", ("Last-Event-ID", "5")),
    get(f"{SESSIONS}/s1/runs/{RUN}"),
    get(f"{SESSIONS}/s1/workspace/files?path=docs&depth=1"),
    get(f"{SESSIONS}/s1/workspace/files?path=../docs"),
    get(f"{SESSIONS}/s1/workspace/file?path=notes", ("Range", "bytes=2000-")),
    get(SESSIONS, ("X-Ambient-Project", "b")),
    Sent("GET", SESSIONS, ()),
    Sent("GET", SESSIONS, (("Authorization", "Bearer "), ("X-Ambient-Project", "d"))),
    Sent(
        "GET",
        SESSIONS,
        (("Authorization", "Bearer a b"), ("X-Forwarded-Access-Token", "c"), ("X-Ambient-Project", "d")),
    ),
    Sent("GET", SESSIONS, (("Authorization", "Basic a"), ("X-Ambient-Project", "d"))),
    Sent("GET", SESSIONS, tuple((AUTH | {"X-Ambient-Project": "Demo"}).items())),
    Sent("GET", SESSIONS, tuple((AUTH | {"X-Ambient-Project": ""}).items())),
    Sent("OPTIONS", SESSIONS),
    Sent("PUT", SESSIONS),
    Sent("HEAD", SESSIONS),
    *(Sent("DELETE", f"{SESSIONS}/s1", body=body) for body in (b"", b"{}", b'{"force": true}')),
    *(
        post(f"{SESSIONS}/s1/{verb}", body)
        for verb in ("start", "stop", "interrupt")
        for body in (b"", b"{}", {"force": True})
    ),
    post(SESSIONS, {"task": "t"}),
    post(SESSIONS, {"task": "t"}, None),
    post(SESSIONS, {"task": "t"}, "Application/JSON"),
    post(SESSIONS, {"task": "t"}, "application/json; charset=utf-16"),
    post(SESSIONS, {"task": "t"}, "text/plain"),
    post(SESSIONS, {"task": "t"}, chunked=True),
    post(SESSIONS, b'{"task": "t"}'.ljust(1_048_577)),
    *(
        post(SESSIONS, body)
        for body in (b"", b"{", b"[]", b"null", b'{"task": NaN}', b'{"task": "\\ud800"}', b'{"task": "\xff"}')
    ),
    *(post(SESSIONS, {"task": text}) for text in ("", " ", 7, None, "a\0", "\x1f")),
    *(post(SESSIONS, {"task": "t"} | more) for more in MORE_OF_A_SESSION),
    post(f"{SESSIONS}/s1/message", {"content": "c"}),
    post(f"{SESSIONS}/s1/message", {"content": " "}),
    post(f"{SESSIONS}/s1/message", {"content": "c", "attachments": [{}]}),
    post(SESSIONS, {"task": "c", "attachments": [{}]}),
    *(post(f"{SESSIONS}/s1/runs", {"messages": [USER]} | more) for more in MORE_OF_A_RUN),
]


def difference(pair: Pair, sent: Sent) -> tuple[int, int] | None:
    stock, ours = pair.stock(sent).status // 100, pair.ours(sent).status // 100
    return None if stock == ours else (stock, ours)


def explanations(sent: Sent, found: tuple[int, int]) -> list[str]:
    return [rule.reason for rule in EXPLANATIONS if (rule.stock, rule.ours) == found and rule.applies(sent)]


@pytest.mark.parametrize(
    "sent", FIXED, ids=lambda sent: f"{sent.method} {sent.target} {sent.body[:40].decode('latin-1')}"
)
def test_a_response_is_that_of_the_reference_or_differs_for_a_reason(pair: Pair, sent: Sent) -> None:
    found = difference(pair, sent)
    assert found is None or explanations(sent, found)


def test_every_reason_explains_something(pair: Pair) -> None:
    used = {reason for sent in FIXED if (found := difference(pair, sent)) for reason in explanations(sent, found)}
    assert used == {rule.reason for rule in EXPLANATIONS}


def request_of(case: Case[Any]) -> Sent:
    """A generated case as it goes over the wire, but for its token."""
    made = requests.Request(**case.as_transport_kwargs(base_url="http://api.test/v1")).prepare()
    ours = {"Authorization", "Content-Length", "X-Forwarded-Access-Token"}
    headers = [(name, text) for name, text in made.headers.items() if name not in ours]
    body = made.body.encode() if isinstance(made.body, str) else made.body or b""
    return Sent(str(made.method), made.path_url, (("Authorization", TOKEN), *headers), body)


OPERATIONS = [SCHEMA[path][method] for path, item in DOCUMENT["paths"].items() for method in METHODS if method in item]


@pytest.mark.slow
@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.definition.raw["operationId"])
def test_the_response_to_a_generated_request_is_the_same_or_differs_for_a_reason(
    pair: Pair, operation: Any, mode: GenerationMode
) -> None:
    @given(st.data())
    @settings(
        max_examples=FUZZ_EXAMPLES or 6,
        derandomize=not FUZZ_EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def compare(data: st.DataObject) -> None:
        sent = request_of(data.draw(operation.as_strategy(generation_mode=mode)))
        found = difference(pair, sent)
        assert found is None or explanations(sent, found), (found, sent)

    compare()
