"""The definition of an agent: its address or command line, and the parts of the server and of the home that it gets.

Definitions come from the settings `AGENT` and `AGENTS`, from the file that `AGENTS_FILE` names, and from the agents
that are known by name. Each function here raises ValueError for what it does not accept; its text names the member
and never repeats a value.
"""

import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from app.known_agents import KNOWN_AGENTS
from app.urls import require_http_url

Kind = Literal["demo", "agui", "acp"]
Sandbox = Literal["auto", "bwrap", "off"]
Network = Literal["host", "none"]
Service = Literal["fs", "terminal"]

DEFAULT_NAME = "default"
"""The name of an agent that AGENT gives by its address."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MEMBERS = frozenset({"command", "url", "env", "files", "sandbox", "network", "services"})


class AgentFile(NamedTuple):
    """A directory that an agent may read, and also write if it is `writable`."""

    path: Path
    writable: bool = False


class AgentDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One agent of the server.

    * `url` is the address of an AG-UI agent, `command` the command line of an ACP agent.
    * `env` names the server's variables that an ACP agent gets, `variables` are others, with their values.
    * `files` are the directories outside of its workspace that it may read or write.
    * `sandbox` says how it is confined, None: as the server's setting says.
    * `network` says whether it reaches other machines.
    * `services` are those that an ACP agent is offered, None: those of the server's setting. Of these, it is
      not offered the `unusable_services`.
    """

    name: str
    kind: Kind
    url: str = ""
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    files: tuple[AgentFile, ...] = ()
    sandbox: Sandbox | None = None
    network: Network = "host"
    services: tuple[Service, ...] | None = None
    unusable_services: tuple[Service, ...] = ()

    def offered_services(self, default: tuple[Service, ...]) -> tuple[Service, ...]:
        """Return the services that the agent is offered where those of the setting are `default`."""
        chosen = default if self.services is None else self.services
        return tuple(service for service in chosen if service not in self.unusable_services)


DEMO = AgentDefinition(name="demo", kind="demo")


def parse_address(name: str, address: str) -> AgentDefinition:
    """Return the agent with an address such as `demo`, `agui+http://host/path` or `acp:command line`."""
    kind, _, argument = address.partition(":")
    if address == "demo":
        return AgentDefinition(name=name, kind="demo")
    if kind == "acp" and (command := tuple(shlex.split(argument))):
        return AgentDefinition(name=name, kind="acp", command=command)
    if kind.startswith("agui+"):
        return AgentDefinition(name=name, kind="agui", url=require_http_url(address.removeprefix("agui+")))
    raise ValueError("no known agent")


def parse_default(text: str, defined: Mapping[str, AgentDefinition]) -> AgentDefinition:
    """Return the agent that AGENT gives: the name of one of `defined` or of a known one, or an address."""
    return defined.get(text) or find_known(text) or parse_address(DEFAULT_NAME, text)


def find_known(name: str) -> AgentDefinition | None:
    """Return the agent that is known by a name, None if there is none."""
    if name == DEMO.name:
        return DEMO
    if (known := KNOWN_AGENTS.get(name)) is None:
        return None
    return AgentDefinition(
        name=name,
        kind="acp",
        command=known.command,
        env=known.env,
        variables=known.variables,
        files=tuple(map(parse_file, known.files)),
        unusable_services=known.unusable_services,
    )


def parse_named(text: str, defined: Mapping[str, AgentDefinition]) -> AgentDefinition:
    """Return the agent that an entry of AGENTS names: `name`, one of `defined` or a known one, or `name=address`."""
    name, equals, address = text.partition("=")
    require_name(name)
    if equals:
        return parse_address(name, address)
    found = defined.get(name) or find_known(name)
    if found is None:
        raise ValueError("no known agent")
    return found


def require_name(name: str) -> str:
    """Return a name that an agent may be given."""
    if not _NAME.fullmatch(name):
        raise ValueError("an agent's name is 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends")
    if name == DEFAULT_NAME:
        raise ValueError("this name is that of an agent whose address AGENT gives")
    return name


def parse_file(text: str) -> AgentFile:
    """Return what `path` or `path:rw` grants; the path is absolute, or begins with `~/` for the home."""
    path, colon, mode = text.rpartition(":")
    if not colon:
        path, mode = text, "ro"
    if mode not in {"ro", "rw"} or not path.startswith(("/", "~/")):
        raise ValueError("files must be paths such as ~/.codex or /srv/models, with :rw after those to be written")
    return AgentFile(Path(path).expanduser(), writable=mode == "rw")


def read_definitions(text: str) -> dict[str, AgentDefinition]:
    """Return the agents of a TOML file by name: one table for each, whose members are those of the README."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from error
    return {name: _read_table(name, table) for name, table in tables.items()}


def _read_table(name: str, table: Any) -> AgentDefinition:
    try:
        require_name(name)
        if not isinstance(table, dict):
            raise ValueError("it must be a table")  # noqa: TRY004, TRY301 - one kind of error for all that is wrong
        if unknown := sorted(table.keys() - _MEMBERS):
            raise ValueError(f"{unknown[0]} is not known here")  # noqa: TRY301 - one message names the agent
        return _definition(name, table)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _definition(name: str, table: dict[str, Any]) -> AgentDefinition:
    known = find_known(name)
    if "url" in table and "command" in table:
        raise ValueError("it has either a url or a command")
    if "url" in table:
        base = AgentDefinition(name=name, kind="agui", url=_url(table["url"]))
    elif "command" in table:
        base = AgentDefinition(name=name, kind="acp", command=_command(table["command"]))
    elif known:
        base = known
    else:
        raise ValueError("it needs a command or a url")
    env, variables = _env(table) if "env" in table else (base.env, base.variables)
    return msgspec.structs.replace(
        base,
        env=env,
        variables=variables,
        files=tuple(map(parse_file, _texts(table, "files"))) if "files" in table else base.files,
        sandbox=_choice(table, "sandbox", Sandbox),
        network=_choice(table, "network", Network) or base.network,
        services=_services(table),
    )


def _url(value: Any) -> str:
    try:
        return require_http_url(value)
    except (TypeError, ValueError, AttributeError):
        raise ValueError("url must be http://<host>/<path> or https://<host>/<path>") from None


def _command(value: Any) -> tuple[str, ...]:
    words: list[Any] = []
    if isinstance(value, str):
        try:
            words = [*shlex.split(value)]
        except ValueError:
            words = []
    elif isinstance(value, list):
        words = value
    if not words or not all(isinstance(word, str) and word for word in words):
        raise ValueError("command must be a command line, or an array of its words")
    return tuple(words)


def _texts(table: dict[str, Any], member: str) -> list[str]:
    texts = table.get(member, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{member} must be an array of strings")
    return texts


def _env(table: dict[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the names of the server's variables, and the variables that are given with their values."""
    entries = [text.partition("=") for text in _texts(table, "env")]
    if not all(_VARIABLE.fullmatch(name) for name, _, _ in entries):
        raise ValueError("env must be names of variables, or assignments such as NAME=value")
    names = tuple(name for name, equals, _ in entries if not equals)
    return names, tuple((name, value) for name, equals, value in entries if equals)


def _choice(table: dict[str, Any], member: str, choices: Any) -> Any:
    if member not in table:
        return None
    if table[member] not in (accepted := get_args(choices)):
        raise ValueError(f"{member} must be {' or '.join(accepted)}")
    return table[member]


def _services(table: dict[str, Any]) -> tuple[Service, ...] | None:
    if "services" not in table:
        return None
    services = _texts(table, "services")
    if not set(services) <= set(get_args(Service)):
        raise ValueError("services must be some of fs and terminal")
    return tuple(services)  # type: ignore[arg-type]  # they are, as was just found out
