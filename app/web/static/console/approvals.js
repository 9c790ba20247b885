// Pending approvals of a session, and the user's decisions.

import { call, read } from "./api.js";
import { announce, byId, element, notice, visible } from "./dom.js";
import { PlainText } from "./transcript.js";

export class Approvals {
  constructor({ onProblem, onDecision }) {
    Object.assign(this, { onProblem, onDecision, shown: "" });
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
    byId("approvals").replaceChildren(...items.map((approval) => this.card(id, approval)));
    byId("approvals").hidden = !items.length;
  }

  card(id, approval) {
    const { message, tool_name: tool, args, options, expires_at: expiry } = approval;
    const details = element("div");
    if (args !== undefined) new PlainText(details).update(JSON.stringify(args, null, 2));
    const facts = [tool && `Tool ${visible(tool.slice(0, 200))}`, expiry && `expires at ${new Date(expiry).toLocaleTimeString()}`];
    const buttons = choices(options).map(({ name, decision, option }) => {
      const decide = () => this.decide(id, approval.id, decision, option);
      return element("button", { type: "button", className: decision === "deny" ? "danger" : "", onclick: decide }, name);
    });
    return element(
      "article",
      { className: "part approval", "aria-label": "Approval" },
      element("p", { dir: "auto" }, visible((message ?? "May the agent continue?").slice(0, 2_000))),
      element("p", { className: "who" }, facts.filter(Boolean).join(", ")),
      details,
      element("p", { className: "actions" }, ...buttons),
    );
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

/** Return the agent's own options if it offers any, otherwise Allow and Deny. */
function choices(options) {
  if (!options?.length) return [{ name: "Allow", decision: "allow" }, { name: "Deny", decision: "deny" }];
  return options.map(({ id, name, kind }) => ({
    name: visible((name || id).slice(0, 200)),
    decision: kind?.startsWith("allow") ? "allow" : "deny",
    option: id,
  }));
}
