// Calls the public API with the user's key, and shows the last call as a curl command.

import { stored } from "./key.js";

export const UNREACHABLE = "The server cannot be reached.";

/** An error response: `status`, `code` and the server's message. The status is 0 if there was no response. */
export class ApiError extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** Send a GET that the user did not ask for, so that it does not replace the last command. */
export const read = (path, options = {}) => call("GET", path, { ...options, quiet: true });

/** Send a request and return the response's JSON, or null if it has none. Throws ApiError. */
export async function call(method, path, options = {}) {
  const response = await open(method, path, options);
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The response was incomplete.");
  }
}

/** Send a request and return its successful Response. The body is a value for JSON, or a File. Throws ApiError. */
export async function open(method, path, { query = {}, body, headers = {}, signal, quiet = false } = {}) {
  const credentials = stored();
  if (!credentials) throw new ApiError("No access key. Sign in first.", 401, "unauthorized");
  const { key, project } = credentials;
  const url = new URL(path, location.origin);
  url.search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value != null));
  const sent = { ...headers };
  if (project) sent["X-Ambient-Project"] = project;
  const file = body instanceof File ? body : null;
  if (body !== undefined) sent["Content-Type"] = file ? "application/octet-stream" : "application/json";
  const content = file ?? (body === undefined ? undefined : JSON.stringify(body));
  if (!quiet) show(method, url, sent, content);
  let response;
  try {
    const authorized = { ...sent, Authorization: `Bearer ${key}` };
    response = await fetch(url, { method, headers: authorized, body: content, signal, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(UNREACHABLE);
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(problem.error ?? `The server responded with status ${response.status}.`, response.status, problem.code ?? "");
}

const listeners = [];

/** Call `listener` with each command of the user, as a curl line without the key. */
export const onCommand = (listener) => listeners.push(listener);

function show(method, url, headers, content) {
  const parts = ["curl -sS"];
  if (headers.Accept === "text/event-stream") parts.push("-N");
  if (method !== "GET") parts.push(`-X ${method}`);
  parts.push('-H "Authorization: Bearer $AMBIENT_KEY"');
  for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (content instanceof File) parts.push(`--data-binary ${quoted(`@${content.name}`)}`);
  else if (content !== undefined) parts.push(`--data-raw ${quoted(content)}`);
  parts.push(quoted(url.href));
  for (const listener of listeners) listener(parts.join(" "));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
