"""Run all benchmarks or those that are named: `python -m tests.bench [small …]`."""

import importlib
import resource
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.machine import cores, facts, pinned
from tests.bench.report import Report
from tests.support.store import remove_postgresql_server

GROUPS = ("small", "operations", "large", "mixed", "deletion", "workspaces", "streams", "pages", "start", "cluster")
ON_REQUEST = ("layers",)
DIRECTORY = Path("build")


def main(*names: str) -> None:
    """Print each row as soon as it is measured, and write all of them to build/bench.md and build/bench.json."""
    if unknown := set(names).difference(GROUPS, ON_REQUEST):
        known = ", ".join((*GROUPS, *ON_REQUEST))
        sys.exit(f"no benchmarks called {', '.join(sorted(unknown))}; there are: {known}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by the servers
    report = Report({"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), **facts()})
    failed = []
    with pinned(cores().other):
        for name in names or GROUPS:
            group = importlib.import_module(f"tests.bench.{name}")
            try:
                report.add(group.TITLE, group.COLUMNS, group.rows())
            except Exception:
                traceback.print_exc()
                failed.append(name)
    remove_postgresql_server()
    report.write(DIRECTORY)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
