// What the agent waits for, and the answers that it may get.

import { call, read } from "./api.js";
import { byId, element, notice, say, visible } from "./dom.js";
import { PlainText } from "./transcript.js";

export class Approvals {
  constructor({ onProblem, onAnswer }) {
    Object.assign(this, { onProblem, onAnswer, shown: "" });
  }

  /** Shows the questions of a session, whose `waiting_for` names them. */
  async update(id, session) {
    const waiting = session?.waiting_for?.approvals ?? [];
    const key = [id, ...waiting].join(" ");
    if (key === this.shown) return; // so that nobody loses the focus
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
    const { message, tool_name: tool, args, options, expires_at: end } = approval;
    const about = element("div");
    if (args !== undefined) new PlainText(about).update(JSON.stringify(args, null, 2));
    const facts = [tool && `Tool ${visible(tool.slice(0, 200))}`, end && `denied after ${new Date(end).toLocaleTimeString()}`];
    const buttons = answers(options).map(({ name, decision, option }) => {
      const answer = () => this.answer(id, approval.id, decision, option);
      return element("button", { type: "button", className: decision === "deny" ? "danger" : "", onclick: answer }, name);
    });
    return element(
      "article",
      { className: "part approval", "aria-label": "Question of the agent" },
      element("p", { dir: "auto" }, visible((message ?? "May the agent go on?").slice(0, 2_000))),
      element("p", { className: "who" }, facts.filter(Boolean).join(", ")),
      about,
      element("p", { className: "actions" }, ...buttons),
    );
  }

  async answer(id, approval, decision, option) {
    const body = { decision, ...(option && { payload: { option_id: option } }) };
    try {
      await call("POST", `/v1/sessions/${id}/approvals/${approval}`, { body });
      notice("");
      say(decision === "allow" ? "Allowed." : "Denied.");
    } catch (error) {
      this.onProblem(error);
    }
    this.onAnswer();
  }
}

/** The agent's own answers where it offers some, else yes and no. */
function answers(options) {
  if (!options?.length) return [{ name: "Allow", decision: "allow" }, { name: "Deny", decision: "deny" }];
  return options.map(({ id, name, kind }) => ({
    name: visible((name || id).slice(0, 200)),
    decision: kind?.startsWith("allow") ? "allow" : "deny",
    option: id,
  }));
}
