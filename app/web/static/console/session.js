// One session: its state, its live conversation, and the user's actions.

import { ApiError, call, read } from "./api.js";
import { Approvals } from "./approvals.js";
import { Conversation } from "./conversation.js";
import { announce, byId, element, notice, visible } from "./dom.js";
import { nameOf } from "./sessions.js";
import { follow } from "./stream.js";
import { Transcript } from "./transcript.js";

const CAN = {
  send: ["running"],
  interrupt: ["running"],
  stop: ["running", "pending", "stopping"],
  start: ["stopped", "completed", "failed"],
};
const CHANGING = ["pending", "stopping"];
const CONNECTION = { connecting: "connecting…", live: "live", lost: "connection lost, reconnecting…" };

const tokens = new Intl.NumberFormat("en");
const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: 4 });

/** Return the session's usage as text, empty if its agent does not report it. */
function usageText({ input_tokens: input, output_tokens: output, cost_usd: cost }) {
  const facts = [
    input !== undefined && `${tokens.format(input)} tokens in`,
    output !== undefined && `${tokens.format(output)} tokens out`,
    cost !== undefined && dollars.format(cost),
  ];
  return facts.filter(Boolean).join(", ");
}

export class SessionView {
  constructor({ onProblem, onChange, onGone }) {
    Object.assign(this, { onProblem, onChange, onGone, id: "", queued: new Map(), begun: new Set() });
    this.transcript = new Transcript(byId("conversation"), () => this.drawRun());
    this.approvals = new Approvals({ onProblem: (error) => this.problem(error), onDecision: () => this.refresh() });
    for (const action of ["interrupt", "stop", "start"]) byId(action).addEventListener("click", () => this.act(action));
    byId("delete").addEventListener("click", () => byId("delete-dialog").showModal());
    byId("delete-form").addEventListener("submit", (event) => {
      event.preventDefault();
      byId("delete-dialog").close();
      this.remove();
    });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("message").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
  }

  /** Show a session, from the beginning of its log. */
  open(id) {
    this.close();
    this.id = id;
    this.closing = new AbortController();
    this.session = null;
    this.reset();
    byId("title").textContent = id;
    byId("detail").hidden = false;
    const { signal } = this.closing;
    this.refresh();
    follow(id, {
      signal,
      onEvent: (event) => this.apply(event),
      onState: (state) => this.connection(state),
      onReset: () => this.reset(),
    }).catch((error) => signal.aborted || this.problem(error));
  }

  close() {
    this.closing?.abort();
    clearTimeout(this.timer);
    this.id = "";
    this.session = null;
    this.queued.clear();
    this.transcript.clear();
    this.approvals.update("", null);
    byId("detail").hidden = true;
  }

  reset() {
    this.transcript.clear();
    this.begun.clear();
    this.conversation = new Conversation((part) => this.transcript.change(part));
    this.drawQueue();
  }

  apply(event) {
    const before = this.conversation.activeRun;
    this.conversation.apply(event);
    const now = this.conversation.activeRun;
    if (event.type === "CUSTOM" && String(event.name).startsWith("approval.")) this.settle();
    if (event.type === "RUN_STARTED") {
      this.begun.add(now); // perhaps before the response to its message
      if (this.queued.delete(now)) this.drawQueue();
    }
    if (before === now) return;
    this.settle();
    this.drawRun();
  }

  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.settled(), 300); // replaying a log announces nothing
  }

  settled() {
    announce(this.conversation.activeRun ? "The agent is working." : "The agent has finished.");
    if (this.id) this.refresh();
  }

  connection(state) {
    byId("connection").textContent = CONNECTION[state];
    byId("connection").className = state;
  }

  /** Read the session's state, and again when it may have changed. */
  async refresh() {
    clearTimeout(this.timer);
    const { id } = this;
    try {
      const session = await read(`/v1/sessions/${id}`);
      if (id !== this.id) return;
      const changed = session.status !== this.session?.status;
      this.session = session;
      this.draw();
      if (changed) this.onChange();
    } catch (error) {
      if (id !== this.id) return;
      if (error.status) return void this.problem(error);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), this.pause());
  }

  /** Return the milliseconds until the next read; a working agent may request an approval. */
  pause() {
    if (CHANGING.includes(this.session?.status)) return 500;
    return this.conversation.activeRun ? 2_000 : 10_000;
  }

  draw() {
    const { session } = this;
    byId("title").textContent = nameOf(session);
    byId("state").textContent = session.status;
    byId("state").className = `status ${session.status}`;
    for (const [action, states] of Object.entries(CAN)) byId(action).disabled = !states.includes(session.status);
    byId("usage").textContent = usageText(session.usage ?? {});
    byId("failure").textContent = visible(session.error ?? "");
    byId("failure").hidden = !session.error;
    this.drawRun();
    this.approvals.update(this.id, session);
  }

  drawRun() {
    const active = Boolean(this.conversation?.activeRun) && this.session?.status === "running";
    byId("working").hidden = !active;
    byId("conversation").setAttribute("aria-busy", String(active));
  }

  drawQueue() {
    byId("queued").replaceChildren(...[...this.queued.values()].map((text) => element("li", { dir: "auto" }, visible(text.slice(0, 500)))));
    byId("queue").hidden = !this.queued.size;
  }

  async send() {
    const box = byId("message");
    const content = box.value;
    if (!content.trim() || this.sending) return;
    if (byId("send").disabled) return notice("The session accepts messages only while it is running.");
    this.sending = true;
    const { id } = this;
    try {
      const { run_id: run } = await call("POST", `/v1/sessions/${id}/message`, { body: { content } });
      if (id !== this.id) return;
      if (box.value === content) box.value = "";
      notice("");
      if (this.conversation.activeRun && !this.begun.has(run)) {
        this.queued.set(run, content);
        this.drawQueue();
      }
    } catch (error) {
      this.problem(error);
    } finally {
      this.sending = false;
    }
  }

  async act(action) {
    if (byId(action).disabled) return;
    const { id } = this;
    try {
      const result = await call("POST", `/v1/sessions/${id}/${action}`);
      notice("");
      if (action === "interrupt") announce(result.interrupted === false ? "No run was active." : "Interrupted.");
      if (id === this.id) await this.refresh();
    } catch (error) {
      this.problem(error);
    }
  }

  async remove() {
    const { id } = this;
    this.closing.abort(); // deleting the session ends its stream
    try {
      await call("DELETE", `/v1/sessions/${id}`);
      notice("");
      announce("Session deleted.");
      this.onGone();
    } catch (error) {
      if (id === this.id) this.open(id);
      this.problem(error);
    }
  }

  problem(error) {
    if (error instanceof ApiError && error.code === "session_not_found") this.onGone();
    this.onProblem(error);
  }
}
