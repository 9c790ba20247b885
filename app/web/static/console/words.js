// Numbers, sizes, times and states as the console writes them.

const numbers = new Intl.NumberFormat("en");
const ago = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3_600], ["minute", 60]];

const STATES = {
  waiting: "Needs you",
  working: "Working",
  idle: "Idle",
  "run-failed": "Run failed",
  pending: "Starting",
  running: "Running",
  stopping: "Stopping",
  stopped: "Stopped",
  completed: "Completed",
  failed: "Failed",
};

export const count = (number) => numbers.format(number);

/** Return a number with its noun, such as "1 file" and "2 files". */
export const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Return a number of bytes in the largest fitting unit. */
export function bytes(size) {
  let unit = 0;
  for (; size >= 999.5 && unit < 4; unit += 1) size /= 1_000;
  const digits = unit && size < 9.95 ? 1 : 0;
  return `${size.toFixed(digits)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

/** Return how long ago a time (RFC 3339) was. */
export function since(time) {
  const seconds = Math.max(0, (Date.now() - new Date(time)) / 1_000);
  const [unit, length] = UNITS.find(([, least]) => seconds >= least) ?? [];
  return unit ? ago.format(-Math.floor(seconds / length), unit) : "just now";
}

/** Return the time of day of a time, in milliseconds or RFC 3339. */
export const timeOfDay = (time) => clock.format(new Date(time));

/** Return the key of a session's state: its activity while it runs, or how its last run failed; otherwise its status. */
export function stateOf({ activity, status, last_run_status: lastRun }) {
  if (activity === "idle" && lastRun === "error") return "run-failed";
  return activity && activity !== "unknown" ? activity : status;
}

/** Return a state in words. */
export const stateText = (state) => STATES[state] ?? state;

/** The states by which the list can be filtered: those that the server knows. */
export const FILTERS = Object.keys(STATES).filter((state) => state !== "run-failed");
