"""Run the benchmarks and print one Markdown table: `python -m tests.bench`."""

from tests.bench import pages, streams
from tests.bench.measure import Row

HEAD = ("case", "requests", "calibration ms", "p50 ms", "p99 ms", "server's RSS MiB")


def line(row: Row) -> str:
    """A row of the table."""
    figures = (row.calibration_ms, row.p50_ms, row.p99_ms, row.rss_mib)
    shown = ("" if figure is None else f"{figure:.1f}" for figure in figures)
    return f"| {' | '.join((row.case, str(row.requests), *shown))} |"


def main() -> None:
    """Print each row as soon as it is measured."""
    print(f"| {' | '.join(HEAD)} |\n|---|{'--:|' * (len(HEAD) - 1)}", flush=True)  # noqa: T201 - the table
    for benchmark in (streams, pages):
        for row in benchmark.rows():
            print(line(row), flush=True)  # noqa: T201 - the table


if __name__ == "__main__":
    main()
