// Follows a session's events, each exactly once. A lost connection resumes after the last complete event.

import { ApiError, open } from "./api.js";

const SILENCE = 40_000; // the server sends at least a comment every 15 seconds
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 8_000;

/**
 * Call `onEvent` with every event of the session and `onState` with "connecting", "live" or "lost", until `signal` is
 * aborted. `onReset` is called if the log starts again from the beginning. Throws ApiError if reconnecting is of no use.
 */
export async function follow(session, { signal, onEvent, onState, onReset }) {
  let cursor = "";
  let pause = FIRST_PAUSE;
  let again = false;
  onState("connecting");
  while (!signal.aborted) {
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener("abort", stop, { once: true });
    try {
      const headers = { Accept: "text/event-stream", ...(cursor && { "Last-Event-ID": cursor }) };
      const path = `/v1/sessions/${session}/events`;
      const response = await open("GET", path, { headers, signal: attempt.signal, quiet: again });
      again = true;
      onState("live");
      for await (const frame of frames(response.body.getReader(), stop)) {
        pause = FIRST_PAUSE;
        cursor = frame.id;
        onEvent(frame.event);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.code === "cursor_expired") {
        cursor = "";
        onReset();
      } else if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) {
        throw error;
      }
    } finally {
      signal.removeEventListener("abort", stop);
      attempt.abort();
    }
    if (signal.aborted) return;
    onState("lost");
    await sleep(pause, signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

/** Yield the complete frames of a body that have an id. */
async function* frames(reader, stop) {
  const decoder = new TextDecoder();
  let id = "";
  let data = "";
  for await (const line of lines(reader, decoder, stop)) {
    if (line === "") {
      const event = id && data ? parsed(data) : null;
      if (event) yield { id, event };
      id = "";
      data = "";
    } else if (line.startsWith("id:")) {
      id = line.slice(3).trim();
    } else if (line.startsWith("data:")) {
      data += line.slice(5);
    }
  }
}

/** Yield complete lines. The chunks of a long line are joined once. */
async function* lines(reader, decoder, stop) {
  let chunks = [];
  for (;;) {
    const silence = setTimeout(stop, SILENCE);
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    const [first, ...others] = decoder.decode(value, { stream: true }).split("\n");
    chunks.push(first);
    for (const next of others) {
      yield chunks.join("").replace(/\r$/, "");
      chunks = [next];
    }
  }
}

function parsed(data) {
  try {
    const event = JSON.parse(data);
    return typeof event === "object" ? event : null;
  } catch {
    return null;
  }
}

/** Wait, at most until the network is back or `signal` is aborted. */
function sleep(milliseconds, signal) {
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
