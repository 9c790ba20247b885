"""Probes of headers: tokens, projects, request ids, CORS, framing."""

import base64

from tests.contract.probe import (
    BAD,
    CALLER,
    HOST,
    JSON,
    LONG_HEAD,
    MISMATCH,
    NO_PROJECT,
    NO_TOKEN,
    PROJECT,
    SECRET,
    TOKEN,
    Probe,
    chunked,
    get,
    request,
    service_account,
)

BEARER = {"www-authenticate": "Bearer"}
FORWARDED = f"X-Forwarded-Access-Token: {SECRET}"
OWN = f"Authorization: Bearer {service_account('demo')}"
TASK = b'{"task": "t"}'


def head(*headers: str) -> bytes:
    return request("GET /v1/sessions HTTP/1.1", HOST, *headers)


def preflight(origin: str) -> bytes:
    return request("OPTIONS /v1/sessions HTTP/1.1", HOST, f"Origin: {origin}", "Access-Control-Request-Method: POST")


def framed(*headers: str, body: bytes = TASK) -> bytes:
    return request("POST /v1/sessions HTTP/1.1", HOST, *CALLER, JSON, *headers, body=body)


def hosted(*hosts: str, version: str = "1.1") -> bytes:
    return request(f"GET /v1/sessions HTTP/{version}", *(f"Host: {host}" for host in hosts), *CALLER)


HOSTS = [
    Probe("no host", hosted(), 400, BAD, "Host"),
    Probe("no host in HTTP/1.0", hosted(version="1.0"), 200),
    Probe("two hosts", hosted("api.test", f"{SECRET}.test"), 400, BAD, "Host"),
    Probe("one host twice", hosted("api.test", "api.test"), 400, BAD, "Host"),
    Probe("a host and an empty one", hosted("api.test", ""), 400, BAD, "Host"),
    Probe("two hosts in HTTP/1.0", hosted("api.test", f"{SECRET}.test", version="1.0"), 400, BAD, "Host"),
    Probe("no host goes before no path", request("GET /v1/nothing HTTP/1.1"), 400, BAD, "Host"),
    Probe(
        "no host with an upgrade", request("GET / HTTP/1.1", "Connection: Upgrade", "Upgrade: h2c"), 400, BAD, "Host"
    ),
    Probe("no host before a body", request("POST /v1/sessions HTTP/1.1", *CALLER, JSON, body=TASK), 400, BAD, "Host"),
    *(
        Probe(f"a host that is none: {host}", hosted(host), 400, BAD, "Host")
        for host in (f"{SECRET} b", f"{SECRET}, b", f"a/{SECRET}", f"{SECRET}@a", f"a:{SECRET}", "a:1:2", "http://a")
    ),
    *(Probe(f"an address that is none: {host}", hosted(host), 400, BAD, "Host") for host in ("::1", "[::1", "[::1]b")),
    *(
        Probe(f"a host: {host}", hosted(host), 200)
        for host in ("", "a", "a.test:8000", "a.test:", "10.0.0.1:1", "[::1]", "[fe80::1%25e]:80")
    ),
]

TOKENS = [
    Probe("no token", head(PROJECT), 401, NO_TOKEN, headers=BEARER),
    Probe("an empty token", head("Authorization:", PROJECT), 401, NO_TOKEN, headers=BEARER),
    Probe("only a scheme", head("Authorization: Bearer", PROJECT), 401, NO_TOKEN, headers=BEARER),
    Probe("only a scheme and a space", head("Authorization: Bearer ", PROJECT), 401, NO_TOKEN, headers=BEARER),
    Probe("another scheme", head(f"Authorization: Basic {SECRET}", PROJECT), 401, NO_TOKEN, headers=BEARER),
    Probe("a token without scheme", head(f"Authorization: {SECRET}", PROJECT), 401, NO_TOKEN, headers=BEARER),
    Probe("a space in a token", head(f"Authorization: Bearer {SECRET} b", PROJECT), 401, NO_TOKEN, headers=BEARER),
    Probe("a tab in a token", head(f"Authorization: Bearer {SECRET}\tb", PROJECT), 401, NO_TOKEN, headers=BEARER),
    Probe("a token that is no ASCII", head(f"Authorization: Bearer {SECRET}\xe9", PROJECT), 401, NO_TOKEN),
    Probe("a no-break space after a token", head(f"Authorization: Bearer {SECRET}\xa0", PROJECT), 401, NO_TOKEN),
    Probe("a C1 control before a scheme", head(f"Authorization: \x85Bearer {SECRET}", PROJECT), 401, NO_TOKEN),
    Probe("a no-break space after a forwarded token", head(f"{FORWARDED}\xa0", PROJECT), 401, NO_TOKEN),
    Probe("a malformed token beside a good one", head("Authorization: Bearer a b", FORWARDED, PROJECT), 401, NO_TOKEN),
    Probe("two tokens", head(TOKEN, f"Authorization: Bearer {SECRET}", PROJECT), 400, BAD, "Authorization"),
    Probe("one token twice", head(TOKEN, TOKEN, PROJECT), 400, BAD, "once"),
    Probe("two forwarded tokens", head(FORWARDED, FORWARDED, PROJECT), 400, BAD, "X-Forwarded-Access-Token"),
    Probe("no token goes before a bad name", request("GET /v1/sessions/S1 HTTP/1.1", HOST, PROJECT), 401, NO_TOKEN),
    Probe("the scheme in small letters", head("authorization: bearer tok", PROJECT), 200),
    Probe("the scheme in capitals", head("AUTHORIZATION: BEARER tok", PROJECT), 200),
    Probe("spaces around a token", head("Authorization:   Bearer   tok  ", PROJECT), 200),
    Probe("a forwarded token", head(FORWARDED, PROJECT), 200),
    Probe("a forwarded token beside another scheme", head("Authorization: Basic eDp5", FORWARDED, PROJECT), 200),
    Probe("a forwarded token beside an empty one", head("Authorization: Bearer", FORWARDED, PROJECT), 200),
]

ENDLESS_CLAIMS = base64.urlsafe_b64encode(b'{"x":' + b"[" * 20_000).decode().rstrip("=")

PROJECTS = [
    Probe("no project", head(TOKEN), 400, NO_PROJECT, "X-Ambient-Project"),
    Probe("an empty project", head(TOKEN, "X-Ambient-Project:"), 400, NO_PROJECT, "X-Ambient-Project"),
    Probe("two projects", head(TOKEN, PROJECT, f"X-Ambient-Project: {SECRET}"), 400, BAD, "once"),
    Probe("one project twice", head(TOKEN, PROJECT, PROJECT), 400, BAD, "once"),
    Probe("projects in a list", head(TOKEN, "X-Ambient-Project: demo, demo"), 400, BAD, "X-Ambient-Project"),
    Probe("capitals in a project", head(TOKEN, "X-Ambient-Project: Demo"), 400, BAD, "X-Ambient-Project"),
    Probe("a dot in a project", head(TOKEN, f"X-Ambient-Project: {SECRET}.x"), 400, BAD, "X-Ambient-Project"),
    Probe("a slash in a project", head(TOKEN, "X-Ambient-Project: demo/x"), 400, BAD, "X-Ambient-Project"),
    Probe("an escape in a project", head(TOKEN, "X-Ambient-Project: %64emo"), 400, BAD, "X-Ambient-Project"),
    Probe("a project that is no ASCII", head(TOKEN, "X-Ambient-Project: d\xe9mo"), 400, BAD, "X-Ambient-Project"),
    Probe("a project of 64 characters", head(TOKEN, "X-Ambient-Project: " + "a" * 64), 400, BAD, "at most 63"),
    Probe("the header's name in other case", head(TOKEN, "x-AMBIENT-project: demo"), 200),
    Probe("a service account's project", head(OWN), 200),
    Probe("a service account's project named", head(OWN, PROJECT), 200),
    Probe("another than the service account's", head(OWN, f"X-Ambient-Project: {SECRET}"), 400, MISMATCH),
    Probe(
        "a service account of a bad namespace", head(f"Authorization: Bearer {service_account('A/b')}"), 400, NO_PROJECT
    ),
    Probe("a token that is nearly a JWT", head("Authorization: Bearer a.!.c"), 400, NO_PROJECT),
    Probe("a token of strange claims", head("Authorization: Bearer a.WzFd.c"), 400, NO_PROJECT),
    Probe("a token of claims without end", head(f"Authorization: Bearer a.{ENDLESS_CLAIMS}.c"), 400, NO_PROJECT),
]

IDS = [
    Probe("a request id", get("/v1/nothing", "X-Request-ID: My_id-1.2"), 404, headers={"x-request-id": "My_id-1.2"}),
    Probe("a request id with a space", get("/v1/nothing", f"X-Request-ID: {SECRET} x"), 404),
    Probe("a request id that is too long", get("/v1/nothing", "X-Request-ID: " + SECRET * 22), 404),
    Probe("two request ids", get("/v1/nothing", f"X-Request-ID: {SECRET}", "X-Request-ID: b"), 404),
    Probe("an empty request id", get("/v1/nothing", "X-Request-ID:"), 404),
]

LOCAL = {"access-control-allow-origin": "http://localhost:3000", "access-control-allow-credentials": "true"}
LISTED = [
    Probe("a listed origin", get("/v1/sessions", "Origin: http://localhost:3000"), 200, headers=LOCAL),
    Probe("an error to a listed origin", get("/v1/nothing", "Origin: http://localhost:3000"), 404, headers=LOCAL),
    Probe("a preflight of a listed origin", preflight("http://localhost:3000"), 204, headers=LOCAL),
]
UNLISTED = [
    Probe(
        "an unlisted origin",
        get("/v1/sessions", f"Origin: http://{SECRET}.test"),
        200,
        headers={"vary": "Origin, Accept-Encoding"},
    ),
    Probe("a preflight of an unlisted origin", preflight("http://localhost:3000.evil.test"), 204),
    Probe("the null origin", get("/v1/sessions", "Origin: null"), 200),
]

FRAMES = [
    Probe("two different lengths", framed("Content-Length: 13", "Content-Length: 12"), 400, BAD),
    Probe("one length twice", framed("Content-Length: 13", "Content-Length: 13"), 400, BAD),
    Probe("lengths in a list", framed("Content-Length: 13, 13"), 400, BAD),
    Probe("a negative length", framed("Content-Length: -1"), 400, BAD),
    Probe("a signed length", framed("Content-Length: +13"), 400, BAD),
    Probe("a length in hexadecimal", framed("Content-Length: 0xd"), 400, BAD),
    Probe("an empty length", framed("Content-Length:"), 400, BAD),
    Probe("a length beyond counting", framed("Content-Length: " + "9" * 30), 400, BAD),
    Probe("length and chunks", framed("Content-Length: 13", "Transfer-Encoding: chunked"), 400, BAD),
    Probe("chunks and length", framed("Transfer-Encoding: chunked", "Content-Length: 13"), 400, BAD),
    Probe("chunks of another coding", framed("Transfer-Encoding: gzip"), 400, BAD),
    Probe("chunks inside of another coding", framed("Transfer-Encoding: chunked, gzip"), 400, BAD),
    Probe("chunks in capitals", framed("Transfer-Encoding: CHUNKED", body=b"d\r\n" + TASK + b"\r\n0\r\n\r\n"), 201),
    Probe("a chunk without size", chunked("/v1/sessions", b"\r\n" + TASK + b"\r\n0\r\n\r\n"), 400, BAD),
    Probe("a chunk of a strange size", chunked("/v1/sessions", b"xyz\r\n" + TASK + b"\r\n0\r\n\r\n"), 400, BAD),
    Probe("a chunk of a negative size", chunked("/v1/sessions", b"-d\r\n" + TASK + b"\r\n0\r\n\r\n"), 400, BAD),
    Probe("a chunk of a size beyond counting", chunked("/v1/sessions", b"f" * 20 + b"\r\n{"), 400, BAD),
    Probe("a chunk that is longer than it says", chunked("/v1/sessions", b"3\r\n" + TASK + b"\r\n0\r\n\r\n"), 400, BAD),
    Probe("a space before the colon", head(TOKEN, "X-Ambient-Project : demo"), 400, BAD),
    Probe("a folded header", head(TOKEN, "X-Ambient-Project: de\r\n mo"), 400, BAD),
    Probe("a header without colon", head(*CALLER, SECRET), 400, BAD),
    Probe("a header without name", head(*CALLER, f": {SECRET}"), 400, BAD),
    Probe("a space in a header's name", head(*CALLER, f"X {SECRET}: 1"), 400, BAD),
    Probe("NUL in a header", head(TOKEN, "X-Ambient-Project: de\x00mo"), 400, BAD),
    Probe("a lone CR in a header", head(TOKEN, "X-Ambient-Project: de\rmo"), 400, BAD),
    Probe("one large header", head(*CALLER, "X-Big: " + "a" * 66_000), 431, LONG_HEAD),
    Probe("many small headers", head(*CALLER, *(f"X-{number}: {'a' * 90}" for number in range(700))), 431, LONG_HEAD),
    Probe("headers just below the limit", head(*CALLER, "X-Big: " + "a" * 60_000), 200),
]

MANNERS = [
    Probe("an upgrade to a web socket", get("/v1/sessions", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), 200),
    Probe("an upgrade to HTTP/2", get("/v1/sessions", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), 200),
    Probe(
        "a wish for HTML", get("/v1/sessions", "Accept: text/html"), 200, headers={"content-type": "application/json"}
    ),
    Probe("a wish for HTML of nothing", get("/v1/nothing", "Accept: text/html"), 404),
    Probe("a wish for a part", get("/v1/sessions", "Range: bytes=0-3"), 200),
    Probe("a wish for compression", get("/v1/sessions", "Accept-Encoding: br, gzip"), 200),
    Probe("a method in a header", get("/v1/sessions/s1", "X-HTTP-Method-Override: DELETE"), 200),
    Probe("a path in a header", get("/v1/nothing", "X-Original-URL: /v1/sessions", "X-Rewrite-URL: /health"), 404),
    Probe(
        "a user in a header", get("/v1/sessions", "X-Forwarded-User: admin", "X-Forwarded-Groups: system:masters"), 200
    ),
]

PROBES = [*HOSTS, *TOKENS, *PROJECTS, *IDS, *LISTED, *UNLISTED, *FRAMES, *MANNERS]
