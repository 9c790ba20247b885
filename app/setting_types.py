"""How the text of a setting is read. Each function raises ValueError for text that it does not accept."""

import base64
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import durationpy
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
)

from app.agent_definition import (
    AgentDefinition,
    AgentFile,
    parse_default,
    parse_file,
    parse_named,
    read_definitions,
)
from app.urls import require_http_url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SQLITE, POSTGRESQL = "sqlite:///", "postgresql://"
_GO_DURATION = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h|d))+")
_PROJECT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ORIGIN = re.compile(r"https?://(?:(?:[a-z0-9*_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


SECRET_KEY_BYTES = 32


class SettingsError(Exception):
    """One line that names the variable and the accepted form, but not the value, which may be a secret."""


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


def _agents_file(value: object) -> object:
    """Return the agents that a TOML file defines; a wrong one is a `SettingsError` that says what is wrong in it."""
    if not isinstance(value, str):
        return value
    try:
        return read_definitions(Path(value).read_text(encoding="utf-8")) if value else {}
    except OSError as error:
        raise SettingsError(f"AGENTS_FILE cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"AGENTS_FILE: {error}") from error


def _agents(value: object, info: ValidationInfo) -> object:
    entries = _split(value)
    if not isinstance(entries, tuple):
        return value
    found = [parse_named(str(entry), info.data.get("agents_file", {})) for entry in entries]
    agents = {agent.name: agent for agent in found}
    if len(agents) < len(found):
        raise ValueError("the same name twice")
    return agents


def _agent_file(value: object) -> object:
    return parse_file(value) if isinstance(value, str) else value


def _default_agent(value: object, info: ValidationInfo) -> object:
    defined = {**info.data.get("agents_file", {}), **info.data.get("agents", {})}
    return parse_default(value, defined) if isinstance(value, str) else value


def _base_url(value: str) -> str:
    if urlsplit(value).query:
        raise ValueError("not a base URL")
    return require_http_url(value).rstrip("/")


def _backend_url(value: str, info: ValidationInfo) -> str:
    value = value.replace("$DATA_DIR", str(info.data.get("data_dir", "")))
    if value.startswith(POSTGRESQL):
        return _postgresql_url(value)
    if not value.startswith("sqlite:"):
        return _base_url(value)
    path = value.removeprefix(SQLITE)
    if path in ("", value, ":memory:") or path.endswith("/") or "?" in path:
        raise ValueError("not a file")
    return f"{SQLITE}{Path(path).absolute()}"


def _postgresql_url(value: str) -> str:
    parts = urlsplit(value)
    if not parts.path.strip("/") or parts.fragment or (parts.port or 1) < 1:
        raise ValueError("not a database")
    return value


def _audit_target(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str) or value == "stderr":
        return value
    if value == "off":
        return None
    return Path(value.replace("$DATA_DIR", str(info.data.get("data_dir", "")))).absolute()


def _file_beside_data(value: object, info: ValidationInfo) -> object:
    return value.replace("$DATA_DIR", str(info.data.get("data_dir", ""))) if isinstance(value, str) else value


def _secret_key(value: str) -> str:
    """Return a key in URL-safe base64, whichever of the two alphabets it is written in."""
    key = value.replace("+", "-").replace("/", "_")
    if len(base64.urlsafe_b64decode(key)) != SECRET_KEY_BYTES:
        raise ValueError("not a key")
    return key


def _origin(value: str) -> str:
    origin = value.lower().rstrip("/")
    if not _ORIGIN.fullmatch(origin) or origin.endswith("*"):
        raise ValueError("not an origin")
    return origin


def _network(value: object) -> Network:
    return ipaddress.ip_network(str(value), strict=False)


def _split(value: object) -> object:
    return tuple(word for part in value.split(",") if (word := part.strip())) if isinstance(value, str) else value


def _in_home(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:  # a user without a home
        return path.absolute()


def _local_roots(value: object) -> object:
    if not isinstance(value, str):
        return value
    roots: dict[str, tuple[Path, ...]] = {}
    for entry in filter(None, map(str.strip, value.split(","))):
        project, _, path = entry.partition("=")
        if not _PROJECT.fullmatch(project) or not Path(path).expanduser().is_absolute():
            raise ValueError("no project with an absolute path")
        roots[project] = (*roots.get(project, ()), Path(path).expanduser())
    return roots


CommaSeparated = BeforeValidator(_split)
Off = BeforeValidator(lambda value: None if value == "off" else value)
Automatic = BeforeValidator(lambda value: None if value == "auto" else value)
NoServices = BeforeValidator(lambda value: () if value == "off" else value)
LocalRoots = Annotated[dict[str, tuple[Path, ...]], BeforeValidator(_local_roots)]
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
Agent = Annotated[AgentDefinition, BeforeValidator(_default_agent)]
AgentFileRule = Annotated[AgentFile, BeforeValidator(_agent_file)]
Agents = Annotated[dict[str, AgentDefinition], BeforeValidator(_agents)]
AgentsFile = Annotated[dict[str, AgentDefinition], BeforeValidator(_agents_file)]
AuditTarget = Annotated[Path | Literal["stderr"] | None, BeforeValidator(_audit_target)]
FileBesideData = Annotated[Path, BeforeValidator(_file_beside_data), AfterValidator(Path.absolute)]
SecretKey = Annotated[str, AfterValidator(_secret_key)]
BackendUrl = Annotated[str, AfterValidator(_backend_url)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Directory = Annotated[Path, AfterValidator(Path.absolute)]
Duration = Annotated[float, BeforeValidator(parse_duration)]
GitProtocol = Literal["https", "ssh", "http", "git", "file"]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]+$")]
Home = Annotated[Path, AfterValidator(_in_home)]
NetworkRule = Annotated[Network, BeforeValidator(_network)]
NetworkText = Annotated[str, AfterValidator(lambda text: str(_network(text)))]
Origin = Annotated[str, AfterValidator(_origin)]
Port = Annotated[int, Field(ge=1, le=65535)]
Sessions = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1, le=2**60)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
