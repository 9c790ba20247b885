"""The settings: defaults, accepted forms, and one line for what is wrong."""

import ipaddress
from pathlib import Path
from typing import Any

import pytest

from app import settings
from app.agent_definition import DEMO, AgentDefinition
from app.setting_types import SettingsError, parse_duration


def test_every_setting_has_its_documented_default_when_nothing_is_set() -> None:
    loaded = settings.load({})

    assert (loaded.host, loaded.port, loaded.agent) == ("127.0.0.1", 8081, DEMO)
    assert loaded.data_dir == Path("data").absolute()
    assert loaded.backend_url == f"sqlite:///{Path('data/ambient.db').absolute()}"
    assert (loaded.backend_timeout, loaded.run_timeout) == (30, 3600)
    assert (loaded.idle_timeout, loaded.max_running_sessions) == (None, None)
    assert (loaded.rate_limit_rps, loaded.rate_limit_burst, loaded.max_body_bytes) == (100, 200, 1_048_576)
    assert loaded.cors_allowed_origins == ("http://localhost:3000", "http://localhost:8080")
    assert (loaded.trusted_proxies, loaded.git_protocols) == ((), ("https", "ssh"))
    assert (loaded.log_level, loaded.otel_enabled) == ("info", False)


def test_an_empty_variable_counts_as_unset() -> None:
    assert settings.load({"PORT": "", "BACKEND_URL": "", "TRUSTED_PROXIES": ""}) == settings.load({})


def test_a_setting_cannot_be_changed_after_the_start() -> None:
    loaded = settings.load({})

    with pytest.raises(ValueError, match="frozen"):
        loaded.port = 1


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "0", 0),
        ("HOST", "::1", "::1"),
        ("BACKEND_URL", "http://backend:8080/", "http://backend:8080"),
        ("BACKEND_URL", "https://backend.example.com/prefix", "https://backend.example.com/prefix"),
        ("BACKEND_URL", "sqlite:////var/lib/a.db", "sqlite:////var/lib/a.db"),
        ("BACKEND_TIMEOUT", "1m30s", 90.0),
        ("TRUSTED_PROXIES", "10.0.0.1/8, ::1", (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))),
        ("CORS_ALLOWED_ORIGINS", "https://*.Example.com/,", ("https://*.example.com",)),
        (
            "AGENT",
            "agui+http://127.0.0.1:9000/agent?x=1",
            AgentDefinition(name="default", kind="agui", url="http://127.0.0.1:9000/agent?x=1"),
        ),
        (
            "AGENT",
            "agui+https://agents.example.com",
            AgentDefinition(name="default", kind="agui", url="https://agents.example.com"),
        ),
        (
            "AGENT",
            "agui+http://[::1]:9000/run",
            AgentDefinition(name="default", kind="agui", url="http://[::1]:9000/run"),
        ),
        ("AGENT", "acp:'my agent' --acp", AgentDefinition(name="default", kind="acp", command=("my agent", "--acp"))),
        ("GIT_PROTOCOLS", "https", ("https",)),
        ("GIT_HOSTS", "git.internal, 10.0.0.0/8, fd00::/8", ("git.internal", "10.0.0.0/8", "fd00::/8")),
        ("GIT_SSH_KEY_FILE", "off", None),
        ("GIT_SSH_KEY_FILE", "~/id", Path("~/id").expanduser()),
        ("LOG_LEVEL", "WARNING", "warning"),
        ("OTEL_ENABLED", "true", True),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/", "http://collector:4318"),
    ],
)
def test_an_accepted_form_is_read(name: str, text: str, value: object) -> None:
    assert getattr(settings.load({name: text}), name.lower()) == value


def test_a_relative_sqlite_path_starts_where_the_server_starts() -> None:
    assert settings.load({"BACKEND_URL": "sqlite:///my.db"}).store == f"sqlite:///{Path('my.db').absolute()}"


def test_the_database_lies_in_the_data_directory_when_only_that_is_set(tmp_path: Path) -> None:
    assert settings.load({"DATA_DIR": str(tmp_path)}).store == f"sqlite:///{tmp_path}/ambient.db"


def test_there_is_no_database_when_a_platform_is_the_backend() -> None:
    assert settings.load({"BACKEND_URL": "http://backend"}).store is None


WRONG = [
    ("PORT", "65536"),
    ("PORT", "http"),
    ("HOST", "a host"),
    ("BACKEND_URL", "postgresql://user:secret@host"),
    ("BACKEND_URL", "postgresql://user:secret@host:port/db"),
    ("BACKEND_URL", "http://user:secret@host"),
    ("BACKEND_URL", "http://host?secret=1"),
    ("BACKEND_URL", "http://"),
    ("BACKEND_URL", "http://host:99999"),
    ("BACKEND_URL", "sqlite://secret"),
    ("BACKEND_URL", "sqlite:///"),
    ("BACKEND_URL", "sqlite:///:memory:"),
    ("BACKEND_URL", "ftp://secret"),
    ("BACKEND_TIMEOUT", "0s"),
    ("BACKEND_TIMEOUT", "30"),
    ("RUN_TIMEOUT", "-1h"),
    ("RUN_TIMEOUT", "1y"),
    ("APPROVAL_TIMEOUT", "0s"),
    ("IDLE_TIMEOUT", "0s"),
    ("IDLE_TIMEOUT", "never"),
    ("MAX_RUNNING_SESSIONS", "0"),
    ("MAX_RUNNING_SESSIONS", "many"),
    ("RATE_LIMIT_RPS", "0"),
    ("RATE_LIMIT_BURST", "many"),
    ("MAX_BODY_BYTES", "1MiB"),
    ("LOG_CACHE_BYTES", "off"),
    ("LOG_CACHE_BYTES", "-1"),
    ("CORS_ALLOWED_ORIGINS", "*"),
    ("CORS_ALLOWED_ORIGINS", "https://*"),
    ("CORS_ALLOWED_ORIGINS", "https://example.com/path"),
    ("CORS_ALLOWED_ORIGINS", "example.com"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("TRUSTED_PROXIES", "proxy.example.com"),
    ("AGENT", "secret"),
    ("AGENT", "Demo"),
    ("AGENT", "demo "),
    ("AGENT", "http://agent:9000/"),
    ("AGENT", "agui+agui+http://agent/"),
    ("AGENT", "agui+ftp://host"),
    ("AGENT", "agui+http:///path"),
    ("AGENT", "agui+http://:9000/path"),
    ("AGENT", "agui+http://agent:port/path"),
    ("AGENT", "agui+http://agent:70000/path"),
    ("AGENT", "agui+http://agent:0/path"),
    ("AGENT", "agui+http://agent/a b"),
    ("AGENT", "agui+http://agent/\n"),
    ("AGENT", "agui+http://agent/#part"),
    ("AGENT", "agui+http://agent/#"),
    ("AGENT", "agui+http://agent\\@other/"),
    ("AGENT", "agui+http://agent\\other/"),
    ("AGENT", "agui+http://user:secret@agent/"),
    ("AGENT", "agui+http://secret@agent/"),
    ("AGENT", "agui+http://[::1/"),
    ("AGENT", "acp:"),
    ("AGENT", "acp:'secret"),
    ("AGENTS", "secret"),
    ("AGENTS", "Secret=demo"),
    ("AGENTS", "secret=nothing"),
    ("AGENTS", "=demo"),
    ("AGENTS", "default=demo"),
    ("AGENTS", "claude,claude"),
    ("GIT_PROTOCOLS", "ext"),
    ("GIT_HOSTS", "https://git.internal"),
    ("GIT_HOSTS", "10.0.0.0/33"),
    ("LOG_LEVEL", "loud"),
    ("OTEL_ENABLED", "perhaps"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
]


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_value_stops_the_start_with_one_line_that_names_the_variable(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings.load({name: text})

    form = {setting.name: setting.form for setting in settings.reference()}[name]
    assert str(raised.value) == f"{name} must be {form}"
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_the_first_of_several_wrong_values_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^PORT must be"):
        settings.load({"RUN_TIMEOUT": "soon", "PORT": "none"})


def test_every_setting_is_documented_once() -> None:
    documented = list(settings.reference())

    assert [setting.name.lower() for setting in documented] == list(settings.Settings.model_fields)
    assert all(setting.form and setting.description.endswith(".") for setting in documented)


@pytest.mark.parametrize("setting", list(settings.reference()), ids=lambda setting: setting.name)
def test_a_documented_default_is_an_accepted_form(setting: settings.SettingReference) -> None:
    assert settings.load({setting.name: setting.default}) == settings.load({})


def test_agents_are_known_by_name_or_named_with_an_address() -> None:
    loaded = settings.load({"AGENTS": "codex, mine=acp:agent --acp,ui=agui+http://agent/", "AGENT": "mine"})

    assert list(loaded.agent_definitions) == ["mine", "codex", "ui"]
    assert loaded.agent_definitions["mine"].command == ("agent", "--acp")
    assert loaded.agent_definitions["codex"].command == ("codex-acp",)
    assert "OPENAI_API_KEY" in loaded.agent_definitions["codex"].env
    assert loaded.agent_definitions["ui"].url == "http://agent/"


def test_agent_env_is_for_the_default_agent_and_services_are_for_all_that_do_not_say() -> None:
    loaded = settings.load({"AGENT": "claude", "AGENTS": "codex", "AGENT_ENV": "MY_KEY", "AGENT_SERVICES": "fs"})

    claude, codex = loaded.agent_definitions.values()
    assert ("MY_KEY" in claude.env, "MY_KEY" in codex.env) == (True, False)
    assert (claude.services, codex.services) == (("fs",), ("fs",))


def test_an_agent_is_not_offered_a_service_that_it_cannot_use() -> None:
    assert settings.load({"AGENT": "gemini"}).agent_definitions["gemini"].services == ("terminal",)
    off = settings.load({"AGENT": "gemini", "AGENT_SERVICES": "off"})
    assert off.agent_definitions["gemini"].services == ()


def test_the_agents_of_the_file_can_be_chosen_and_be_the_default(tmp_path: Path) -> None:
    file = tmp_path / "agents.toml"
    file.write_text('[mine]\ncommand = "agent --acp"\nservices = []\n')
    loaded = settings.load({"AGENTS_FILE": str(file), "AGENT": "mine"})

    assert loaded.agent_definitions == {
        "mine": AgentDefinition(name="mine", kind="acp", command=("agent", "--acp"), services=())
    }


def test_a_wrong_file_of_agents_stops_the_start_with_a_line_that_names_the_member(tmp_path: Path) -> None:
    file = tmp_path / "agents.toml"
    file.write_text('[mine]\ncommand = "agent"\nsandbox = "secret"\n')

    with pytest.raises(SettingsError, match=r"^AGENTS_FILE: mine: sandbox must be auto or bwrap or off$"):
        settings.load({"AGENTS_FILE": str(file)})
    with pytest.raises(SettingsError, match=r"^AGENTS_FILE cannot be read: No such file or directory$"):
        settings.load({"AGENTS_FILE": str(tmp_path / "missing")})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("300ms", 0.3),
        ("2d", 172_800),
        ("1d12h", 129_600),
        (7, 7),
    ],
)
def test_a_go_duration_is_read_as_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0s",
        "-1s",
        "+1s",
        "1",
        "1w",
        "1mm",
        "1y",
        "1s 2s",
        "1s,2s",
        "s",
        "1.2.3s",
        "1S",
        "1s\n",
        "9" * 30 + "d",
        None,
        0,
    ],
)
def test_what_is_no_positive_go_duration_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_duration(text)
