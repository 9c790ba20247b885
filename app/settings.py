"""Every setting: read from the environment at the start, validated, and described for the manual.

A default is written as an operator would write it and validated in the same way. The README's table and the help of
`serve` are made from the descriptions here.
"""

import ipaddress
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import durationpy
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)

from app.urls import require_http_url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_GO_DURATION = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h|d))+")
_ORIGIN = re.compile(r"https?://(?:(?:[a-z0-9*_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


class SettingsError(Exception):
    """One line that names the variable and the accepted form, but not the value, which may be a secret."""


class AgentSetting(NamedTuple):
    """The AGENT setting: a kind of agent, with the URL (agui) or the words of the command line (acp) that it takes."""

    kind: Literal["demo", "agui", "acp"]
    url: str = ""
    command: tuple[str, ...] = ()


class SettingReference(NamedTuple):
    """One setting as the manual describes it."""

    name: str
    default: str
    form: str
    description: str


# How the text of a variable is read. Each function raises ValueError for text that it does not accept.


def parse_duration(text: object) -> float:
    """Return the seconds of a positive Go duration such as `1m30s` or `2d`. A number is returned as it is."""
    if isinstance(text, str):
        # By itself the library also accepts weeks, months, years, signs, and stray characters between two parts.
        if not _GO_DURATION.fullmatch(text):
            raise ValueError("not a duration")
        seconds = durationpy.from_str(text).total_seconds()
    elif isinstance(text, int | float):
        seconds = float(text)
    else:
        raise ValueError("not a duration")  # noqa: TRY004 - pydantic does not turn a TypeError into an error of the input
    if seconds <= 0:
        raise ValueError("not positive")
    return seconds


def parse_agent(value: str | AgentSetting) -> AgentSetting:
    """Return the agent that an AGENT setting names."""
    if isinstance(value, AgentSetting):
        return value
    kind, _, argument = value.partition(":")
    if value == "demo":
        return AgentSetting("demo")
    if kind == "acp" and (command := shlex.split(argument)):
        return AgentSetting("acp", command=tuple(command))
    if kind.startswith("agui+"):
        return AgentSetting("agui", url=require_http_url(value.removeprefix("agui+")))
    raise ValueError("no known agent")


def _base_url(value: str) -> str:
    if urlsplit(value).query:
        raise ValueError("not a base URL")
    return require_http_url(value).rstrip("/")


def _backend_url(value: str, info: ValidationInfo) -> str:
    value = value.replace("$DATA_DIR", str(info.data.get("data_dir", "")))
    if not value.startswith("sqlite:"):
        return _base_url(value)
    path = value.removeprefix("sqlite:///")
    if path in ("", value, ":memory:") or path.endswith("/") or "?" in path:
        raise ValueError("not a file")
    return f"sqlite:///{Path(path).absolute()}"


def _origin(value: str) -> str:
    origin = value.lower().rstrip("/")
    if not _ORIGIN.fullmatch(origin) or origin.endswith("*"):
        raise ValueError("not an origin")
    return origin


def _network(value: object) -> Network:
    return ipaddress.ip_network(str(value), strict=False)


def _split(value: object) -> object:
    return tuple(word for part in value.split(",") if (word := part.strip())) if isinstance(value, str) else value


_CommaSeparated = BeforeValidator(_split)
_Off = BeforeValidator(lambda value: None if value == "off" else value)
_NoServices = BeforeValidator(lambda value: () if value == "off" else value)
_Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
_Agent = Annotated[AgentSetting, BeforeValidator(parse_agent)]
_BackendUrl = Annotated[str, AfterValidator(_backend_url)]
_BaseUrl = Annotated[str, AfterValidator(_base_url)]
_Directory = Annotated[Path, AfterValidator(Path.absolute)]
_Duration = Annotated[float, BeforeValidator(parse_duration)]
_GitProtocol = Literal["https", "ssh", "http", "git", "file"]
_Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]+$")]
_Network = Annotated[Network, BeforeValidator(_network)]
_Origin = Annotated[str, AfterValidator(_origin)]
_Sessions = Annotated[int, Field(ge=1, le=1_000_000)]
_VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _setting(default: str, form: str, description: str, **constraints: Any) -> Any:
    return Field(
        default, validate_default=True, description=description, json_schema_extra={"form": form}, **constraints
    )


def _whole_number(default: str, description: str, *, low: int, high: int) -> Any:
    return _setting(default, f"a whole number from {low} to {high}", description, ge=low, le=high)


class Settings(BaseModel):
    """The settings of one server. The variable of a field is its name in capitals; durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: _Host = _setting(
        "127.0.0.1", "a host name or an IP address", "Address to listen on; `0.0.0.0` or `::` for all addresses."
    )
    port: int = _whole_number("8081", "Port to listen on; 0 picks a free one.", low=0, high=65535)
    data_dir: _Directory = _setting(
        "data",
        "a directory",
        "Directory for the database, workspaces and logs; before a platform, for the idempotency database."
        " The installed command `ambient-api` uses the user's data directory by default.",
    )
    backend_url: _BackendUrl = _setting(
        "sqlite:///$DATA_DIR/ambient.db",
        "sqlite:///<file>, http://<host> or https://<host>, without credentials (postgresql:// is not supported yet)",
        "Where sessions live: in a SQLite file (embedded backend), or on an Ambient Code Platform.",
    )
    backend_timeout: _Duration = _setting(
        "30s",
        "a duration such as 30s or 1m30s",
        "Longest wait for the start of a response from the platform, and between its bytes.",
    )
    log_cache_bytes: int = _whole_number(
        "83886080",
        "Memory to cache the contents of long platform logs, so that only new events are decoded; 0 for none.",
        low=0,
        high=2**40,
    )
    rate_limit_rps: int = _whole_number("100", "Requests per second that one client may send.", low=1, high=1_000_000)
    rate_limit_burst: int = _whole_number("200", "Requests that one client may send at once.", low=1, high=1_000_000)
    cors_allowed_origins: Annotated[tuple[_Origin, ...], _CommaSeparated] = _setting(
        "http://localhost:3000,http://localhost:8080",
        "origins separated by commas, such as https://app.example.com or https://*.example.com",
        "Origins of web pages whose scripts may call the API; `*` matches any part of a host name.",
    )
    trusted_proxies: Annotated[tuple[_Network, ...], _CommaSeparated] = _setting(
        "",
        "IP addresses and networks separated by commas, such as 10.0.0.0/8",
        "Proxies whose `X-Forwarded-For` header is trusted to name the client's address.",
    )
    max_body_bytes: int = _whole_number("1048576", "Largest request body in bytes.", low=1, high=2**30)
    agent: _Agent = _setting(
        "demo",
        "demo, agui+http://<host>/<path>, agui+https://<host>/<path> or acp:<command line>",
        "Agent of the embedded backend: the built-in demo, one that speaks AG-UI over HTTP, or an ACP command.",
    )
    agent_env: Annotated[tuple[_VariableName, ...], _CommaSeparated] = _setting(
        "",
        "names of environment variables separated by commas",
        "Environment variables of the server that an ACP agent gets too, such as its model's API key.",
    )
    agent_services: Annotated[tuple[Literal["fs", "terminal"], ...], _CommaSeparated, _NoServices] = _setting(
        "fs,terminal",
        "fs, terminal, both separated by commas, or off",
        "Services that ACP agents are offered, and which run as the server: its files (`fs`) and commands (`terminal`)."
        " Switch them `off` for an agent that you confine yourself.",
    )
    git_protocols: Annotated[tuple[_GitProtocol, ...], _CommaSeparated] = _setting(
        "https,ssh",
        "one or more of https, ssh, http, git and file, separated by commas",
        "Protocols by which repositories may be cloned.",
    )
    run_timeout: _Duration = _setting(
        "1h", "a duration such as 30m or 1h", "Longest run on the embedded backend; a longer one ends with an error."
    )
    agent_start_timeout: _Duration = _setting(
        "3m",
        "a duration such as 10m or 1h",
        "How long an ACP agent may take to start and to sign in; one that `npx` has yet to download takes long.",
    )
    approval_timeout: _Duration = _setting(
        "10m",
        "a duration such as 10m or 1h",
        "How long an approval requested within a run waits for a decision before it is denied (embedded backend).",
    )
    idle_timeout: Annotated[_Duration | None, _Off] = _setting(
        "off",
        "a duration such as 30m or 12h, or off",
        "How long a session may be idle before it is stopped (embedded backend).",
    )
    max_running_sessions: Annotated[_Sessions | None, _Off] = _setting(
        "off",
        "a whole number from 1 to 1000000, or off",
        "Sessions that run at once; others wait as `pending` (embedded backend).",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _Lower] = _setting(
        "info", "debug, info, warning or error", "Least severe log lines to write."
    )
    otel_enabled: bool = _setting(
        "false",
        "true or false",
        "Send a trace of every request to an OpenTelemetry collector; needs the extra `otel`.",
    )
    otel_exporter_otlp_endpoint: _BaseUrl = _setting(
        "http://localhost:4318", "http://<host> or https://<host>", "URL of the collector (OTLP over HTTP)."
    )

    @property
    def database(self) -> Path | None:
        """The SQLite file of the embedded backend; None before a platform."""
        path = self.backend_url.removeprefix("sqlite:///")
        return None if path == self.backend_url else Path(path)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `environ`, by default this process's; an empty variable counts as unset.

    Raises `SettingsError`.
    """
    environ = os.environ if environ is None else environ
    given = {field: text for field in Settings.model_fields if (text := environ.get(field.upper()))}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0]).upper()
        form = next(setting.form for setting in reference() if setting.name == name)
    raise SettingsError(f"{name} must be {form}")


def reference() -> Iterator[SettingReference]:
    """Yield every setting as the manual describes it, in the manual's order."""
    for field, info in Settings.model_fields.items():
        extra = info.json_schema_extra
        form = str(extra["form"]) if isinstance(extra, dict) else ""
        yield SettingReference(field.upper(), str(info.default), form, info.description or "")
