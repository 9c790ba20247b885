// One session: its state, its conversation as it happens, and what the user can do with it.

import { ApiError, call, read } from "./api.js";
import { Approvals } from "./approvals.js";
import { Conversation } from "./conversation.js";
import { byId, element, notice, say, visible } from "./dom.js";
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
const CONNECTION = { connecting: "connecting…", live: "live", lost: "connection lost, trying again…" };

const tokens = new Intl.NumberFormat("en");
const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: 4 });

/** What the session used, in words; empty where its agent does not tell. */
function used({ input_tokens: taken, output_tokens: written, cost_usd: cost }) {
  const facts = [
    taken !== undefined && `${tokens.format(taken)} tokens in`,
    written !== undefined && `${tokens.format(written)} tokens out`,
    cost !== undefined && dollars.format(cost),
  ];
  return facts.filter(Boolean).join(", ");
}

export class SessionView {
  constructor({ onProblem, onChange, onGone }) {
    Object.assign(this, { onProblem, onChange, onGone, id: "", queued: new Map(), begun: new Set() });
    this.transcript = new Transcript(byId("conversation"), () => this.drawRun());
    this.approvals = new Approvals({ onProblem: (error) => this.problem(error), onAnswer: () => this.refresh() });
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

  /** Shows a session, from the beginning of its log on. */
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
      this.begun.add(now); // perhaps before its message is answered
      if (this.queued.delete(now)) this.drawQueue();
    }
    if (before === now) return;
    this.settle();
    this.drawRun();
  }

  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.settled(), 300); // a log that is read from its beginning says nothing
  }

  settled() {
    say(this.conversation.activeRun ? "The agent is at work." : "The agent is done.");
    if (this.id) this.refresh();
  }

  connection(state) {
    byId("connection").textContent = CONNECTION[state];
    byId("connection").className = state;
  }

  /** Reads the session's state, and again when it may have changed. */
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

  /** Milliseconds until the state may be another; an agent at work may ask something. */
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
    byId("usage").textContent = used(session.usage ?? {});
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
    byId("queued").replaceChildren(...[...this.queued.values()].map((said) => element("li", { dir: "auto" }, visible(said.slice(0, 500)))));
    byId("queue").hidden = !this.queued.size;
  }

  async send() {
    const box = byId("message");
    const content = box.value;
    if (!content.trim() || this.sending) return;
    if (byId("send").disabled) return notice("The session takes messages only while it is running.");
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
      const answer = await call("POST", `/v1/sessions/${id}/${action}`);
      notice("");
      if (action === "interrupt") say(answer.interrupted === false ? "Nothing was running." : "Interrupted.");
      if (id === this.id) await this.refresh();
    } catch (error) {
      this.problem(error);
    }
  }

  async remove() {
    const { id } = this;
    this.closing.abort(); // the end of its log is no news
    try {
      await call("DELETE", `/v1/sessions/${id}`);
      notice("");
      say("Session deleted.");
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
