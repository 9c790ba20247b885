"""The Go gateway of the platform, as it was measured: published figures, not run here.

Go 1.24, gin 1.11, GOMAXPROCS=1, on one core of a shared machine of four, before a platform of canned bytes in Go on a
core of its own; wrk with one thread, curl for exports. How fast the core was is told by the time of the calibration
loop that `machine.calibration_ms` runs too: 84 ms on a quiet core, 140 to 155 on a busy one.
"""

from typing import NamedTuple

QUIET = 84.0
BUSY = 147.5
EXPORTS = 100.0  # 83 to 117
ONE_MESSAGE = 138.0  # 113 to 163


class Rate(NamedTuple):
    """Requests in a second: the best pass, taken for one on a quiet core, and the median of ten on a busy one."""

    quiet: float
    busy: float

    def scaled(self, calibration_ms: float) -> tuple[float, float]:
        """What both say for a core on which the loop takes so long; the second is the stricter where it is more."""
        return self.quiet * QUIET / calibration_ms, self.busy * BUSY / calibration_ms


RATES = {
    "GET session": Rate(4017, 3269),
    "GET session, 1 connection": Rate(2007, 1787),
    "list of 100": Rate(294, 238),
    "POST message": Rate(2595, 2110),
}
