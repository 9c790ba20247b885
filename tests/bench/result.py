"""Results: rows of figures, and targets that are met or not."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    """The figures of a subject in a case, by column; figures that were not measured are left out."""

    case: str
    subject: str
    figures: Mapping[str, float]


class Target(NamedTuple):
    """A target for a figure: a minimum or a maximum."""

    case: str
    figure: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return (self.at_least is None or self.measured >= self.at_least) and (
            self.at_most is None or self.measured <= self.at_most
        )


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each column over the rounds that have it."""
    names = dict.fromkeys(name for each in rounds for name in each)
    return {name: median(each[name] for each in rounds if name in each) for name in names}
