// A plain text. Of a long text the beginning is shown, with a button to show more.

import { button, element, visible } from "./dom.js";
import { LONGEST } from "./markdown.js";
import { count } from "./words.js";

const STEP = 100_000;

export class PlainText {
  constructor(parent, { dir = "auto" } = {}) {
    this.limit = LONGEST;
    this.text = "";
    this.shown = element("pre", { className: "plain", tabIndex: 0, dir });
    this.more = button("", () => this.show(this.limit + STEP), { hidden: true, className: "quiet" });
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
    this.more.textContent = `Show more (${count(this.limit)} of ${count(this.text.length)} characters shown)`;
  }
}
