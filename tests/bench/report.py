"""Report results as Markdown and JSON: on standard output as they are measured, and in files at the end."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.bench.result import Row, Target

TARGETS = ("case", "figure", "target", "measured", "met")


class Report:
    """A report that is printed line by line and written to files at the end."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._lines: list[str] = []
        self._targets: list[Target] = []
        self._groups: dict[str, list[dict[str, object]]] = {}
        self._facts = dict(facts)
        for name, fact in facts.items():
            self._print(f"* {name}: {fact}")

    def add(self, title: str, columns: Sequence[str], found: Iterable[Row | Target]) -> None:
        """Print a table with the rows of a group of benchmarks."""
        self._print("", f"### {title}", "", *_head(("case", "subject", *columns)))
        rows = self._groups.setdefault(title, [])
        for each in found:
            if isinstance(each, Target):
                self._targets.append(each)
            else:
                rows.append({"case": each.case, "subject": each.subject, **each.figures})
                figures = (number(each.figures[name]) if name in each.figures else "" for name in columns)
                self._print(_line((each.case, each.subject, *figures)))

    def write(self, directory: Path) -> None:
        """Print the targets, then write `bench.md` and `bench.json` to a directory."""
        if self._targets:
            self._print("", "### Targets", "", *_head(TARGETS), *map(_verdict, self._targets))
        content = {
            "machine": self._facts,
            "groups": self._groups,
            "targets": [target._asdict() | {"met": target.met} for target in self._targets],
        }
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "bench.md").write_text("\n".join((*self._lines, "")))
        (directory / "bench.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def _print(self, *lines: str) -> None:
        self._lines += lines
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def number(figure: float) -> str:
    """Return a figure with a sensible number of digits."""
    digits = next((digits for digits, bound in ((0, 100), (1, 10), (2, 0.1)) if abs(figure) >= bound), 3)
    return f"{figure:,.{digits}f}"


def _verdict(target: Target) -> str:
    bound = f"≥ {target.at_least:g}" if target.at_least is not None else f"≤ {target.at_most:g}"
    return _line((target.case, target.figure, bound, number(target.measured), "yes" if target.met else "**no**"))


def _head(names: Sequence[str]) -> tuple[str, str]:
    return _line(names), f"|{'---|' * 2}{'--:|' * (len(names) - 2)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
