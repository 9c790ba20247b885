"""Probes of bodies: media types, JSON, and what the document says of each field."""

import json
from typing import Any

from tests.contract.probe import (
    BAD,
    CALLER,
    HOST,
    JSON,
    NOT_JSON,
    SECRET,
    TOO_LARGE,
    Probe,
    chunked,
    get,
    post,
    request,
)

SESSIONS, MESSAGE, RUNS, START = (
    "/v1/sessions",
    "/v1/sessions/s1/message",
    "/v1/sessions/s1/runs",
    "/v1/sessions/s2/start",
)
TASK = b'{"task": "t"}'
LIMIT = 1_048_576
USER = {"role": "user", "content": "hello"}


def session(**members: Any) -> bytes:
    return post(SESSIONS, json.dumps({"task": "t", **members}).encode())


def delete(body: bytes, *headers: str) -> bytes:
    return post(f"{SESSIONS}/none", body, *headers).replace(b"POST", b"DELETE", 1)


def run(*messages: Any, **members: Any) -> bytes:
    return post(RUNS, json.dumps({"messages": [*messages], **members}).encode())


def typed(*headers: str) -> bytes:
    return post(SESSIONS, TASK, *headers)


TYPES = [
    Probe("no type", typed("X-Nothing: 1"), 201),
    Probe("an empty type", typed("Content-Type:"), 201),
    Probe("JSON in capitals", typed("CONTENT-TYPE: APPLICATION/JSON"), 201),
    Probe("JSON with its charset", typed('Content-Type: application/json; charset="UTF-8"'), 201),
    Probe("text", typed("Content-Type: text/plain"), 415, NOT_JSON),
    Probe("a form", typed("Content-Type: application/x-www-form-urlencoded"), 415, NOT_JSON),
    Probe("a form of parts", typed("Content-Type: multipart/form-data; boundary=x"), 415, NOT_JSON),
    Probe("nearly JSON", typed("Content-Type: application/jsonx"), 415, NOT_JSON),
    Probe("a kind of JSON", typed("Content-Type: application/merge-patch+json"), 415, NOT_JSON),
    Probe("a type that is none", typed(f"Content-Type: {SECRET}"), 415, NOT_JSON),
    Probe("another charset", typed("Content-Type: application/json; charset=utf-16"), 415, NOT_JSON),
    Probe("a charset that is none", typed(f"Content-Type: application/json; charset={SECRET}"), 415, NOT_JSON),
    Probe("two types", typed(JSON, "Content-Type: text/plain"), 400, BAD, "Content-Type"),
    Probe("a compressed body", typed(JSON, "Content-Encoding: gzip"), 415, NOT_JSON, "Content-Encoding"),
    Probe("a type goes before the JSON", post(SESSIONS, b"{", "Content-Type: text/plain"), 415, NOT_JSON),
    Probe("a type for no body", post(START, b"{}", "Content-Type: text/plain"), 415, NOT_JSON),
]

SYNTAX = [
    Probe("no body", post(SESSIONS, b""), 400, BAD, "is required"),
    Probe("no body and no length", request(f"POST {SESSIONS} HTTP/1.1", HOST, *CALLER, JSON), 400, BAD, "is required"),
    Probe("only spaces", post(SESSIONS, b"  "), 400, BAD, "JSON"),
    Probe("half an object", post(SESSIONS, b'{"task": "%s' % SECRET.encode()), 400, BAD, "JSON"),
    Probe("two values", post(SESSIONS, TASK + TASK), 400, BAD, "JSON"),
    Probe("a comma too many", post(SESSIONS, b'{"task": "t",}'), 400, BAD, "JSON"),
    Probe("single quotes", post(SESSIONS, b"{'task': 't'}"), 400, BAD, "JSON"),
    Probe("a comment", post(SESSIONS, TASK + b"// c"), 400, BAD, "JSON"),
    Probe("NaN", post(SESSIONS, b'{"task": NaN}'), 400, BAD, "finite"),
    Probe("Infinity", post(SESSIONS, b'{"task": -Infinity}'), 400, BAD, "finite"),
    Probe("NaN where anything goes", post(RUNS, b'{"messages": [], "state": NaN}'), 400, BAD, "finite"),
    Probe("a number beyond floats", post(RUNS, b'{"messages": [], "state": 1e999}'), 400, BAD, "finite"),
    Probe(
        "an integer of 5000 digits",
        post(RUNS, b'{"messages": [], "state": %s}' % (b"7" * 5000)),
        400,
        BAD,
        "4300 digits",
    ),
    Probe("a number with a leading zero", post(RUNS, b'{"messages": [], "state": 01}'), 400, BAD, "JSON"),
    Probe("half a surrogate pair", post(SESSIONS, b'{"task": "\\ud800"}'), 400, BAD, "surrogate"),
    Probe("half a surrogate pair in a name", post(SESSIONS, b'{"task": "t", "\\udc00": 1}'), 400, BAD, "surrogate"),
    Probe("a raw control character", post(SESSIONS, b'{"task": "a\x01b"}'), 400, BAD, "JSON"),
    Probe("a raw newline in a string", post(SESSIONS, b'{"task": "a\nb"}'), 400, BAD, "JSON"),
    Probe("a bad escape", post(SESSIONS, b'{"task": "\\x41"}'), 400, BAD, "JSON"),
    Probe("a name twice", post(SESSIONS, b'{"task": "a", "task": "%s"}' % SECRET.encode()), 400, BAD, "name twice"),
    Probe("a byte order mark", post(SESSIONS, b"\xef\xbb\xbf" + TASK), 400, BAD, "JSON"),
    Probe("UTF-16", post(SESSIONS, TASK.decode().encode("utf-16")), 400, BAD, "UTF-8"),
    Probe("Latin-1", post(SESSIONS, b'{"task": "caf\xe9"}'), 400, BAD, "UTF-8"),
    Probe("overlong UTF-8", post(SESSIONS, b'{"task": "\xc0\xaf"}'), 400, BAD, "UTF-8"),
    Probe("65 levels", post(RUNS, b'{"state": ' + b"[" * 64 + b"]" * 64 + b"}"), 400, BAD, "levels deep"),
    Probe("100,000 levels", post(SESSIONS, b"[" * 100_000 + b"]" * 100_000), 400, BAD, "levels deep"),
    Probe("100,000 levels of objects", post(SESSIONS, b'{"a":' * 100_000), 400, BAD),
    Probe("an array", post(SESSIONS, b"[]"), 400, BAD, "body must be an object"),
    Probe("null", post(SESSIONS, b"null"), 400, BAD, "body must be an object"),
    Probe("a string", post(SESSIONS, b'"%s"' % SECRET.encode()), 400, BAD, "body must be an object"),
    Probe("a number", post(SESSIONS, b"1"), 400, BAD, "body must be an object"),
    Probe("spaces around", post(SESSIONS, b" \r\n\t" + TASK + b"\r\n "), 201),
    Probe("a surrogate pair", post(SESSIONS, b'{"task": "\\ud83d\\ude80"}'), 201),
]

SIZES = [
    Probe("a body too large", post(SESSIONS, b" " * (LIMIT + 1)), 413, TOO_LARGE),
    Probe("a body of the largest size", post(SESSIONS, TASK.ljust(LIMIT)), 201),
    Probe("chunks too large", chunked(SESSIONS, b"100001\r\n" + b" " * (LIMIT + 1) + b"\r\n0\r\n\r\n"), 413, TOO_LARGE),
    Probe(
        "a size goes before the type", post(SESSIONS, b" " * (LIMIT + 1), "Content-Type: text/plain"), 413, TOO_LARGE
    ),
    Probe("chunks", chunked(SESSIONS, b'6\r\n{"task\r\n7\r\n": "t"}\r\n0\r\n\r\n'), 201),
    Probe("chunks with extensions", chunked(SESSIONS, b'd;a="b"\r\n' + TASK + b"\r\n0\r\n\r\n"), 201),
    Probe("chunks with a trailer", chunked(SESSIONS, b"d\r\n" + TASK + b"\r\n0\r\nX-Ambient-Project: b\r\n\r\n"), 201),
    Probe("chunks of bad JSON", chunked(SESSIONS, b"1\r\n{\r\n0\r\n\r\n"), 400, BAD, "JSON"),
    Probe("no chunks", chunked(SESSIONS, b"0\r\n\r\n"), 400, BAD, "is required"),
    Probe("a body of GET", post(SESSIONS, b"{").replace(b"POST", b"GET"), 200),
    Probe("a body of DELETE", delete(b'{"force": true}'), 400, BAD, "body.force is not known here"),
    Probe("a body of DELETE that is text", delete(b"yes", "Content-Type: text/plain"), 415, NOT_JSON),
    Probe("a body of DELETE too large", delete(b" " * (LIMIT + 1)), 413, TOO_LARGE),
    Probe("a body of DELETE that is empty", delete(b""), 404, "session_not_found"),
    Probe("a body of DELETE that says nothing", delete(b"{}"), 404, "session_not_found"),
    Probe("a body for nothing", post(START, b'{"force": true}'), 400, BAD, "body.force"),
    Probe("chunks for nothing", chunked(START, b"1\r\n1\r\n0\r\n\r\n"), 400, BAD, "body must be an object"),
]

SESSION = [
    Probe("no task", post(SESSIONS, b"{}"), 400, BAD, "body.task is required"),
    Probe("a null task", session(task=None), 400, BAD, "body.task is required"),
    Probe("an empty task", session(task=""), 400, BAD, "body.task"),
    Probe("a blank task", session(task=" \n\t"), 400, BAD, "body.task"),
    Probe("a task that is no string", session(task=7), 400, BAD, "body.task must be a string"),
    Probe("NUL in a task", session(task=f"{SECRET}\0"), 400, BAD, "body.task"),
    Probe("a task too long", session(task="a" * 1_000_001), 400, BAD, "body.task must have at most 1000000"),
    Probe("an unknown field", session(prompt=SECRET), 400, BAD, "body.prompt is not known here"),
    Probe("a field in camelCase", session(displayName=SECRET), 400, BAD, "body.displayName is not known here"),
    Probe("an inherited name", session(__proto__={"x": SECRET}), 400, BAD, "body.__proto__"),
    Probe(
        "two spellings",
        session(active_workflow={"git_url": "u"}, activeWorkflow={"gitUrl": "u"}),
        400,
        BAD,
        "body.active_workflow must be given under one name only",
    ),
    Probe("two spellings, one null", session(environment_variables=None, environmentVariables={}), 201),
    Probe("one repository", session(repos={"url": SECRET}), 400, BAD, "body.repos must be an array"),
    Probe("a repository without URL", session(repos=[{}]), 400, BAD, "body.repos[0].url is required"),
    Probe("a repository of another shape", session(repos=[{"input": {"url": "u"}}]), 400, BAD, "body.repos[0].input"),
    Probe("a workflow in half", session(active_workflow={"path": SECRET}), 400, BAD, "body.active_workflow.git_url"),
    Probe("a workflow in mixed spelling", session(active_workflow={"gitUrl": "https://h/r"}), 201),
    Probe(
        "a workflow in half under its other name",
        session(activeWorkflow={"path": SECRET}),
        400,
        BAD,
        "body.active_workflow.git_url",
    ),
    Probe(
        "a bad environment name", session(environment_variables={"A-B": SECRET}), 400, BAD, "A-B must have a name of"
    ),
    Probe("an empty environment name", session(environment_variables={"": SECRET}), 400, BAD),
    Probe("a newline after an environment name", session(environment_variables={"A\n": SECRET}), 400, BAD),
    Probe("an environment value that is a number", session(environment_variables={"A": 1}), 400, BAD, ".A must be"),
    Probe("an environment value that is null", session(environment_variables={"A": None}), 400, BAD, ".A must be"),
    Probe(
        "NUL in an environment value",
        session(environmentVariables={"A": f"{SECRET}\0"}),
        400,
        BAD,
        "environment_variables.A",
    ),
    Probe("a status to begin with", session(status="running"), 400, BAD, "body.status"),
]

RUN = [
    Probe("an empty message", post(MESSAGE, b'{"content": ""}'), 400, BAD, "body.content"),
    Probe("a blank message", post(MESSAGE, b'{"content": " "}'), 400, BAD, "body.content"),
    Probe("a message of parts", post(MESSAGE, b'{"content": ["a"]}'), 400, BAD, "body.content must be a string"),
    Probe("no messages", post(RUNS, b"{}"), 400, BAD, "body.messages is required"),
    Probe("an empty list of messages", run(), 400, BAD, "body.messages must have at least 1 item."),
    Probe("1001 messages", run(*[USER] * 1001), 400, BAD, "body.messages must have at most 1000"),
    Probe("a message without role", run({"content": SECRET}), 400, BAD, "body.messages[0].role is required"),
    Probe("a message of a tool", run(USER, {"role": "tool", "content": SECRET}), 400, BAD, "body.messages[1].role"),
    Probe("a message without content", run({"role": "user"}), 400, BAD, "body.messages[0].content is required"),
    Probe("a message with a null content", run({"role": "user", "content": None}), 400, BAD, "content is required"),
    Probe("a message of numbers", run({"role": "user", "content": 1}), 400, BAD, "content must be a string"),
    Probe("a message that is none", run("hello"), 400, BAD, "body.messages[0] must be an object"),
    Probe("a run id that is no UUID", run(USER, run_id=SECRET), 400, BAD, "body.run_id"),
    Probe(
        "a run id with a newline", run(USER, run_id="0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11\n"), 400, BAD, "body.run_id"
    ),
    Probe("a run id in camelCase", run(USER, runId=SECRET), 400, BAD, "body.runId is not known here"),
    Probe("a control character in a thread id", run(USER, thread_id=f"{SECRET}\n"), 400, BAD, "body.thread_id"),
    Probe("a thread id too long", run(USER, thread_id="a" * 256), 400, BAD, "body.thread_id must have at most 255"),
    Probe("tools that are no objects", run(USER, tools=[SECRET]), 400, BAD, "body.tools[0] must be an object"),
    Probe("properties that are no object", run(USER, forwarded_props=[]), 400, BAD, "body.forwarded_props must be"),
]

QUERIES = [
    *(
        Probe(f"a limit of {text or 'nothing'}", get(f"{SESSIONS}?limit={text}"), 400, BAD, "query.limit")
        for text in [
            "",
            "0",
            "101",
            "-1",
            "-0",
            "1_0",
            "%201",
            "1%20",
            "+5",
            "%2B5",
            "05",
            "1.0",
            "1e1",
            "0x1",
            "%D9%A3",
            "%EF%BC%91",
            "1%00",
            "1%0A",
            "NaN",
            "true",
            "null",
            "[1]",
            "1&limit=1",
            "1;offset=2",
        ]
    ),
    Probe("a limit without value", get(f"{SESSIONS}?limit"), 400, BAD, "query.limit"),
    Probe("an offset below zero", get(f"{SESSIONS}?offset=-1"), 400, BAD, "query.offset must be at least 0"),
    Probe("an offset too large", get(f"{SESSIONS}?offset=2147483648"), 400, BAD, "query.offset must be at most"),
    Probe(
        "an offset of 60000 digits", get(f"{SESSIONS}?offset={'7' * 60_000}"), 400, BAD, "query.offset must be at most"
    ),
    Probe("the largest offset", get(f"{SESSIONS}?offset=2147483647"), 200),
    Probe("an unknown parameter", get(f"{SESSIONS}?page={SECRET}"), 400, BAD, "query.page is not known here"),
    Probe("a parameter in other case", get(f"{SESSIONS}?LIMIT=1"), 400, BAD, "query.LIMIT is not known here"),
    Probe("a parameter with a space", get(f"{SESSIONS}?%20limit=1"), 400, BAD, "is not known here"),
    Probe("a token in the query", get(f"{SESSIONS}?access_token={SECRET}"), 400, BAD, "query.access_token"),
    Probe("a parameter of an operation that has none", get(f"{SESSIONS}/s1?x={SECRET}"), 400, BAD, "query.x"),
    Probe("a parameter of a write", post(f"{START}?force={SECRET}", b""), 400, BAD, "query.force"),
    Probe("an unknown status", get(f"{SESSIONS}?status={SECRET}"), 400, BAD, "query.status[0] must be one of"),
    Probe("statuses with a comma", get(f"{SESSIONS}?status=running,pending"), 400, BAD, "query.status[0]"),
    Probe("a status in brackets", get(f"{SESSIONS}?status[]=running"), 400, BAD, "is not known here"),
    Probe("an empty status", get(f"{SESSIONS}?status="), 400, BAD, "query.status[0]"),
    Probe("a status repeated", get(f"{SESSIONS}?status=running&status=pending"), 200),
    Probe("NUL in a search", get(f"{SESSIONS}?search={SECRET}%00"), 400, BAD, "query.search"),
    Probe("a search too long", get(f"{SESSIONS}?search=" + "a" * 256), 400, BAD, "query.search must have at most 255"),
    Probe("a search that is no UTF-8", get(f"{SESSIONS}?search=%ff"), 400, BAD, "UTF-8"),
    Probe("raw bytes in a search", get(f"{SESSIONS}?search={SECRET}\xff"), 400, BAD),
    Probe("half a surrogate pair in a search", get(f"{SESSIONS}?search=%ED%A0%80"), 400, BAD, "UTF-8"),
    Probe("a search for anything", get(f"{SESSIONS}?search=%F0%9F%9A%80%25%27%22%3B--"), 200),
    Probe("201 parameters", get(f"{SESSIONS}?" + "status=running&" * 201), 400, BAD, "at most 200"),
    Probe("an empty query", get(f"{SESSIONS}?"), 200),
    Probe("nothing but separators", get(f"{SESSIONS}?&&"), 200),
    Probe("an unknown format", get(f"{SESSIONS}/s1/output?format={SECRET}"), 400, BAD, "query.format must be one of"),
    Probe("two formats", get(f"{SESSIONS}/s1/output?format=events&format=events"), 400, BAD, "query.format"),
    Probe("an output of a run that is no UUID", get(f"{SESSIONS}/s1/output?run_id={SECRET}"), 400, BAD, "query.run_id"),
    Probe("an unknown status of runs", get(f"{SESSIONS}/s1/runs?status=stopped"), 400, BAD, "query.status"),
]

PROBES = [*TYPES, *SYNTAX, *SIZES, *SESSION, *RUN, *QUERIES]
