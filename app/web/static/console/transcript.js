// Draws the parts of a conversation: once per animation frame, and only as much of a long text as the reader asks for.

import { element, oneLine, visible } from "./dom.js";
import { LONGEST, markdown } from "./markdown.js";
import { PlainText } from "./plain-text.js";
import { ToolView } from "./tool-view.js";
import { timeOfDay } from "./words.js";

const NAMES = { user: "You", assistant: "Agent", reasoning: "Reasoning", error: "Error", note: "Note", decision: "Decision" };
const NEAR = 80; // pixels from the end at which a reader still follows it

export class Transcript {
  constructor(log, { onDrawn, onFollowing }) {
    Object.assign(this, { log, onDrawn, onFollowing, views: new Map(), changed: new Set(), due: 0, following: true, top: 0 });
    log.addEventListener("scroll", () => this.scrolled());
    new ResizeObserver(() => this.following && this.toEnd()).observe(log);
  }

  clear() {
    cancelAnimationFrame(this.due);
    clearTimeout(this.later);
    this.views.clear();
    this.changed.clear();
    this.due = 0;
    this.log.replaceChildren();
    this.follow(true);
  }

  change(part) {
    this.changed.add(part);
    this.due ||= requestAnimationFrame(() => this.draw());
  }

  /** Show the end, and keep showing it while the conversation grows. */
  toEnd() {
    this.follow(true);
    this.log.scrollTop = this.log.scrollHeight;
    this.top = this.log.scrollTop;
  }

  /** Stop following when the reader scrolls up, not when the log gets smaller; follow again at the end. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.follow(true);
    else if (scrollTop < this.top) this.follow(false);
    this.top = scrollTop;
  }

  follow(following) {
    if (following !== this.following) this.onFollowing(following);
    this.following = following;
  }

  draw() {
    const { following } = this;
    const begun = performance.now();
    const batch = [...this.changed];
    this.changed.clear();
    for (const part of batch) {
      if (performance.now() - begun > 30) this.changed.add(part); // the others in a later frame, so that input is not delayed
      else this.view(part).update(part);
    }
    if (following) this.toEnd();
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
      view = part.kind === "tool" ? new ToolView() : part.kind === "decision" ? new DecisionView() : new MessageView(part);
      this.views.set(part, view);
      this.log.append(view.node);
    }
    return view;
  }
}

class MessageView {
  constructor({ kind, at }) {
    this.kind = kind;
    this.body = element("div", { className: "body", dir: "auto" });
    const time = at && element("time", { dateTime: new Date(at).toISOString() }, timeOfDay(at));
    const title = element("p", { className: "who" }, NAMES[kind], time);
    this.node = element("article", { className: `part ${kind}`, "aria-label": NAMES[kind] }, title, this.body);
    if (kind === "reasoning") {
      const fold = element("details", {}, element("summary", {}, NAMES[kind]), this.body);
      this.node.replaceChildren(fold);
    }
  }

  update({ text, files, done }) {
    this.node.classList.toggle("growing", !done);
    if (files.length && !this.files) this.node.append((this.files = element("ul", { className: "attached", "aria-label": "Attachments" })));
    this.files?.replaceChildren(...files.map((name) => element("li", {}, element("bdi", {}, oneLine(name, 200)))));
    if (this.kind === "assistant" && text.length <= LONGEST) {
      this.plain = null;
      this.body.replaceChildren(markdown(visible(text)));
    } else {
      this.plain ??= new PlainText(this.body);
      this.plain.update(text);
    }
  }
}

/** The trace of an approval: who reads the conversation later sees what was permitted. */
class DecisionView {
  constructor() {
    this.node = element("p", { className: "part decision" });
  }

  update({ text, allowed }) {
    this.node.classList.add(allowed ? "allowed" : "denied");
    this.node.replaceChildren(element("bdi", {}, visible(text)));
  }
}
