// Every step of working with sessions, with the client that @hey-api/openapi-ts generates.
//
// $AMBIENT_API is the address of the API, such as http://127.0.0.1:8081/v1, and $AMBIENT_KEY a key. The agent is `demo`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  answerApproval,
  createSession,
  deleteSession,
  getRun,
  getSession,
  getSessionOutput,
  interruptSession,
  listApprovals,
  listSessions,
  sendMessage,
  startSession,
  stopSession,
  streamSessionEvents,
  updateSession,
  whoami,
  type AguiEvent,
  type Error as Refusal,
} from "./ambient";
import { client } from "./ambient/client.gen";

type Result<T> = { data?: T; error?: Refusal | undefined; response?: Response };

client.setConfig({ baseUrl: process.env["AMBIENT_API"]!, auth: process.env["AMBIENT_KEY"]! });
const mark = randomUUID();

const identity = expect(await whoami());
console.log("whoami:", identity.project);

// Create a session twice with one key: the second response is the first one again.
const request = {
  headers: { "Idempotency-Key": mark },
  body: { task: "list the files", display_name: `TypeScript ${mark}`, labels: { client: "typescript", story: mark } },
};
const [first, again] = [await createSession(request), await createSession(request)];
const session_id = expect(first).id;
assert.equal(expect(again).id, session_id);
assert.equal(first.response?.headers.get("Idempotency-Replayed"), null);
assert.equal(again.response?.headers.get("Idempotency-Replayed"), "true");
const path = { session_id };
assert.equal((await settled()).status, "running");
console.log("created:", session_id);

// Send a message and read the answer to it.
const asked = await ended(await say("what did I say?"));
assert.equal(asked.status, "completed");
assert.match(asked.answer ?? "", /list the files/);
console.log("answer:", asked.answer);

// Read the output in each of its formats.
const transcript = expect(await getSessionOutput({ path, query: { format: "transcript" } }));
const compact = expect(await getSessionOutput({ path, query: { format: "compact" } }));
const events = expect(await getSessionOutput({ path, query: { format: "events" } }));
assert(transcript.format === "transcript" && compact.format === "compact" && events.format === "events");
assert.equal(transcript.messages[0]?.content, "list the files");
assert(compact.events.length < events.events.length);
console.log(`output: ${transcript.messages.length} messages, ${events.events.length} events`);

// Find the session by what it is, what it has and what it is called.
for (const query of [
  { status: ["running" as const], label: [`story=${mark}`] },
  { activity: ["idle" as const], search: mark },
]) {
  const found = expect(await listSessions({ query }));
  assert.deepEqual(found.items.map((item) => item.id), [session_id]);
}
assert.deepEqual(expect(await listSessions({ query: { status: ["failed"], search: mark } })).items, []);

// Set labels, remove one by null and one by its name.
const labelled = expect(await updateSession({ path, body: { labels: { tier: "gold", client: null } } }));
assert.deepEqual(labelled.labels, { story: mark, tier: "gold" });
const unlabelled = expect(await updateSession({ path, body: { remove_labels: ["tier"] } }));
assert.deepEqual(unlabelled.labels, { story: mark });

// Cancel a run that would take minutes.
const slow = await say("slow 3000");
while (expect(await getRun({ path: { session_id, run_id: slow } })).status === "queued");
assert.equal(expect(await interruptSession({ path })).interrupted, true);
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
const [approval] = expect(await listApprovals({ path })).items;
assert(approval);
assert.equal(approval.tool_name, "delete_file");
const decided = await answerApproval({ path: { session_id, approval_id: approval.id }, body: { decision: "allow" } });
assert.equal(expect(decided).status, "allowed");
assert.equal((await settled()).activity, "idle");
const continued = await ended(waiting.run_id);
assert.equal(continued.status, "completed");
assert.equal((await ended(continued.continued_by!)).status, "completed");

// Stop the session, start it again with its workspace and conversation, and stop it.
for (const [operation, status] of [
  [stopSession, "stopped"],
  [startSession, "running"],
  [stopSession, "stopped"],
] as const) {
  expect(await operation({ path }));
  while ((await settled()).status !== status);
}

// Refusals have a type of their own, with a code for programs.
refused(422, await sendMessage({ path, body: { content: "Hello?" } }));
refused(404, await getSession({ path: { session_id: "session-of-nobody" } }));
refused(400, await getSessionOutput({ path, query: { format: "transcript", after: "1" } }));

// Delete the session.
assert.equal((await deleteSession({ path })).response?.status, 204);
refused(404, await getSession({ path }));
console.log("done");

async function settled() {
  return expect(await getSession({ path, query: { wait: 60 } }));
}

async function say(content: string) {
  return expect(await sendMessage({ path, body: { content } })).run_id;
}

async function ended(run_id: string) {
  return expect(await getRun({ path: { session_id, run_id }, query: { wait: 60 } }));
}

/** Return the events of a run with their cursors. */
async function follow(run_id: string, cursor?: string): Promise<[string, AguiEvent][]> {
  const cursors: string[] = [];
  const { stream } = await streamSessionEvents({
    path,
    query: { run_id },
    headers: cursor === undefined ? {} : { "Last-Event-ID": cursor },
    onSseEvent: ({ id }) => void cursors.push(id ?? ""),
    sseMaxRetryAttempts: 1,
  });
  const found: [string, AguiEvent][] = [];
  for await (const event of stream) found.push([cursors[found.length]!, event as unknown as AguiEvent]); // JSON, parsed
  return found;
}

/** Return what an operation responded, unless it is an error. */
function expect<T>({ data, error }: Result<T>): T {
  assert.equal(error, undefined);
  assert(data !== undefined);
  return data;
}

function refused(status: number, { error, response }: Result<unknown>): void {
  assert.equal(response?.status, status);
  assert(error !== undefined);
  console.log("refused:", status, error.code);
}
