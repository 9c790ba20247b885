// Draws the parts of a conversation: once per animation frame, and only as much of a long text as the reader asks for.

import { element, visible } from "./dom.js";
import { LONGEST, markdown } from "./markdown.js";

const STEP = 100_000;
const NAMES = { user: "You", assistant: "Agent", reasoning: "Reasoning", error: "Error", note: "Note" };
const count = new Intl.NumberFormat("en");

export class Transcript {
  constructor(log, onDrawn) {
    Object.assign(this, { log, onDrawn, views: new Map(), changed: new Set(), due: 0 });
  }

  clear() {
    cancelAnimationFrame(this.due);
    clearTimeout(this.later);
    this.views.clear();
    this.changed.clear();
    this.due = 0;
    this.log.replaceChildren();
  }

  change(part) {
    this.changed.add(part);
    this.due ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { log } = this;
    const following = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    const begun = performance.now();
    const batch = [...this.changed];
    this.changed.clear();
    for (const part of batch) {
      if (performance.now() - begun > 30) this.changed.add(part); // the others in a later frame, so that input is not delayed
      else this.view(part).update(part);
    }
    if (following) log.scrollTop = log.scrollHeight;
    this.onDrawn();
    // A growing text is parsed again as a whole: the slower that is, the less often it is done.
    const pause = this.changed.size ? 0 : 10 * (performance.now() - begun);
    this.due = -1;
    this.later = setTimeout(() => {
      this.due = this.changed.size ? requestAnimationFrame(() => this.draw()) : 0;
    }, Math.min(pause, 2_000));
  }

  view(part) {
    let view = this.views.get(part);
    if (!view) {
      view = part.kind === "tool" ? new ToolView() : new MessageView(part.kind);
      this.views.set(part, view);
      this.log.append(view.node);
    }
    return view;
  }
}

class MessageView {
  constructor(kind) {
    this.kind = kind;
    this.body = element("div", { className: "body", dir: "auto" });
    const title = element("p", { className: "who" }, NAMES[kind]);
    this.node = element("article", { className: `part ${kind}`, "aria-label": NAMES[kind] }, title, this.body);
    if (kind === "reasoning") {
      const fold = element("details", {}, element("summary", {}, NAMES[kind]), this.body);
      this.node.replaceChildren(fold);
    }
  }

  update({ text, done }) {
    this.node.classList.toggle("growing", !done);
    if (this.kind === "assistant" && text.length <= LONGEST) {
      this.plain = null;
      this.body.replaceChildren(markdown(visible(text)));
    } else {
      this.plain ??= new PlainText(this.body);
      this.plain.update(text);
    }
  }
}

class ToolView {
  constructor() {
    this.name = element("code");
    this.state = element("span", { className: "state" });
    const args = element("div");
    const result = element("div");
    this.args = new PlainText(args);
    this.result = new PlainText(result);
    this.output = element("div", { hidden: true }, element("p", { className: "who" }, "Result"), result);
    const summary = element("summary", {}, "Tool ", this.name, " ", this.state);
    const details = element("div", {}, element("p", { className: "who" }, "Arguments"), args, this.output);
    this.node = element("article", { className: "part tool", "aria-label": "Tool call" }, element("details", {}, summary, details));
  }

  update({ name, args, result, done }) {
    this.name.textContent = visible(name.slice(0, 200)) || "?";
    this.state.textContent = done ? "done" : "running";
    this.args.update(args);
    this.output.hidden = result === null;
    this.result.update(result ?? "");
  }
}

/** A plain text. Of a long text the beginning is shown, with a button to show more. */
export class PlainText {
  constructor(parent) {
    this.limit = LONGEST;
    this.text = "";
    this.shown = element("pre", { className: "plain", tabIndex: 0, dir: "auto" });
    this.more = element("button", { type: "button", hidden: true, onclick: () => this.show(this.limit + STEP) });
    parent.replaceChildren(this.shown, this.more);
  }

  update(text) {
    const before = this.text;
    this.text = text;
    if (before.length < this.limit || !text.startsWith(before.slice(0, 100))) this.show(this.limit);
    else this.label();
  }

  show(limit) {
    this.limit = limit;
    this.shown.textContent = visible(this.text.slice(0, limit));
    this.label();
  }

  label() {
    this.more.hidden = this.text.length <= this.limit;
    if (this.more.hidden) return;
    this.more.textContent = `Show more (${count.format(this.limit)} of ${count.format(this.text.length)} characters shown)`;
  }
}
