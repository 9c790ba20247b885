"""What is measured: rows of figures, and targets that were met or not."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    """The figures of one subject in one case, by the name of the column; one that was not measured is left out."""

    case: str
    subject: str
    figures: Mapping[str, float]


class Target(NamedTuple):
    """A figure that was asked for: at least so much, or at most."""

    case: str
    asked: str
    reached: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return (self.at_least is None or self.reached >= self.at_least) and (
            self.at_most is None or self.reached <= self.at_most
        )


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each column over the rounds that have it."""
    names = dict.fromkeys(name for each in rounds for name in each)
    return {name: median(each[name] for each in rounds if name in each) for name in names}
