"""Every setting: read from the environment at the start, validated, and described for the manual.

A default is written as an operator would write it and validated in the same way. The README's table and the help of
`serve` are made from the descriptions here.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from app.agent_definition import (
    AgentDefinition,
    Sandbox,
    Service,
)
from app.setting_types import (
    POSTGRESQL,
    SQLITE,
    Agent,
    AgentFileRule,
    Agents,
    AgentsFile,
    AuditTarget,
    Automatic,
    BackendUrl,
    BaseUrl,
    Bytes,
    CommaSeparated,
    Directory,
    Duration,
    FileBesideData,
    GitProtocol,
    Home,
    Host,
    LocalRoots,
    Lower,
    NetworkRule,
    NetworkText,
    NoServices,
    Off,
    Origin,
    Port,
    SecretKey,
    Sessions,
    SettingsError,
    VariableName,
)


class SettingReference(NamedTuple):
    """One setting as the manual describes it."""

    name: str
    default: str
    form: str
    description: str


def _setting(default: str, form: str, description: str, **constraints: Any) -> Any:
    return Field(
        default, validate_default=True, description=description, json_schema_extra={"form": form}, **constraints
    )


def _whole_number(default: str, description: str, *, low: int, high: int) -> Any:
    return _setting(default, f"a whole number from {low} to {high}", description, ge=low, le=high)


def _bytes(default: str, description: str) -> Any:
    return _setting(default, "a number of bytes, or off", description)


class Settings(BaseModel):
    """The settings of one server. The variable of a field is its name in capitals; durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)

    host: Host = _setting(
        "127.0.0.1", "a host name or an IP address", "Address to listen on; `0.0.0.0` or `::` for all addresses."
    )
    port: int = _whole_number("8081", "Port to listen on; 0 picks a free one.", low=0, high=65535)
    data_dir: Directory = _setting(
        "data",
        "a directory",
        "Directory for the database and workspaces; before a platform, for the idempotency database."
        " The installed command `ambient-api` uses the user's data directory by default.",
    )
    backend_url: BackendUrl = _setting(
        "sqlite:///$DATA_DIR/ambient.db",
        "sqlite:///<file>, postgresql://<user>:<password>@<host>/<database>, or http://<host> or https://<host> without"
        " credentials",
        "Where sessions live: in a SQLite file or a PostgreSQL database (embedded backend), or on an Ambient Code"
        " Platform.",
    )
    backend_timeout: Duration = _setting(
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
    max_connections: int = _whole_number(
        "10000",
        "Connections at once; where the process may open fewer files, half of these.",
        low=1,
        high=1_000_000,
    )
    max_connections_per_address: int = _whole_number(
        "1000", "Connections at once of one client address, trusted proxies excepted.", low=1, high=1_000_000
    )
    max_streams_per_key: int = _whole_number(
        "100",
        "Event streams and long polls that one token may hold open at a server; at most half of `MAX_CONNECTIONS`.",
        low=1,
        high=1_000_000,
    )
    key_rate_limit_rps: int = _whole_number(
        "1000", "Requests per second that one access key may send, from all addresses.", low=1, high=1_000_000
    )
    key_rate_limit_burst: int = _whole_number(
        "2000", "Requests that one access key may send at once, from all addresses.", low=1, high=1_000_000
    )
    key_lifetime: Annotated[Duration | None, Off] = _setting(
        "off",
        "a duration such as 30d, or off",
        "How long a new access key is valid if `--expires` does not say (embedded backend).",
    )
    cors_allowed_origins: Annotated[tuple[Origin, ...], CommaSeparated] = _setting(
        "http://localhost:3000,http://localhost:8080",
        "origins separated by commas, such as https://app.example.com or https://*.example.com",
        "Origins of web pages whose scripts may call the API; `*` matches any part of a host name.",
    )
    trusted_proxies: Annotated[tuple[NetworkRule, ...], CommaSeparated] = _setting(
        "",
        "IP addresses and networks separated by commas, such as 10.0.0.0/8",
        "Proxies whose `X-Forwarded-For` header is trusted to name the client's address.",
    )
    max_body_bytes: int = _whole_number("1048576", "Largest request body in bytes.", low=1, high=2**30)
    max_file_bytes: int = _whole_number(
        "104857600",
        "Largest file in bytes that may be written into a workspace, and whose changes are in its patch.",
        low=1,
        high=2**40,
    )
    max_attachment_bytes: int = _whole_number(
        "10485760",
        "Most bytes of attached files that an agent gets with one turn; an ACP agent gets a larger file as a link.",
        low=0,
        high=2**30,
    )
    local_roots: LocalRoots = _setting(
        "",
        "projects with absolute paths, such as demo=/home/me/src, separated by commas",
        "Directories of this machine below which sessions of a project may work, in place or in git worktrees.",
    )
    agents_file: AgentsFile = _setting(
        "",
        "a TOML file",
        "File that defines agents of the embedded backend, for command lines and limits that `AGENTS` cannot hold.",
    )
    agents: Agents = _setting(
        "",
        "names of agents separated by commas, such as claude,codex or tests=acp:<command line>",
        "Agents of the embedded backend that sessions can choose: known by name, defined in `AGENTS_FILE`, or a name"
        " with an address as `AGENT` takes it.",
    )
    agent: Agent = _setting(
        "demo",
        "the name of an agent such as claude, demo, agui+http://<host>/<path>, agui+https://<host>/<path> or"
        " acp:<command line>",
        "Default agent of the embedded backend: one known by name or named in `AGENTS`, the built-in demo, one that"
        " speaks AG-UI over HTTP, or an ACP command.",
    )
    agent_env: Annotated[tuple[VariableName, ...], CommaSeparated] = _setting(
        "",
        "names of environment variables separated by commas",
        "Environment variables of the server that the default agent gets too, such as its model's API key.",
    )
    agent_services: Annotated[tuple[Service, ...], CommaSeparated, NoServices] = _setting(
        "fs,terminal",
        "fs, terminal, both separated by commas, or off",
        "Services that ACP agents are offered: the files of the workspace (`fs`) and commands (`terminal`). Switch them"
        " `off` for an agent that you confine yourself.",
    )
    agent_sandbox: Sandbox = _setting(
        "auto",
        "auto, bwrap or off",
        "What confines ACP agents, their commands and git: bubblewrap where it runs (`auto`), bubblewrap or no start"
        " (`bwrap`), or nothing (`off`).",
    )
    agent_files: Annotated[tuple[AgentFileRule, ...], CommaSeparated] = _setting(
        "",
        "paths separated by commas, such as ~/.codex:rw,/srv/models",
        "Paths of the machine that the default agent may read in the sandbox, and write with `:rw`.",
    )
    agent_memory_bytes: int = _whole_number(
        "8589934592", "Memory of an agent, its commands and `/tmp` together, in the sandbox.", low=2**26, high=2**50
    )
    agent_processes: int = _whole_number(
        "4096", "Processes and threads of an agent and its commands together, in the sandbox.", low=16, high=2**22
    )
    agent_network: Literal["host", "none"] = _setting(
        "host", "host or none", "Network of the default agent in the sandbox: the machine's or none."
    )
    git_protocols: Annotated[tuple[GitProtocol, ...], CommaSeparated] = _setting(
        "https,ssh",
        "one or more of https, ssh, http, git and file, separated by commas",
        "Protocols by which repositories may be cloned.",
    )
    git_hosts: Annotated[tuple[Host | NetworkText, ...], CommaSeparated] = _setting(
        "",
        "host names, IP addresses and networks separated by commas, such as git.example.internal,10.0.0.0/8",
        "Hosts that repositories may be cloned from although their addresses are not public: loopback, private, or"
        " link-local.",
    )
    git_ssh_key_file: Annotated[Home | None, Off] = _setting(
        "off",
        "a file, or off",
        "The one key with which git signs in by SSH: a private key, or the public key of one that the SSH agent holds.",
    )
    git_known_hosts_file: Home = _setting(
        "~/.ssh/known_hosts", "a file", "The keys of SSH servers; git clones from no other ones."
    )
    run_timeout: Duration = _setting(
        "1h", "a duration such as 30m or 1h", "Longest run on the embedded backend; a longer one ends with an error."
    )
    agent_start_timeout: Duration = _setting(
        "3m",
        "a duration such as 10m or 1h",
        "How long an ACP agent may take to start and to sign in; one that `npx` has yet to download takes long.",
    )
    approval_timeout: Duration = _setting(
        "10m",
        "a duration such as 10m or 1h",
        "How long an approval requested within a run waits for a decision before it is denied (embedded backend).",
    )
    idle_timeout: Annotated[Duration | None, Off] = _setting(
        "off",
        "a duration such as 30m or 12h, or off",
        "How long a session may be idle before it is stopped; its own limit may be shorter (embedded backend).",
    )
    max_running_sessions: Annotated[Sessions | None, Off] = _setting(
        "off",
        "a whole number from 1 to 1000000, or off",
        "Sessions that run at once; others wait as `pending` (embedded backend).",
    )
    max_sessions_per_project: Annotated[Sessions | None, Off] = _setting(
        "10000",
        "a whole number from 1 to 1000000, or off",
        "Sessions of a project that have not ended (embedded backend).",
    )
    max_run_bytes: Annotated[Bytes | None, Off] = _bytes(
        "268435456", "Largest log of one run; a longer run ends with the error `run_too_large` (embedded backend)."
    )
    max_session_bytes: Annotated[Bytes | None, Off] = _bytes(
        "1073741824", "What a session may store: its runs' inputs and logs (embedded backend)."
    )
    max_project_bytes: Annotated[Bytes | None, Off] = _bytes(
        "10737418240", "What the sessions of a project may store together (embedded backend)."
    )
    max_workspace_bytes: Annotated[Bytes | None, Off] = _bytes(
        "34359738368", "What the workspace and the home of a session may take on the disk (embedded backend)."
    )
    max_project_workspace_bytes: Annotated[Bytes | None, Off] = _bytes(
        "274877906944", "What the workspaces and homes of a project may take together (embedded backend)."
    )
    worker_sessions: Sessions = _setting(
        "100",
        "a whole number from 1 to 1000000",
        "Sessions that one worker works on at once, be it `ambient-api worker` or a server with PostgreSQL.",
    )
    worker_host: Annotated[Host | None, Automatic] = _setting(
        "auto",
        "a host name or an IP address, or auto",
        "Address by which API servers reach a worker, for the workspaces on its disk; `auto` is the one from which it"
        " connects to the database.",
    )
    worker_port: int = _whole_number("0", "Port of a worker at that address; 0 picks a free one.", low=0, high=65535)
    worker_health_port: Annotated[Port | None, Off] = _setting(
        "off",
        "a whole number from 1 to 65535, or off",
        "Port at `HOST` on which `ambient-api worker` responds to `/health`, `/ready` and `/metrics`.",
    )
    worker_lost: Duration = _setting(
        "10m",
        "a duration such as 10m or 1h",
        "How long a worker may be away before the sessions with workspaces on its disk fail.",
    )
    worker_drain: Annotated[Duration | None, Off] = _setting(
        "off",
        "a duration such as 30s or 10m, or off",
        "How long a worker that is stopped waits for its active runs; what runs longer, or without this, ends with"
        " `server_restarted`.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = _setting(
        "info", "debug, info, warning or error", "Least severe log lines to write."
    )
    secrets_key: Annotated[tuple[SecretKey, ...], CommaSeparated] = _setting(
        "",
        "keys separated by commas, each of 32 bytes in base64, such as of `openssl rand -base64 32`",
        "Keys that encrypt the secrets of sessions at rest: the first encrypts, the others only decrypt. Required with"
        " PostgreSQL (embedded backend).",
    )
    secrets_key_file: FileBesideData = _setting(
        "$DATA_DIR.key",
        "a file",
        "File with the key if `SECRETS_KEY` is not set; it is made if there is none (embedded backend).",
    )
    audit_log: AuditTarget = _setting(
        "$DATA_DIR/audit.log",
        "a file, stderr, or off",
        "Where changes and refusals are noted, with who, what and from where, one JSON line for each.",
    )
    audit_addresses: bool = _setting("true", "true or false", "Whether the audit log has the addresses of clients.")
    otel_enabled: bool = _setting(
        "false",
        "true or false",
        "Send a trace of every request to an OpenTelemetry collector; needs the extra `otel`.",
    )
    otel_exporter_otlp_endpoint: BaseUrl = _setting(
        "http://localhost:4318", "http://<host> or https://<host>", "URL of the collector (OTLP over HTTP)."
    )

    @property
    def store(self) -> str | None:
        """The URL of the embedded backend's store; None before a platform."""
        return self.backend_url if self.backend_url.startswith((SQLITE, POSTGRESQL)) else None

    @property
    def agent_definitions(self) -> dict[str, AgentDefinition]:
        """All agents by name, the default one first, with what the settings say about those that do not say it."""
        default = msgspec.structs.replace(
            self.agent,
            env=(*self.agent.env, *self.agent_env),
            files=(*self.agent.files, *self.agent_files),
            network="none" if self.agent_network == "none" else self.agent.network,
        )
        agents = {default.name: default}
        for agent in (*self.agents.values(), *self.agents_file.values()):
            agents.setdefault(agent.name, agent)
        return {
            name: msgspec.structs.replace(agent, services=agent.offered_services(self.agent_services))
            for name, agent in agents.items()
        }


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
