"""The conformance kit passes right servers and finds the faults of others."""

from collections.abc import Iterator
from pathlib import Path

import junitparser
import pytest
from typer.testing import CliRunner

from app.cli.main import main
from app.conform.caller import Caller
from app.conform.report import Outcome, Result
from app.conform.rules import RULES, check_all
from app.conform.subject import Messages, Subject
from app.factory import create_app
from app.models.caller import Role
from app.settings import Settings
from app.store.keys import AccessKeys
from tests.conform.faults import ANYBODY, FAULTS, Fault, Faulty
from tests.support.server import Background, run_command, serving
from tests.support.stage import EmbeddedStage, PlatformStage
from tests.support.store import store_url

pytestmark = pytest.mark.slow

BROKEN = {Outcome.FAILED, Outcome.ERROR}
DEMO = Messages()
NEED_AN_AGENT = {"live", "interruption", "busy", "removal", "approvals"}


def results_of(url: str, *, key: str, project: str = "", messages: Messages = DEMO) -> dict[str, Result]:
    with Caller(url, key=key, project=project) as caller:
        return {result.name: result for result in check_all(Subject(caller, messages))}


def broken(results: dict[str, Result]) -> dict[str, str]:
    return {name: result.detail for name, result in results.items() if result.outcome in BROKEN}


def test_the_embedded_backend_keeps_every_rule(embedded: EmbeddedStage) -> None:
    results = results_of(embedded.url, key=embedded.token("conform", Role.ADMIN))
    assert {result.outcome for result in results.values()} == {Outcome.PASSED}, broken(results)
    assert len(results) == len(RULES)


def test_made_up_requests_get_responses_that_fit(embedded: EmbeddedStage, tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    options = ["--key", embedded.token("fuzz", Role.ADMIN), "--url", embedded.url, "--fuzz", "1", "--seed", "1"]
    ended = run_command(tmp_path, "conform", *options, "--junit", str(report))
    assert ended.returncode == 0, ended.stdout
    assert f"{len(RULES)} of {len(RULES)} rules hold" in ended.stdout
    xml = junitparser.JUnitXml.fromfile(str(report))
    assert (xml.failures, xml.errors) == (0, 0)
    assert xml.tests > len(RULES)


def test_the_platform_keeps_every_rule_that_its_agent_can_show(ambient: PlatformStage) -> None:
    key = ambient.token("conform", Role.ADMIN)
    ambient.platform.tokens[key] = ("conform", "admin")  # no other token may do anything
    ambient.platform.auto = True
    try:
        results = results_of(ambient.url, key=key, project="conform", messages=Messages("hi", slow="", asking=""))
    finally:
        ambient.platform.auto = False
    assert broken(results) == {}
    skipped = {name for name, result in results.items() if result.outcome is Outcome.SKIPPED}
    assert skipped == NEED_AN_AGENT | {"label_removal", "conditional"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    directory = tmp_path_factory.mktemp("conform")
    store = store_url(directory / "ambient.db")
    return Settings(data_dir=directory, backend_url=store, rate_limit_rps=1_000_000, rate_limit_burst=1_000_000)


def key_of(settings: Settings) -> str:
    with AccessKeys.open(settings.backend_url) as keys:
        return keys.create(project="demo", role=Role.ADMIN)[1]


@pytest.fixture
def faulty(fault: Fault, settings: Settings, loop: Background) -> Iterator[str]:
    with serving(Faulty(create_app(settings), fault), loop) as url:
        ANYBODY["key"] = key_of(settings)
        yield url


@pytest.mark.xdist_group("conform")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found(fault: Fault, faulty: str) -> None:
    with Caller(faulty, key=ANYBODY["key"]) as caller:
        found = next(result for result in check_all(Subject(caller)) if result.name == fault.rule)
    assert found.outcome in BROKEN


def test_a_server_with_a_fault_ends_the_command_with_status_1(settings: Settings, loop: Background) -> None:
    fault = next(fault for fault in FAULTS if fault.rule == "replay")
    with serving(Faulty(create_app(settings), fault), loop) as url:
        key = key_of(settings)
        ended = CliRunner().invoke(main, ["conform", "--url", url, "--key", key, "--fuzz", "0"])
    assert ended.exit_code == 1
    assert "failed  replay: " in ended.output
