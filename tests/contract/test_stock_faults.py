"""What stock Connexion gets wrong, each fault shown on it and then as the compiled contract answers."""

from typing import NamedTuple

import pytest

from app import spec
from app.models.output import OutputFormat
from tests.support.contract import AUTH, RUN, Sent
from tests.support.stock import Pair

pytestmark = pytest.mark.xdist_group("stock")

SESSIONS = "/v1/sessions"
TASK = b'{"task": "t"}'


class Fault(NamedTuple):
    """A request, the wrong answer of stock Connexion with its reason, and ours."""

    reason: str
    sent: Sent
    stock: int
    ours: int


def get(target: str, **headers: str) -> Sent:
    return Sent("GET", target, tuple((AUTH | headers).items()))


def post(body: bytes, target: str = SESSIONS, kind: str | None = "application/json", *, chunked: bool = False) -> Sent:
    headers = AUTH if kind is None else AUTH | {"Content-Type": kind}
    return Sent("POST", target, tuple(headers.items()), body, chunked=chunked)


CRASHES = [
    Fault("a body that is no UTF-8 is decoded without a net", post(b'{"task": "\xff"}'), 500, 400),
    Fault("UTF-16 is decoded as UTF-8", post(TASK.decode().encode("utf-16")), 500, 400),
    Fault("an integer of more digits than int() takes", post(b'{"task": ' + b"7" * 5000 + b"}"), 500, 400),
    Fault("an array deeper than the parser's stack", post(b"[" * 20_000 + b"]" * 20_000), 500, 400),
    Fault("JSON without a type", post(TASK, kind=None), 500, 201),
    Fault("media types compare case-sensitively", post(TASK, kind="APPLICATION/JSON"), 500, 201),
]

WRONGLY_ACCEPTED = [
    Fault("a charset is passed over", post(TASK, kind="application/json; charset=utf-99"), 201, 415),
    Fault("a body of another spelling of JSON is not validated", post(b"", kind="APPLICATION/JSON"), 201, 400),
    Fault(
        "NaN is no JSON",
        post(b'{"messages": [{"role": "user", "content": "c"}], "state": NaN}', f"{SESSIONS}/s1/runs"),
        202,
        400,
    ),
    Fault("half a surrogate pair is no text", post(b'{"task": "\\ud800"}'), 201, 400),
    Fault("of two members of one name the last one wins", post(b'{"task": "a", "task": "b"}'), 201, 400),
    Fault("int() takes underscores", get(f"{SESSIONS}?limit=1_0"), 200, 400),
    Fault("int() takes spaces", get(f"{SESSIONS}?limit=%201"), 200, 400),
    Fault("int() takes a plus", get(f"{SESSIONS}?limit=%2B5"), 200, 400),
    Fault("int() takes digits of every script", get(f"{SESSIONS}?limit=%D9%A3"), 200, 400),
    Fault("of two scalars the last one wins", get(f"{SESSIONS}?limit=5&limit=6"), 200, 400),
    Fault("$ matches before a newline in a query", get(f"{SESSIONS}/s1/output?run_id={RUN}%0A"), 200, 400),
    Fault("a newline after a name is another path", get(f"{SESSIONS}/s1%0A"), 404, 400),
    Fault(
        "$ matches before a newline in a body",
        post(
            b'{"messages": [{"role": "user", "content": "c"}], "run_id": "%s\\n"}' % RUN.encode(), f"{SESSIONS}/s1/runs"
        ),
        202,
        400,
    ),
    Fault("an unwanted body is not looked at", post(b'{"force": true}', f"{SESSIONS}/s1/start"), 202, 400),
    Fault(
        "the names in a map are not looked at", post(b'{"task": "t", "environment_variables": {"A-B": "c"}}'), 201, 400
    ),
    Fault("of two projects one is taken", Sent("GET", SESSIONS, (*AUTH.items(), ("X-Ambient-Project", "b"))), 200, 400),
    Fault(
        "one of two tokens is taken", Sent("GET", SESSIONS, (*AUTH.items(), ("Authorization", "Bearer b"))), 200, 400
    ),
    Fault(
        "a good token makes up for a malformed one",
        Sent(
            "GET",
            SESSIONS,
            (("Authorization", "Bearer a b"), ("X-Forwarded-Access-Token", "c"), ("X-Ambient-Project", "demo")),
        ),
        200,
        401,
    ),
    Fault("there is no limit of size", post(TASK.ljust(1_048_577)), 201, 413),
]

WRONGLY_REFUSED = [
    Fault("a body without a length is not read", post(TASK, chunked=True), 400, 201),
    Fault("OPTIONS is a method like any other", Sent("OPTIONS", SESSIONS), 405, 204),
]

ELSEWHERE = [
    Fault("a slash last leads to an address made of Host", get(f"{SESSIONS}/"), 307, 404),
    Fault("a user interface is given to everybody", Sent("GET", "/v1/ui/", ()), 200, 404),
]

FAULTS = [*CRASHES, *WRONGLY_ACCEPTED, *WRONGLY_REFUSED, *ELSEWHERE]


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.reason) for fault in FAULTS])
def test_a_fault_of_the_reference_is_none_of_ours(pair: Pair, fault: Fault) -> None:
    ours = pair.ours(fault.sent)
    assert (pair.stock(fault.sent).status, ours.status) == (fault.stock, fault.ours), ours.body
    assert not (ours.status >= 400 and pair.backend.calls)


def test_a_405_lists_every_method(pair: Pair) -> None:
    sent = Sent("PUT", f"{SESSIONS}/s1")
    assert pair.stock(sent).header("allow") in {"GET, HEAD", "HEAD, GET"}
    assert pair.ours(sent).header("allow") == "DELETE, GET, HEAD, OPTIONS, PATCH"


def test_a_401_names_its_scheme(pair: Pair) -> None:
    sent = Sent("GET", SESSIONS, ())
    assert pair.stock(sent).header("www-authenticate") is None
    assert pair.ours(sent).header("www-authenticate") == "Bearer"


def test_no_redirect_is_made_of_the_host_that_a_client_names(pair: Pair) -> None:
    sent = get(f"{SESSIONS}/")
    assert pair.stock(sent).header("location") == f"http://api.test{SESSIONS}"
    assert pair.ours(sent).header("location") is None


def test_a_400_does_not_repeat_the_value(pair: Pair) -> None:
    sent = post(b'{"task": [%s]}' % (b'"secret", ' * 10_000 + b'"secret"'))
    assert len(pair.stock(sent).body) > 100_000
    ours = pair.ours(sent)
    assert b"secret" not in ours.body
    assert len(ours.body) < 1000


def test_errors_and_answers_have_the_one_documented_type(pair: Pair) -> None:
    sent = get(f"{SESSIONS}?limit=0")
    assert pair.stock(sent).header("content-type") == "application/problem+json"
    assert pair.ours(sent).header("content-type") == "application/json"


def test_a_header_parameter_reaches_the_backend(pair: Pair) -> None:
    pair.ours(get(f"{SESSIONS}/s1"))
    [(operation, arguments)] = pair.backend.calls
    assert (operation, arguments["caller"].project) == ("get_session", "demo")


def test_a_default_reaches_the_backend_typed(pair: Pair) -> None:
    pair.ours(get(f"{SESSIONS}/s1/output"))
    [(_, arguments)] = pair.backend.calls
    assert arguments["format"] is OutputFormat.TRANSCRIPT


def test_the_document_that_is_served_is_the_document_to_the_letter(pair: Pair) -> None:
    assert pair.ours(Sent("GET", "/v1/openapi.json", ())).json() == spec.load()


def test_an_empty_answer_has_no_body(pair: Pair) -> None:
    sent = Sent("DELETE", f"{SESSIONS}/s1")
    assert pair.stock(sent).body
    assert pair.ours(sent).body == b""
