"""Results of the kit: lines for people, JUnit for CI."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite


class Outcome(StrEnum):
    """How the check of a rule ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """A rule and what became of it. `detail` says how it was broken or why it was not checked."""

    name: str
    rule: str
    outcome: Outcome
    seconds: float
    detail: str = ""

    def line(self) -> str:
        """Return the result for people."""
        detail = f"\n        {self.detail}" if self.detail else ""
        return f"{self.outcome.value:8}{self.name}: {self.rule}{detail}"


def junit(results: Iterable[Result], title: str) -> JUnitXml:
    """Return results as the suite of a JUnit report."""
    suite = TestSuite(title)
    for result in results:
        case = TestCase(result.name, classname=title, time=result.seconds)
        case.system_out = result.rule
        if result.outcome is Outcome.FAILED:
            case.result = [Failure(result.detail)]
        elif result.outcome is Outcome.ERROR:
            case.result = [Error(result.detail)]
        elif result.outcome is Outcome.SKIPPED:
            case.result = [Skipped(result.detail)]
        suite.add_testcase(case)
    report = JUnitXml()
    report.add_testsuite(suite)
    return report


def write(path: Path, *reports: JUnitXml) -> None:
    """Write JUnit reports into one file."""
    whole = JUnitXml()
    for report in reports:
        whole += report
    whole.update_statistics()  # type: ignore[no-untyped-call]
    whole.write(str(path), pretty=True)
