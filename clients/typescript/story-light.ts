// Every step of working with sessions, with the types of openapi-typescript and the client openapi-fetch.
//
// $AMBIENT_API is the address of the API, such as http://127.0.0.1:8081/v1, and $AMBIENT_KEY a key. The agent is `demo`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Refusal = components["schemas"]["Error"];
type Event = components["schemas"]["AguiEvent"];
type Result<T> = { data?: T; error?: Refusal; response: Response };

const { GET, POST, PATCH, DELETE } = createClient<paths>({
  baseUrl: process.env["AMBIENT_API"]!,
  headers: { Authorization: `Bearer ${process.env["AMBIENT_KEY"]}` },
});
const mark = randomUUID();

const identity = expect(await GET("/whoami"));
console.log("whoami:", identity.project);

// Create a session twice with one key: the second response is the first one again.
const request = {
  params: { header: { "Idempotency-Key": mark } },
  body: { task: "list the files", display_name: `Light ${mark}`, labels: { client: "light", story: mark } },
};
const [first, again] = [await POST("/sessions", request), await POST("/sessions", request)];
const session_id = expect(first).id;
assert.equal(expect(again).id, session_id);
assert.equal(first.response.headers.get("Idempotency-Replayed"), null);
assert.equal(again.response.headers.get("Idempotency-Replayed"), "true");
const path = { session_id };
assert.equal((await settled()).status, "running");
console.log("created:", session_id);

// Send a message and read the answer to it.
const asked = await ended(await say("what did I say?"));
assert.equal(asked.status, "completed");
assert.match(asked.answer ?? "", /list the files/);
console.log("answer:", asked.answer);

// Read the output in each of its formats.
const transcript = await output("transcript");
const compact = await output("compact");
const events = await output("events");
assert(transcript.format === "transcript" && compact.format === "compact" && events.format === "events");
assert.equal(transcript.messages[0]?.content, "list the files");
assert(compact.events.length < events.events.length);
console.log(`output: ${transcript.messages.length} messages, ${events.events.length} events`);

// Find the session by what it is, what it has and what it is called.
for (const query of [
  { status: ["running" as const], label: [`story=${mark}`] },
  { activity: ["idle" as const], search: mark },
]) {
  const found = expect(await GET("/sessions", { params: { query } }));
  assert.deepEqual(found.items.map((item) => item.id), [session_id]);
}
const none = await GET("/sessions", { params: { query: { status: ["failed"], search: mark } } });
assert.deepEqual(expect(none).items, []);

// Set labels, remove one by null and one by its name.
const session = "/sessions/{session_id}";
const labels = { tier: "gold", client: null };
const labelled = expect(await PATCH(session, { params: { path }, body: { labels } }));
assert.deepEqual(labelled.labels, { story: mark, tier: "gold" });
const unlabelled = expect(await PATCH(session, { params: { path }, body: { remove_labels: ["tier"] } }));
assert.deepEqual(unlabelled.labels, { story: mark });

// Cancel a run that would take minutes.
const slow = await say("slow 3000");
const queued = { params: { path: { session_id, run_id: slow } } };
while (expect(await GET("/sessions/{session_id}/runs/{run_id}", queued)).status === "queued");
assert.equal(expect(await POST("/sessions/{session_id}/interrupt", { params: { path } })).interrupted, true);
assert.equal((await ended(slow)).status, "interrupted");

// Follow the events of a run, then continue after an event in the middle.
const followed = await say("slow 5");
const frames = await follow(followed);
const types = frames.map(([, event]) => event.type);
assert.deepEqual([types[0], types.at(-1)], ["RUN_STARTED", "RUN_FINISHED"]);
assert.equal(types.filter((type) => type === "TEXT_MESSAGE_CONTENT").length, 5);
assert.deepEqual(await follow(followed, frames[2]![0]), frames.slice(3));
console.log(`followed: ${frames.length} events`);

// Let the agent do what it asks for.
const waiting = await ended(await say("delete notes.txt"));
assert.equal(waiting.status, "waiting");
assert.equal((await settled()).activity, "waiting");
const [approval] = expect(await GET("/sessions/{session_id}/approvals", { params: { path } })).items;
assert(approval);
assert.equal(approval.tool_name, "delete_file");
const decided = await POST("/sessions/{session_id}/approvals/{approval_id}", {
  params: { path: { session_id, approval_id: approval.id } },
  body: { decision: "allow" },
});
assert.equal(expect(decided).status, "allowed");
assert.equal((await settled()).activity, "idle");
const continued = await ended(waiting.run_id);
assert.equal(continued.status, "completed");
assert.equal((await ended(continued.continued_by!)).status, "completed");

// Stop the session, start it again with its workspace and conversation, and stop it.
for (const [operation, status] of [
  ["/sessions/{session_id}/stop", "stopped"],
  ["/sessions/{session_id}/start", "running"],
  ["/sessions/{session_id}/stop", "stopped"],
] as const) {
  expect(await POST(operation, { params: { path } }));
  while ((await settled()).status !== status);
}

// Refusals have a type of their own, with a code for programs.
refused(422, await POST("/sessions/{session_id}/message", { params: { path }, body: { content: "Hello?" } }));
refused(404, await GET(session, { params: { path: { session_id: "session-of-nobody" } } }));
refused(400, await GET("/sessions/{session_id}/output", { params: { path, query: { after: "1" } } }));

// Delete the session.
assert.equal((await DELETE(session, { params: { path } })).response.status, 204);
refused(404, await GET(session, { params: { path } }));
console.log("done");

async function settled() {
  return expect(await GET("/sessions/{session_id}", { params: { path, query: { wait: 60 } } }));
}

async function say(content: string) {
  return expect(await POST("/sessions/{session_id}/message", { params: { path }, body: { content } })).run_id;
}

async function ended(run_id: string) {
  const params = { path: { session_id, run_id }, query: { wait: 60 } };
  return expect(await GET("/sessions/{session_id}/runs/{run_id}", { params }));
}

async function output(format: components["schemas"]["OutputFormat"]) {
  return expect(await GET("/sessions/{session_id}/output", { params: { path, query: { format } } }));
}

/** Return the events of a run with their cursors. */
async function follow(run_id: string, cursor?: string): Promise<[string, Event][]> {
  const header = cursor === undefined ? {} : { "Last-Event-ID": cursor };
  const params = { path, query: { run_id }, header };
  const stream = expect(await GET("/sessions/{session_id}/events", { params, parseAs: "stream" }));
  const found: [string, Event][] = [];
  let text = "";
  for await (const part of stream!.pipeThrough(new TextDecoderStream())) {
    const complete = (text + part).split("\n\n");
    text = complete.pop()!;
    for (const frame of complete) {
      const id = /^id: (.*)$/m.exec(frame);
      const data = /^data: (.*)$/m.exec(frame);
      if (id && data) found.push([id[1]!, JSON.parse(data[1]!)]);
    }
  }
  return found;
}

/** Return what an operation responded, unless it is an error. */
function expect<T>({ data, error }: Result<T>): T {
  assert.equal(error, undefined);
  assert(data !== undefined);
  return data;
}

function refused(status: number, { error, response }: Result<unknown>): void {
  assert.equal(response.status, status);
  assert(error !== undefined);
  console.log("refused:", status, error.code);
}
