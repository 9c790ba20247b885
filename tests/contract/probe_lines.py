"""Probes of the first line: methods, targets, versions."""

from tests.contract.probe import (
    BAD,
    CALLER,
    HOST,
    LONG_HEAD,
    NO_METHOD,
    NO_TOKEN,
    NONE_SUCH,
    SECRET,
    Probe,
    get,
    request,
)

LIST = {"allow": "GET, HEAD, OPTIONS, POST"}
RUN = "/v1/sessions/s1/runs/"


def line(text: str) -> bytes:
    return request(text, HOST, *CALLER)


METHODS = [
    Probe("HEAD where GET is", line("HEAD /v1/sessions HTTP/1.1"), 200, headers={"content-type": "application/json"}),
    Probe("HEAD of nothing", line("HEAD /v1/nothing HTTP/1.1"), 404),
    Probe("HEAD of a bad name", line("HEAD /v1/sessions/S1 HTTP/1.1"), 400),
    Probe("HEAD where GET is not", line("HEAD /v1/sessions/s1/stop HTTP/1.1"), 405, headers={"allow": "OPTIONS, POST"}),
    Probe("OPTIONS of a path", line("OPTIONS /v1/sessions HTTP/1.1"), 204, headers=LIST),
    Probe("OPTIONS without token", request("OPTIONS /v1/sessions HTTP/1.1", HOST), 204, headers=LIST),
    Probe("OPTIONS of nothing", line("OPTIONS /v1/nothing HTTP/1.1"), 404, NONE_SUCH),
    Probe("OPTIONS of the server", line("OPTIONS * HTTP/1.1"), 404, NONE_SUCH),
    Probe("PUT", line("PUT /v1/sessions HTTP/1.1"), 405, NO_METHOD, headers=LIST),
    Probe(
        "PUT of a session",
        line("PUT /v1/sessions/s1 HTTP/1.1"),
        405,
        NO_METHOD,
        headers={"allow": "DELETE, GET, HEAD, OPTIONS, PATCH"},
    ),
    Probe("TRACE", line("TRACE /v1/sessions HTTP/1.1"), 405, NO_METHOD, headers=LIST),
    Probe("PROPFIND", line("PROPFIND /v1/sessions HTTP/1.1"), 405, NO_METHOD, headers=LIST),
    Probe("a method goes before the token", request("PUT /v1/sessions HTTP/1.1", HOST), 405, NO_METHOD, headers=LIST),
    Probe("lower-case method", line("get /v1/sessions HTTP/1.1"), 400, BAD, "with an HTTP method"),
    Probe("unheard-of method", line("BREW /v1/sessions HTTP/1.1"), 400, BAD, "with an HTTP method"),
    Probe("method with one letter more", line("GETS /v1/sessions HTTP/1.1"), 400, BAD, "with an HTTP method"),
    Probe("POST to /health", line("POST /health HTTP/1.1"), 405, NO_METHOD, headers={"allow": "GET, HEAD, OPTIONS"}),
    Probe("DELETE of /metrics", line("DELETE /metrics HTTP/1.1"), 405, NO_METHOD),
    Probe("POST to the document", line("POST /v1/openapi.json HTTP/1.1"), 405, NO_METHOD),
]

PATHS = [
    Probe("absolute form", line("GET http://api.test/v1/sessions HTTP/1.1"), 200),
    Probe("absolute form of another host", line(f"GET http://{SECRET}.test/v1/nothing HTTP/1.1"), 404, NONE_SUCH),
    Probe("two slashes first", get("//v1/sessions"), 404, NONE_SUCH),
    Probe("two slashes within", get("/v1//sessions"), 404, NONE_SUCH),
    Probe("a slash last", get("/v1/sessions/"), 404, NONE_SUCH),
    Probe("other case", get("/V1/sessions"), 404, NONE_SUCH),
    Probe("a path parameter of old", get("/v1/sessions;a=b"), 404, NONE_SUCH),
    Probe("an encoded question mark", get("/v1/sessions%3Flimit=1"), 404, NONE_SUCH),
    Probe("an asterisk", get("*"), 404, NONE_SUCH),
    Probe("the root with a query that is none", get("/?%zz"), 200),
    Probe("the base path", get("/v1"), 404, NONE_SUCH),
    Probe("a stranger", get(f"/{SECRET}"), 404, NONE_SUCH),
    Probe("no such path goes before no token", request("GET /v1/nothing HTTP/1.1", HOST), 404, NONE_SUCH),
    Probe("dots within", get("/v1/sessions/../sessions"), 404, NONE_SUCH),
    Probe("encoded dots out of the base", get("/v1/%2e%2e/health"), 404, NONE_SUCH),
    Probe("beyond a session", get("/v1/sessions/s1/nothing"), 404, NONE_SUCH),
    Probe("an encoded letter of a literal", get("/v1/%73essions"), 200),
    Probe("a newline after a literal", get("/v1/sessions%0A"), 404, NONE_SUCH),
    Probe("a long path", get("/" + "a" * 8000), 404, NONE_SUCH),
    Probe("an overlong path", get("/" + "a" * 65_500), 431, LONG_HEAD),
    Probe("an overlong query", get("/v1/sessions?search=" + "a" * 65_450), 431, LONG_HEAD),
    Probe("a path that no parser takes", get("/" + "a" * 70_000), 431, LONG_HEAD),
    Probe("a space in the target", line("GET /v1/ses sions HTTP/1.1"), 400, BAD),
    Probe("no target", line("GET  HTTP/1.1"), 400, BAD, "not valid HTTP"),
    Probe("a target without slash", line("GET v1/sessions HTTP/1.1"), 400, BAD),
]

NAMES = [
    Probe("dots as a name", get("/v1/sessions/.."), 400, BAD, "session_id"),
    Probe("encoded dots as a name", get("/v1/sessions/%2e%2e"), 400, BAD, "session_id"),
    Probe("NUL in a name", get(f"/v1/sessions/{SECRET}%00"), 400, BAD, "session_id"),
    Probe("a newline after a name", get("/v1/sessions/s1%0A"), 400, BAD, "session_id"),
    Probe("CR and LF in a name", get("/v1/sessions/s1%0D%0AX-Evil:%201"), 400, BAD, "session_id"),
    Probe("an encoded slash in a name", get("/v1/sessions/s1%2Fexport"), 400, BAD, "session_id"),
    Probe("an encoded backslash in a name", get("/v1/sessions/s1%5Cexport"), 400, BAD, "session_id"),
    Probe("a twice encoded slash in a name", get("/v1/sessions/s1%252Fexport"), 400, BAD, "session_id"),
    Probe("an encoded question mark in a name", get("/v1/sessions/s1%3Fx=1"), 400, BAD, "session_id"),
    Probe("a bad escape in a name", get("/v1/sessions/%zz"), 400, BAD, "session_id"),
    Probe("a name that is no UTF-8", get("/v1/sessions/%ff"), 400, BAD, "UTF-8"),
    Probe("a name that is no ASCII", get("/v1/sessions/caf%C3%A9"), 400, BAD, "session_id"),
    Probe("raw bytes in a name", get("/v1/sessions/s\xff"), 400, BAD),
    Probe("capitals in a name", get("/v1/sessions/S1"), 400, BAD, "session_id"),
    Probe("a name that begins with a hyphen", get("/v1/sessions/-s"), 400, BAD, "session_id"),
    Probe("a name that ends with a hyphen", get("/v1/sessions/s-"), 400, BAD, "session_id"),
    Probe("an underscore in a name", get("/v1/sessions/s_1"), 400, BAD, "session_id"),
    Probe("a name of 64 characters", get("/v1/sessions/" + "a" * 64), 400, BAD, "session_id"),
    Probe("the longest name", get("/v1/sessions/" + "a" * 63), 404, "session_not_found"),
    Probe("the shortest name", get("/v1/sessions/a"), 404, "session_not_found"),
    Probe("an encoded letter of a name", get("/v1/sessions/%731"), 200),
    Probe("a bad name below a session", get("/v1/sessions/S1/output"), 400, BAD, "session_id"),
    Probe("a slash in a run's id", get(RUN + "a%2Fb"), 400, BAD, "run_id"),
    Probe("NUL in a run's id", get(RUN + "a%00"), 400, BAD, "run_id"),
    Probe("a newline after a run's id", get(RUN + "a%0a"), 400, BAD, "run_id"),
    Probe("a run's id of 256 characters", get(RUN + "a" * 256), 400, BAD, "run_id"),
    Probe("a run's id that is no UTF-8", get(RUN + "%c3"), 400, BAD, "run_id"),
    Probe("a run's id that is empty", get(RUN), 404, NONE_SUCH),
    Probe("a run's id with anything else", get(RUN + "%F0%9F%9A%80%20%3F%23"), 404, "run_not_found"),
]

VERSIONS = [
    Probe("HTTP/1.0", request("GET /v1/sessions HTTP/1.0", *CALLER), 200),
    Probe("HTTP/2.0 in the words of HTTP/1.1", line("GET /v1/sessions HTTP/2.0"), 200),
    Probe("HTTP/9.9", line("GET /v1/sessions HTTP/9.9"), 400, BAD),
    Probe("no version", b"GET /v1/sessions\r\n\r\n", 401, NO_TOKEN),
    Probe("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, BAD),
    Probe("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, BAD),
    Probe("empty lines first", b"\r\n\r\n" + get("/v1/sessions"), 200),
]

PROBES = [*METHODS, *PATHS, *NAMES, *VERSIONS]
