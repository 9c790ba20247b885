// One session: its state, its live conversation, and the user's actions.

import { ApiError, call, read } from "./api.js";
import { Approvals } from "./approvals.js";
import { Changes } from "./changes.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { announce, byId, confirm, element, notice, visible } from "./dom.js";
import { Files } from "./files.js";
import { can, mayEdit } from "./identity.js";
import { SessionLog } from "./session-log.js";
import { factsOf, nameOf, showState } from "./session-facts.js";
import { follow } from "./stream.js";
import { Tabs } from "./tabs.js";
import { Transcript } from "./transcript.js";
import { stateOf, stateText } from "./words.js";

const CAN = {
  stop: ["running", "pending", "stopping"],
  start: ["stopped", "completed", "failed"],
};
const CHANGING = ["pending", "stopping"];
const CONNECTION = { connecting: "Connecting…", live: "", lost: "Connection lost, reconnecting…" };
const NEEDS = { changes: "get_workspace_diff", files: "list_workspace_files", log: "get_session_logs" };

export class SessionView {
  constructor({ onProblem, onChange, onGone, onTab }) {
    Object.assign(this, { onProblem, onChange, onGone, onTab, id: "", tab: "", panel: null });
    const problem = (error) => this.problem(error);
    this.transcript = new Transcript(byId("conversation"), {
      onDrawn: () => this.drawRun(),
      onFollowing: (following) => (byId("latest").hidden = following),
    });
    this.approvals = new Approvals({
      onProblem: problem,
      onDecision: () => this.refresh(),
      onShown: (items) => this.conversation?.awaitAll(items),
      callOf: ({ tool_call_id: id }) => this.conversation?.callOf(id),
    });
    this.composer = new Composer({ onProblem: problem, onSent: () => this.transcript.toEnd() });
    this.panels = { changes: new Changes(problem, (file) => this.view(file)), files: new Files(problem), log: new SessionLog(problem) };
    this.tabs = new Tabs(onTab);
    for (const action of ["interrupt", "stop", "start"]) byId(action).addEventListener("click", () => this.act(action));
    byId("latest").addEventListener("click", () => this.transcript.toEnd());
    byId("delete").addEventListener("click", () => byId("delete-dialog").showModal());
    byId("delete-form").addEventListener("submit", (event) => {
      event.preventDefault();
      byId("delete-dialog").close();
      this.remove();
    });
  }

  /** Show a session, from the beginning of its log. */
  open(id) {
    this.close();
    this.id = id;
    this.closing = new AbortController();
    this.session = null;
    this.replayed = false;
    this.reset();
    byId("title").textContent = id;
    byId("facts").replaceChildren();
    byId("state").textContent = "";
    byId("failure").hidden = true;
    byId("detail").hidden = false;
    for (const [tab, capability] of Object.entries(NEEDS)) this.tabs.enable(tab, can(capability));
    const { signal } = this.closing;
    this.refresh();
    this.composer.open(id);
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
    clearTimeout(this.settling);
    this.panel?.close();
    this.panel = null;
    this.id = this.tab = "";
    this.session = null;
    this.transcript.clear();
    this.approvals.update("", null);
    byId("detail").hidden = true;
  }

  /** Show a tab; what the server does not have cannot be shown. */
  show(tab) {
    if (NEEDS[tab] && !can(NEEDS[tab])) tab = "conversation";
    if (tab === this.tab) return;
    this.panel?.close();
    this.panel = null;
    this.tab = tab;
    this.tabs.select(tab);
    this.openPanel();
  }

  /** Let the tab read what it shows, once the session is known. */
  openPanel() {
    if (!this.session || this.panel || !this.panels[this.tab]) return;
    this.panel = this.panels[this.tab];
    this.panel.open(this.session);
  }

  /** Show a changed file as it is now. */
  view(file) {
    this.panels.files.viewNext(file);
    this.onTab("files");
  }

  focusMessage() {
    this.toConversation();
    byId("message").focus();
  }

  focusApproval() {
    this.toConversation();
    this.approvals.focus();
  }

  toConversation() {
    if (!this.id) return;
    this.show("conversation");
    this.onTab("conversation");
  }

  reset() {
    this.transcript.clear();
    this.conversation = new Conversation((part) => {
      this.transcript.change(part);
      if (part.kind === "tool") this.approvals.callChanged(part);
    });
  }

  apply(event) {
    const before = this.conversation.activeRun;
    this.conversation.apply(event);
    const now = this.conversation.activeRun;
    if (event.type === "CUSTOM" && String(event.name).startsWith("approval.")) this.settle();
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
    this.refresh();
    this.composer.runChanged();
    if (this.replayed && !this.conversation.activeRun) this.panel?.runEnded?.();
    this.replayed = true; // what happened before the session was opened changes nothing that is shown
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
      const changed = !this.session || stateOf(session) !== stateOf(this.session);
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
    const running = session.status === "running";
    byId("title").textContent = nameOf(session);
    byId("title").title = byId("title").textContent;
    document.title = `${stateText(stateOf(session))}: ${nameOf(session)}`;
    showState(byId("state"), session);
    byId("facts").replaceChildren(...factsOf(session).map((fact) => element("li", {}, ...fact)));
    for (const [action, states] of Object.entries(CAN)) byId(action).disabled = !states.includes(session.status);
    byId("start").hidden = byId("start").disabled;
    byId("stop").hidden = !byId("start").hidden;
    byId("failure").textContent = visible(session.error ?? "");
    byId("failure").hidden = !session.error;
    this.composer.enable({ messages: running, files: running && can("write_workspace_file") && mayEdit() });
    this.drawRun();
    this.openPanel();
    this.approvals.update(this.id, session);
  }

  drawRun() {
    const active = Boolean(this.conversation?.activeRun) && this.session?.status === "running";
    byId("interrupt").disabled = !active && !["working", "waiting"].includes(this.session?.activity);
    byId("working").hidden = !active || Boolean(this.session.waiting_for);
    byId("conversation").setAttribute("aria-busy", String(active));
    byId("tab-conversation").classList.toggle("needs-you", Boolean(this.session?.waiting_for));
  }

  async act(action) {
    if (byId(action).disabled) return;
    const { id } = this;
    try {
      const result = await call("POST", `/v1/sessions/${id}/${action}`);
      notice("");
      if (action === "interrupt") confirm(result.interrupted === false ? "No run was active." : "Interrupted.");
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
      confirm("Session deleted.");
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
