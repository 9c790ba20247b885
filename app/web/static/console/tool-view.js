// A tool call in the transcript: its title, first argument and state in one line; the whole of it behind that line.

import { firstArgument, parsed, showArguments } from "./arguments.js";
import { hunksBetween, showHunks } from "./diff-view.js";
import { element, oneLine, visible } from "./dom.js";
import { PlainText } from "./plain-text.js";

const STATES = { running: "running", waiting: "needs you", done: "done", failed: "failed", denied: "denied", open: "no result" };

export class ToolView {
  constructor() {
    this.name = element("code", { className: "tool-name" });
    this.subject = element("span", { className: "subject", dir: "ltr" });
    this.state = element("span", { className: "state" });
    this.changes = element("div");
    this.args = element("div");
    const result = element("div");
    this.result = new PlainText(result, { dir: "ltr" });
    this.output = element("div", { hidden: true }, element("p", { className: "who" }, "Result"), result);
    const summary = element("summary", {}, this.name, " ", this.subject, " ", this.state);
    this.given = element("div", {}, element("p", { className: "who" }, "Arguments"), this.args);
    this.fold = element("details", {}, summary, this.changes, this.given, this.output);
    this.node = element("article", { className: "part tool", "aria-label": "Tool call" }, this.fold);
    this.fold.addEventListener("toggle", () => this.fill());
  }

  update(call) {
    this.call = call;
    const { name, args, state } = call;
    const subject = firstArgument(args ? parsed(args) : "");
    this.name.textContent = oneLine(name, 200) || "Tool call";
    this.subject.textContent = name.includes(subject) ? "" : oneLine(subject, 200);
    this.state.textContent = STATES[state];
    this.node.dataset.state = state;
    this.fill();
  }

  /** Fill in what is behind the line, once somebody looks. */
  fill() {
    const { args, diffs, result } = this.call;
    if (!this.fold.open) return;
    if (this.filled !== args) showArguments(this.args, parsed((this.filled = args)));
    this.given.hidden = !args;
    this.output.hidden = result === null;
    this.result.update(result ?? "");
    if (this.compared !== diffs) showDiffs(this.changes, (this.compared = diffs));
  }
}

/** Show the differences that an ACP agent tells of: `{path, oldText, newText}`. */
export async function showDiffs(parent, diffs) {
  const shown = diffs.map(async ({ path, oldText, newText }) => {
    const lines = element("div");
    showHunks(lines, await hunksBetween(oldText, newText), `Changes of ${path}`);
    return element("div", {}, element("p", { className: "who path" }, visible(String(path)), oldText == null && " (new file)"), lines);
  });
  parent.replaceChildren(...(await Promise.all(shown)));
}
