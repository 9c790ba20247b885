// A session's events as they come, each once: a broken connection goes on after the last event.

import { ApiError, open } from "./api.js";

const PERIOD = 500;
const LONGEST_PAUSE = 8_000;

/**
 * Calls `onEvent` with every event of the session and `onState` with "connecting", "live" or "lost", until `signal`
 * is aborted. `onReset` says that the log begins anew. Raises ApiError where coming again is of no use.
 */
export async function follow(session, { signal, onEvent, onState, onReset }) {
  const path = `/v1/sessions/${session}/output`;
  let position = null; // how many events were taken
  let pause = PERIOD;
  onState("connecting");
  while (!signal.aborted) {
    try {
      const query = { format: "events" };
      const response = await open("GET", path, { query, signal, quiet: position !== null });
      const { events } = await response.json();
      if (events.length < position) onReset();
      for (const event of events.slice(events.length < position ? 0 : position)) onEvent(event);
      position = events.length;
      pause = PERIOD;
      onState("live");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      onState("lost");
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
    await rest(pause, signal);
  }
}

/** Waits, but not longer than the network is away or the user. */
function rest(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds * (0.75 + Math.random() / 2));
    window.addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}
