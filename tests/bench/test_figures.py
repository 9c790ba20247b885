"""The calculations of the benchmarks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import exports, gateway, machine
from tests.bench.layers import LOOP, shares
from tests.bench.report import Report, number
from tests.bench.result import Row, Target, medians
from tests.bench.walk import Walk

pytestmark = pytest.mark.slow


def test_the_gateways_rates_are_scaled_to_the_core() -> None:
    assert gateway.Rate(quiet=4000, busy=3000).scaled(168.0) == (2000, 3000 * 147.5 / 168)


def test_the_median_of_a_column_is_over_the_rounds_that_have_it() -> None:
    assert medians([{"a": 1, "b": 5}, {"a": 9}, {"a": 2, "b": 6}]) == {"a": 2, "b": 5.5}


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("c", "a", 1.2, at_least=1.2), True),
        (Target("c", "a", 1.1, at_least=1.2), False),
        (Target("c", "a", 15.0, at_most=15.0), True),
        (Target("c", "a", 15.1, at_most=15.0), False),
    ],
)
def test_a_target_is_met_at_its_limit(target: Target, met: bool) -> None:
    assert target.met is met


@pytest.mark.parametrize(
    ("figure", "shown"), [(12345.6, "12,346"), (99.94, "99.9"), (3.14159, "3.14"), (0.0123, "0.012"), (0.0, "0.000")]
)
def test_a_figure_is_shown_with_a_sensible_number_of_digits(figure: float, shown: str) -> None:
    assert number(figure) == shown


def test_a_report_contains_figures_and_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report({"cores": "1"})
    report.add("A group", ("x", "y"), [Row("case", "one", {"y": 2.0}), Target("case", "y", 2.0, at_least=3.0)])
    report.write(tmp_path / "build")
    text = (tmp_path / "build" / "bench.md").read_text()
    assert text == capsys.readouterr().out
    assert "| case | one |  | 2.00 |\n" in text
    assert "| case | y | ≥ 3 | 2.00 | **no** |\n" in text
    content = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert content["groups"] == {"A group": [{"case": "case", "subject": "one", "y": 2.0}]}
    assert content["targets"][0]["met"] is False


def test_a_generated_log_is_reproducible_has_about_the_requested_size_and_ends_each_run() -> None:
    first, second = list(exports.log(1)), list(exports.log(1))
    assert first == second
    assert 0.95e6 < sum(len(event) for _, event in first) < 1.05e6
    types = [json.loads(event)["type"] for _, event in first]
    assert types.count("RUN_STARTED") == types.count("MESSAGES_SNAPSHOT") == exports.RUNS
    assert types.count("RUN_FINISHED") + types.count("RUN_ERROR") == exports.RUNS
    assert {"TEXT_MESSAGE_CONTENT", "TOOL_CALL_ARGS", "TOOL_CALL_RESULT"} <= set(types)


def test_a_cumulative_snapshot_contains_the_messages_of_all_earlier_runs() -> None:
    events = [json.loads(event) for _, event in exports.log(0.3, cumulative=True, runs=3)]
    first, second, third = (event["messages"] for event in events if event["type"] == "MESSAGES_SNAPSHOT")
    assert second[: len(first)] == first
    assert third[: len(second)] == second
    assert len(first) < len(second) < len(third)


def test_a_sample_counts_for_the_innermost_file_of_the_project_or_library_or_else_for_the_loop() -> None:
    start = "<module> (app/__main__.py:9);run (uvicorn/server.py:75);run (asyncio/runners.py:118)"
    stacks = [
        f"{start} 5",
        f"{start};callback (uvicorn/protocols/http/httptools_impl.py:3) 2",
        f"{start};serve (app/server/middleware.py:7);join (posixpath.py:80);<genexpr> (<frozen posixpath>:1) 3",
        f"{start};serve (app/server/middleware.py:7);loads (msgspec/json.py:1) 1",
    ]
    assert shares("\n".join(stacks)) == {LOOP: 5, "uvicorn": 2, "app/server/middleware.py": 3, "msgspec": 1}


@pytest.mark.parametrize(
    ("available", "assigned"),
    [
        ({0, 1, 2, 3, 4}, (4, 3, 2, 1)),
        ({1, 5, 7}, (7, 5, 1, 1)),
        ({0, 1}, (1, 0, 0, 0)),
        ({2}, (2, 2, 2, 2)),
    ],
)
def test_each_part_has_its_own_core_if_there_are_enough(available: set[int], assigned: tuple[int, ...]) -> None:
    assert machine.assign(available) == assigned


def test_a_thread_is_unpinned_after_a_block() -> None:
    before = os.sched_getaffinity(0)
    with machine.pinned(machine.cores().server):
        assert os.sched_getaffinity(0) == {machine.cores().server}
    assert os.sched_getaffinity(0) == before


def test_the_time_and_the_memory_of_children_are_included() -> None:
    work = "b = bytearray(30_000_000)\nfor i in range(3_000_000): pass\nprint(flush=True)\ninput()"
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", parent, work], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        used, resident = machine.cpu_seconds(process.pid), machine.memory_mb(process.pid)
        own = machine.cpu_seconds(os.getpid())
        process.communicate(b"\n")
    assert used > 0.03
    assert resident > 40
    assert own > 0


def test_a_move_into_a_file_visited_before_is_a_return() -> None:
    walk = Walk([("a", "f"), ("a", "g"), ("b", "h"), ("a", "f"), ("c", "i"), ("c", "i"), ("b", "h")])
    assert walk.visits == {"a": 2, "b": 2, "c": 1}
    assert walk.figures == (3, 4, 7, 4, 2)
