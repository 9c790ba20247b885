"""Published figures of the platform's Go gateway, which is not run here.

Go 1.24, gin 1.11, GOMAXPROCS=1, on one core of a shared machine of four, in front of a canned platform in Go on a core
of its own; wrk with one thread, curl for exports. The calibration loop, the same as in `machine.calibration_ms`, took
84 ms on a quiet core and 140 to 155 ms on a busy one.
"""

from typing import NamedTuple

QUIET = 84.0
BUSY = 147.5
EXPORTS = 100.0  # 83 to 117
ONE_MESSAGE = 138.0  # 113 to 163


class Rate(NamedTuple):
    """Requests per second: the best pass, taken as one on a quiet core, and the median of ten on a busy core."""

    quiet: float
    busy: float

    def scaled(self, calibration_ms: float) -> tuple[float, float]:
        """Return both rates, scaled to a core on which the calibration loop takes that long."""
        return self.quiet * QUIET / calibration_ms, self.busy * BUSY / calibration_ms


class Read(NamedTuple):
    """A large response: the gateway's CPU time in ms, its peak memory in MB over five reads, and the calibration."""

    cpu_ms: float
    peak_mb: float
    calibration_ms: float = EXPORTS

    def seconds(self, calibration_ms: float) -> float:
        """Return its time on a core on which the calibration loop takes that long."""
        return self.cpu_ms / 1000 * calibration_ms / self.calibration_ms


RATES = {
    "GET session": Rate(4017, 3269),
    "GET session, 1 connection": Rate(2007, 1787),
    "list of 100": Rate(294, 238),
    "list of 100, all changed": Rate(294, 238),  # the gateway has no cache
    "POST message": Rate(2595, 2110),
}

READS = {
    ("1 MB", "events"): Read(70, 25),
    ("1 MB", "compact"): Read(70, 31),
    ("1 MB", "transcript"): Read(50, 22),
    ("1 MB", "runs"): Read(30, 23),
    ("10 MB", "events"): Read(380, 112),
    ("10 MB", "compact"): Read(340, 130),
    ("10 MB", "transcript"): Read(270, 80),
    ("10 MB", "runs"): Read(260, 80),
    ("100 MB", "events"): Read(3810, 875),
    ("100 MB", "compact"): Read(3910, 1241),
    ("100 MB", "transcript"): Read(2490, 463),
    ("100 MB", "runs"): Read(2770, 459),
    ("100 MB, cumulative snapshots", "events"): Read(3970, 757),
    ("100 MB, cumulative snapshots", "compact"): Read(3560, 900),
    ("100 MB, cumulative snapshots", "transcript"): Read(3450, 497),
    ("100 MB, cumulative snapshots", "runs"): Read(3020, 480),
    ("37,000 deltas", "events"): Read(610, 131, ONE_MESSAGE),
    ("37,000 deltas", "compact"): Read(12660, 650, ONE_MESSAGE),
}

DURING_READS = {0: 4.0, 1: 111.0}
"""The 99th percentile in ms of a small request, by the number of clients that read 100 MB of events in a loop."""

FOUR_AT_ONCE = Read(20_400, 2890)
"""Each of four clients that read 100 MB of events at the same time waited 19.5 to 21.3 s."""
