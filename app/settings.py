"""Every setting of the server: read once from the environment, validated, and documented where it stands."""

import ipaddress
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import durationpy
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from app.urls import require_http_url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_GO_DURATION = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h|d))+")
_HOST = re.compile(r"[A-Za-z0-9.:_-]+")
_ORIGIN = re.compile(r"https?://(?:(?:[a-z0-9*_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SettingsError(Exception):
    """One line that names the variable and the accepted form, never the value."""


class AgentSetting(NamedTuple):
    """The AGENT setting: a kind of agent, with the URL (agui) or the words of the command line (acp) that it takes."""

    kind: Literal["demo", "agui", "acp"]
    url: str = ""
    command: tuple[str, ...] = ()


class SettingReference(NamedTuple):
    """What the manual says of one setting."""

    name: str
    default: str
    form: str
    description: str


def parse_duration(text: object) -> float:
    """Seconds of a positive Go duration (`1m30s`), days allowed; ValueError otherwise. Numbers are taken as seconds."""
    if isinstance(text, str):
        # The library alone would also take weeks, months, years, signs and stray characters between two parts.
        if not _GO_DURATION.fullmatch(text):
            raise ValueError("not a duration")
        seconds = durationpy.from_str(text).total_seconds()
    elif isinstance(text, int | float):
        seconds = float(text)
    else:
        raise ValueError("not a duration")  # noqa: TRY004 - pydantic reads a TypeError as a bug
    if seconds <= 0:
        raise ValueError("not positive")
    return seconds


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("not a host")
    return value


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


def _words(value: object) -> object:
    return tuple(word for part in value.split(",") if (word := part.strip())) if isinstance(value, str) else value


def _origin(value: str) -> str:
    origin = value.lower().rstrip("/")
    if not _ORIGIN.fullmatch(origin) or origin.endswith("*"):
        raise ValueError("not an origin")
    return origin


def _network(value: object) -> Network:
    return ipaddress.ip_network(str(value), strict=False)


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise ValueError("not a name")
    return value


def parse_agent(value: str | AgentSetting) -> AgentSetting:
    """Return the agent that an AGENT setting names; raise ValueError if it has none of the accepted forms."""
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


def _setting(default: str, form: str, description: str, **constraints: Any) -> Any:
    """A field whose default is the text of the manual, so that it passes the same validation as the operator's."""
    return Field(
        default, validate_default=True, description=description, json_schema_extra={"form": form}, **constraints
    )


_Duration = Annotated[float, BeforeValidator(parse_duration)]
_Off = BeforeValidator(lambda value: None if value == "off" else value)
_Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class Settings(BaseModel):
    """What an operator can choose; the variable is the field's name in capitals. Durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: Annotated[str, AfterValidator(_host)] = _setting(
        "127.0.0.1", "a host name or an IP address", "Address to listen on; `0.0.0.0` or `::` for every one."
    )
    port: int = _setting(
        "8081", "a whole number from 0 to 65535", "Port to listen on; 0 takes a free one.", ge=0, le=65535
    )
    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = _setting(
        "data",
        "a directory",
        "Where the embedded backend keeps its files, and a server before a platform the answers to idempotency keys.",
    )
    backend_url: Annotated[str, AfterValidator(_backend_url)] = _setting(
        "sqlite:///$DATA_DIR/ambient.db",
        "sqlite:///<file>, http://<host> or https://<host>, without credentials (postgresql:// is not supported yet)",
        "Where sessions live: the embedded backend in a SQLite file, or an Ambient Code Platform backend.",
    )
    backend_timeout: _Duration = _setting(
        "30s", "a duration such as 30s or 1m30s", "Longest wait for the platform's answer, and between its bytes."
    )
    log_cache_bytes: int = _setting(
        "83886080",
        "a whole number from 0 to 1099511627776",
        "Memory for long logs of a platform's sessions, so that only new events are decoded; 0 for none.",
        ge=0,
        le=2**40,
    )
    rate_limit_rps: int = _setting(
        "100", "a whole number from 1 to 1000000", "Requests per second and client.", ge=1, le=1_000_000
    )
    rate_limit_burst: int = _setting(
        "200", "a whole number from 1 to 1000000", "Requests that a client may send at once.", ge=1, le=1_000_000
    )
    cors_allowed_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_words)] = (
        _setting(
            "http://localhost:3000,http://localhost:8080",
            "origins separated by commas, such as https://app.example.com or https://*.example.com",
            "Web pages whose scripts may call the API; `*` stands for any part of a host name.",
        )
    )
    trusted_proxies: Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(_words)] = (
        _setting(
            "",
            "IP addresses and networks separated by commas, such as 10.0.0.0/8",
            "Proxies whose `X-Forwarded-For` tells the client's address.",
        )
    )
    max_body_bytes: int = _setting(
        "1048576", "a whole number from 1 to 1073741824", "Largest request body in bytes.", ge=1, le=2**30
    )
    agent: Annotated[AgentSetting, BeforeValidator(parse_agent)] = _setting(
        "demo",
        "demo, agui+http://<host>/<path>, agui+https://<host>/<path> or acp:<command line>",
        "The agent of the embedded backend's sessions: the built-in one, any that speaks AG-UI over HTTP, or ACP.",
    )
    agent_env: Annotated[tuple[Annotated[str, AfterValidator(_variable)], ...], BeforeValidator(_words)] = _setting(
        "",
        "names of environment variables separated by commas",
        "Environment variables of the server that an ACP agent sees too, such as its model's key.",
    )
    git_protocols: Annotated[tuple[Literal["https", "ssh", "http", "git", "file"], ...], BeforeValidator(_words)] = (
        _setting(
            "https,ssh", "one or more of https, ssh, http, git and file, separated by commas", "Ways to clone from."
        )
    )
    run_timeout: _Duration = _setting(
        "1h", "a duration such as 30m or 1h", "Longest run on the embedded backend; a longer one ends as an error."
    )
    approval_timeout: _Duration = _setting(
        "10m",
        "a duration such as 10m or 1h",
        "How long a question within a run of the embedded backend waits for an answer before it is denied.",
    )
    idle_timeout: Annotated[_Duration | None, _Off] = _setting(
        "off",
        "a duration such as 30m or 12h, or off",
        "How long a session of the embedded backend may have nothing to do before it is stopped.",
    )
    max_running_sessions: Annotated[Annotated[int, Field(ge=1, le=1_000_000)] | None, _Off] = _setting(
        "off",
        "a whole number from 1 to 1000000, or off",
        "Sessions of the embedded backend that run at once; others wait as `pending`.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _Lower] = _setting(
        "info", "debug, info, warning or error", "Least severe log lines that are written."
    )
    otel_enabled: bool = _setting(
        "false", "true or false", "Send a trace of every request to an OpenTelemetry collector."
    )
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(_base_url)] = _setting(
        "http://localhost:4318", "http://<host> or https://<host>", "The collector, OTLP over HTTP."
    )

    @property
    def database(self) -> Path | None:
        """The SQLite file of the embedded backend; None where sessions live on a platform."""
        path = self.backend_url.removeprefix("sqlite:///")
        return None if path == self.backend_url else Path(path)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of `environ` (default: this process's); an empty variable counts as unset. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    given = {field: text for field in Settings.model_fields if (text := environ.get(field.upper()))}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        wrong = str(error.errors()[0]["loc"][0]).upper()
        form = next(setting.form for setting in reference() if setting.name == wrong)
    raise SettingsError(f"{wrong} must be {form}")


def reference() -> Iterator[SettingReference]:
    """Name, default, accepted form and meaning of every setting, in the order of the manual."""
    for field, info in Settings.model_fields.items():
        extra = info.json_schema_extra
        form = str(extra["form"]) if isinstance(extra, dict) else ""
        yield SettingReference(field.upper(), str(info.default), form, info.description or "")
