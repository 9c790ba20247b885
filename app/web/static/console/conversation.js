// Turns a session's events into the parts of a conversation.

const text = (value) => (typeof value === "string" ? value : "");
const list = (value) => (Array.isArray(value) ? value : []);

/** Return the text of a message's content, which is a string or a list of parts. */
function content(value) {
  return Array.isArray(value) ? value.map((part) => text(part?.text)).join("") : text(value);
}

/** Return the names of the files in a message's content. */
function attached(value) {
  const files = list(value).filter((part) => part && typeof part === "object" && part.type !== "text");
  return files.map(({ type, filename, metadata }) => text(filename) || text(metadata?.filename) || text(type) || "file");
}

/**
 * Applies events in order. `parts` are in the order of their first appearance. A part is `{kind, text, files, done, at}`;
 * kind is user, assistant, reasoning, tool, decision, error or note, `files` are names of attachments. A tool has `name`, `args`, `diffs`, `result` and `state`
 * (running, waiting, done, failed, denied, open), a decision `allowed`. `onChange` is called with each part that is new
 * or has changed.
 */
export class Conversation {
  constructor(onChange) {
    Object.assign(this, { onChange, parts: new Map(), approvals: new Map(), activeRun: null, at: null });
  }

  apply(event) {
    this.at = event.timestamp ?? null;
    const message = (kind) => this.part(`message ${event.messageId ?? `${this.activeRun} ${kind}`}`, kind);
    switch (event.type) {
      case "RUN_STARTED":
        this.activeRun = text(event.runId ?? event.run_id) || "run";
        for (const entry of list(event.input?.resume)) this.resume(entry);
        this.release();
        this.messages(event.input?.messages, false);
        break;
      case "RUN_FINISHED":
        this.end();
        for (const interrupt of list(event.outcome?.interrupts)) this.await(interrupt.id, { ...interrupt, tool_call_id: interrupt.toolCallId });
        if (event.outcome?.type === "cancelled") this.add("note", "Interrupted.");
        else if (event.result?.is_error) this.add("error", text(event.result.error) || "The run ended with an error.");
        break;
      case "RUN_ERROR":
        this.end();
        this.add("error", text(event.message) || "The run failed.");
        break;
      case "TEXT_MESSAGE_START":
        if (event.role !== "user") this.begin(`message ${event.messageId}`);
        this.change(message(event.role === "user" ? "user" : "assistant"), { text: text(event.content), done: false });
        break;
      case "TEXT_MESSAGE_CONTENT":
      case "TEXT_MESSAGE_CHUNK":
        this.append(message("assistant"), "text", event.delta);
        break;
      case "REASONING_MESSAGE_CONTENT":
      case "REASONING_MESSAGE_CHUNK":
      case "THINKING_TEXT_MESSAGE_CONTENT":
        this.append(message("reasoning"), "text", event.delta);
        break;
      case "TEXT_MESSAGE_END":
      case "REASONING_MESSAGE_END":
        this.change(message("assistant"), { done: true });
        break;
      case "TOOL_CALL_START":
        this.begin(`call ${event.toolCallId}`);
        this.change(this.call(event.toolCallId), { name: text(event.toolCallName), state: this.isAwaited(event.toolCallId) ? "waiting" : "running" });
        break;
      case "TOOL_CALL_ARGS":
      case "TOOL_CALL_CHUNK":
        this.append(this.call(event.toolCallId), "args", event.delta);
        break;
      case "TOOL_CALL_RESULT":
        this.finish(this.call(event.toolCallId), content(event.content), event.isError === true || Boolean(event.error));
        break;
      case "MESSAGES_SNAPSHOT":
        this.messages(event.messages, true);
        break;
      case "CUSTOM":
        this.custom(event.name, event.value);
        break;
    }
  }

  custom(name, value) {
    if (!value || typeof value !== "object") return;
    if (name === "acp.tool_call") this.details(value);
    else if (name === "approval.requested") this.await(value.id, value);
    else if (name === "approval.resolved") this.decide(value.id, value.status === "allowed", value);
  }

  /** Apply what an ACP agent tells of a call beside AG-UI's events: its title, its differences, its failure. */
  details({ toolCallId, title, content: shown, status }) {
    const call = this.parts.get(`call ${toolCallId}`);
    if (!call) return;
    const diffs = list(shown).filter((part) => part?.type === "diff");
    this.change(call, { name: text(title) || call.name, ...(diffs.length && { diffs }) });
    if (status === "failed" && call.state === "done") this.change(call, { state: "failed" });
  }

  /** Apply whole messages. Those of a run's input count only if they are new; those of a snapshot are the latest. */
  messages(messages, latest) {
    for (const message of list(messages)) {
      if (!message || typeof message !== "object") continue;
      const { id, role, toolCallId } = message;
      const body = content(message.content);
      if (role === "tool") {
        const call = this.parts.get(`call ${toolCallId}`);
        if (call && call.result === null) this.finish(call, body, Boolean(message.error));
      } else if ((body || attached(message.content).length) && (latest || !this.parts.has(`message ${id}`))) {
        const kind = ["user", "reasoning"].includes(role) ? role : role === "assistant" ? "assistant" : "note";
        this.change(this.part(`message ${id}`, kind), { text: body, files: attached(message.content), done: true });
      }
      for (const { id: callId, function: called, name, args } of list(message.toolCalls)) {
        if (this.parts.has(`call ${callId}`)) continue;
        const facts = { name: text(called?.name ?? name), args: text(called?.arguments ?? args) };
        this.change(this.call(callId), { ...facts, state: "open", done: true });
      }
    }
  }

  /** Note an approval that is pending, and that its tool call waits for it. */
  await(id, { message, tool_name: tool, tool_call_id: callId, options }) {
    const call = this.callOf(callId);
    this.approvals.set(id, { subject: text(message) || text(tool) || call?.name || "the request", callId, options });
    if (call && call.result === null) this.change(call, { state: "waiting", done: false });
  }

  /** Note the approvals that are pending, for the log of a platform does not tell. */
  awaitAll(approvals) {
    for (const approval of approvals) {
      if (!this.isAwaited(approval.tool_call_id)) this.await(approval.id, approval);
    }
  }

  /** Return whether a tool call waits for a decision. An agent may ask before the call is in the log. */
  isAwaited(callId) {
    return [...this.approvals.values()].some((approval) => approval.callId === callId);
  }

  /** Return the tool call with an id, if there is one. */
  callOf(id) {
    return this.parts.get(`call ${id}`);
  }

  /** Apply an entry of AG-UI's `resume`: the decision on an approval of an earlier run. */
  resume({ interruptId, status, payload }) {
    const chosen = text(payload?.option_id);
    this.decide(interruptId, status === "resolved" && payload?.approved !== false, { option_id: chosen });
  }

  decide(id, allowed, { status, option_id: chosen }) {
    const approval = this.approvals.get(id);
    if (!approval) return;
    this.approvals.delete(id);
    const { subject, callId, options } = approval;
    const call = this.callOf(callId);
    const option = list(options).find((each) => each?.id === chosen);
    if (call?.state === "waiting") this.change(call, { state: allowed ? "running" : "denied", done: !allowed });
    const how = status === "expired" ? "Denied without a decision" : allowed ? "Allowed" : "Denied";
    this.add("decision", `${how}: ${subject}${option?.name ? ` (${option.name})` : ""}`, { allowed });
  }

  /** Give up what no decision has come for: a new run has begun without one. */
  release() {
    this.approvals.clear();
    for (const part of this.parts.values()) if (part.state === "waiting") this.change(part, { state: "open", done: true });
  }

  /** End the active run and all parts that are still open. */
  end() {
    this.activeRun = null;
    for (const part of this.parts.values()) {
      if (!part.done) this.change(part, { done: true, ...(part.kind === "tool" && { state: "open" }) });
    }
  }

  /** End a tool call with its result. */
  finish(call, result, failed) {
    const state = call.state === "denied" ? "denied" : failed ? "failed" : "done";
    this.change(call, { result, state, done: true });
  }

  add(kind, sentence, more = {}) {
    this.change(this.part(`${kind} ${this.parts.size}`, kind, more), { text: sentence, done: true });
  }

  /** Begin another part if an agent uses the id of one that has ended again. */
  begin(key) {
    const earlier = this.parts.get(key);
    if (!earlier?.done) return;
    this.parts.delete(key);
    this.parts.set(`${key} ${this.parts.size}`, earlier);
  }

  call(id) {
    return this.part(`call ${id}`, "tool", { name: "", args: "", diffs: [], result: null, state: "running" });
  }

  part(key, kind, more = {}) {
    if (!this.parts.has(key)) this.parts.set(key, { kind, text: "", files: [], done: false, at: this.at, ...more });
    return this.parts.get(key);
  }

  append(part, field, delta) {
    this.change(part, { [field]: part[field] + text(delta) });
  }

  change(part, facts) {
    this.onChange(Object.assign(part, facts));
  }
}
