// Turns a session's events into the parts of a conversation.

const text = (value) => (typeof value === "string" ? value : "");

/** Return the text of a message's content, which is a string or a list of parts. */
function content(value) {
  if (!Array.isArray(value)) return text(value);
  return value.map((part) => text(part?.text)).join("");
}

/**
 * Applies events in order. `parts` are in the order of their first appearance. A part is `{kind, text, done}`; kind is
 * user, assistant, reasoning, tool, error or note. A tool also has `name`, `args` and `result`. `onChange` is called with
 * each part that is new or has changed.
 */
export class Conversation {
  constructor(onChange) {
    this.onChange = onChange;
    this.parts = new Map();
    this.activeRun = null;
  }

  apply(event) {
    const message = (kind) => this.part(`message ${event.messageId ?? `${this.activeRun} ${kind}`}`, kind);
    const call = () => this.part(`call ${event.toolCallId}`, "tool", { name: "", args: "", result: null });
    switch (event.type) {
      case "RUN_STARTED":
        this.activeRun = text(event.runId ?? event.run_id) || "run";
        this.messages(event.input?.messages, false);
        break;
      case "RUN_FINISHED":
        this.end();
        if (event.outcome?.type === "cancelled") this.add("note", "Interrupted.");
        else if (event.result?.is_error) this.add("error", text(event.result.error) || "The run ended with an error.");
        break;
      case "RUN_ERROR":
        this.end();
        this.add("error", text(event.message) || "The run failed.");
        break;
      case "TEXT_MESSAGE_START":
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
        this.change(call(), { name: text(event.toolCallName), done: false });
        break;
      case "TOOL_CALL_ARGS":
      case "TOOL_CALL_CHUNK":
        this.append(call(), "args", event.delta);
        break;
      case "TOOL_CALL_RESULT":
        this.change(call(), { result: content(event.content), done: true });
        break;
      case "MESSAGES_SNAPSHOT":
        this.messages(event.messages, true);
        break;
    }
  }

  /** Apply whole messages. Those of a run's input count only if they are new; those of a snapshot are the latest. */
  messages(list, latest) {
    for (const message of Array.isArray(list) ? list : []) {
      if (!message || typeof message !== "object") continue;
      const { id, role, toolCallId } = message;
      const body = content(message.content);
      if (role === "tool") {
        const call = this.parts.get(`call ${toolCallId}`);
        if (call && call.result === null) this.change(call, { result: body, done: true });
      } else if (body && (latest || !this.parts.has(`message ${id}`))) {
        const kind = ["user", "reasoning"].includes(role) ? role : role === "assistant" ? "assistant" : "note";
        this.change(this.part(`message ${id}`, kind), { text: body, done: true });
      }
      for (const { id: callId, function: called, name, args } of Array.isArray(message.toolCalls) ? message.toolCalls : []) {
        if (this.parts.has(`call ${callId}`)) continue;
        const facts = { name: text(called?.name ?? name), args: text(called?.arguments ?? args), result: null };
        this.change(this.part(`call ${callId}`, "tool", facts), { done: true });
      }
    }
  }

  /** End the active run and all parts that are still open. */
  end() {
    this.activeRun = null;
    for (const part of this.parts.values()) if (!part.done) this.change(part, { done: true });
  }

  add(kind, sentence) {
    this.change(this.part(`${kind} ${this.parts.size}`, kind), { text: sentence, done: true });
  }

  part(key, kind, more = {}) {
    if (!this.parts.has(key)) this.parts.set(key, { kind, text: "", done: false, ...more });
    return this.parts.get(key);
  }

  append(part, field, delta) {
    this.change(part, { [field]: part[field] + text(delta) });
  }

  change(part, facts) {
    this.onChange(Object.assign(part, facts));
  }
}
