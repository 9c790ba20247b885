// Pending approvals of a session, and the user's decisions.

import { call, read } from "./api.js";
import { showArguments } from "./arguments.js";
import { announce, button, byId, element, notice, visible } from "./dom.js";
import { PlainText } from "./plain-text.js";
import { showDiffs } from "./tool-view.js";
import { timeOfDay } from "./words.js";

export class Approvals {
  /** `callOf` returns the tool call of an approval as the conversation knows it, or undefined. */
  constructor({ onProblem, onDecision, onShown, callOf }) {
    Object.assign(this, { onProblem, onDecision, onShown, callOf, shown: "", details: new Map() });
  }

  /** Show the approvals that the session's `waiting_for` names. */
  async update(id, session) {
    const waiting = session?.waiting_for?.approvals ?? [];
    const key = [id, ...waiting].join(" ");
    if (key === this.shown) return; // redrawing would lose the focus
    this.shown = key;
    const items = [];
    try {
      if (waiting.length) items.push(...(await read(`/v1/sessions/${id}/approvals`)).items);
    } catch (error) {
      this.shown = "";
      return this.onProblem(error);
    }
    if (key !== this.shown) return;
    const area = byId("approvals");
    const hadFocus = area.contains(document.activeElement);
    this.details = new Map(items.map((approval) => [approval, this.detailsOf(approval)]));
    area.replaceChildren(...items.map((approval) => this.card(id, approval)));
    area.hidden = !items.length;
    if (hadFocus && items.length) this.focus();
    else if (hadFocus) byId("message").focus();
    this.onShown(items);
  }

  /** Move the focus to the first pending approval. */
  focus() {
    byId("approvals").querySelector("article")?.focus();
  }

  /** Show the differences of a tool call whose approval is shown: it may ask before the log has them. */
  callChanged(call) {
    for (const [approval, details] of this.details) {
      if (call !== this.callOf(approval) || call.diffs === details.diffs) continue;
      this.details.set(approval, this.detailsOf(approval));
      details.replaceWith(this.details.get(approval));
    }
  }

  card(id, approval) {
    const { message, tool_name: tool, options, expires_at: expiry } = approval;
    const request = element("div", { className: "request" });
    new PlainText(request).update(message || "May the agent continue?");
    const facts = [tool, expiry && `denied at ${timeOfDay(expiry)} if nobody decides`].filter(Boolean).join(" · ");
    const { once, always } = choices(options);
    const buttons = (chosen) => chosen.map((choice) => this.button(id, approval.id, choice));
    const lasting = element("div", { className: "actions always" }, element("span", { className: "hint" }, "From now on:"), ...buttons(always));
    return element(
      "article",
      { className: "approval", "aria-label": "Approval", tabIndex: -1 },
      element("p", { className: "who" }, "The agent asks for your permission", facts && visible(` · ${facts}`)),
      element("div", { className: "asked", tabIndex: 0, role: "group", "aria-label": "Request" }, request, this.details.get(approval)),
      element("div", { className: "decide" }, element("div", { className: "actions" }, ...buttons(once)), always.length > 0 && lasting),
    );
  }

  /** Return the differences that the tool would make, and its arguments. */
  detailsOf(approval) {
    const { args } = approval;
    const call = this.callOf(approval);
    const parts = Array.isArray(args?.content) ? args.content : [];
    const own = parts.filter(isDiff);
    const others = parts.filter((part) => !isDiff(part));
    const diffs = own.length ? own : (call?.diffs ?? []);
    const rest = own.length ? { ...args, content: others.length ? others : undefined } : args;
    const changes = element("div");
    const given = element("div");
    if (diffs.length) showDiffs(changes, diffs);
    if (rest !== undefined && rest !== null && JSON.stringify(rest) !== "{}") showArguments(given, rest);
    const shown = diffs.length && given.firstChild ? element("details", {}, element("summary", {}, "Arguments"), given) : given;
    return element("div", { className: "details", diffs: call?.diffs }, changes, shown);
  }

  button(id, approval, { name, decision, option, kind }) {
    return button(name, () => this.decide(id, approval, decision, option), { className: kind, dir: "auto" });
  }

  async decide(id, approval, decision, option) {
    const body = { decision, ...(option && { payload: { option_id: option } }) };
    try {
      await call("POST", `/v1/sessions/${id}/approvals/${approval}`, { body });
      notice("");
      announce(decision === "allow" ? "Allowed." : "Denied.");
    } catch (error) {
      this.onProblem(error);
    }
    this.onDecision();
  }
}

const isDiff = (part) => part?.type === "diff";

/** Return the agent's own options if it offers any, otherwise Allow and Deny: those for once, and those for always. */
function choices(options) {
  const own = (options ?? []).map(({ id, name, kind }) => {
    const decision = kind?.startsWith("allow") ? "allow" : "deny";
    return { name: visible(name || id), decision, option: id, isAlways: Boolean(kind?.endsWith("_always")) };
  });
  const all = own.length ? own : [{ name: "Allow", decision: "allow" }, { name: "Deny", decision: "deny" }];
  const sorted = [...all.filter((each) => each.decision === "allow"), ...all.filter((each) => each.decision === "deny")];
  const once = sorted.filter((each) => !each.isAlways);
  for (const choice of sorted) choice.kind = choice.decision === "deny" ? "danger" : "";
  if (once[0]?.decision === "allow") once[0].kind = "primary";
  return { once, always: sorted.filter((each) => each.isAlways) };
}
