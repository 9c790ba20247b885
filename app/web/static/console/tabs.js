// The tabs of a session: what of it is shown. Arrow keys move between them.

import { byId } from "./dom.js";

export const TABS = ["conversation", "changes", "files", "log"];

export class Tabs {
  constructor(onChoice) {
    this.buttons = TABS.map((name) => byId(`tab-${name}`));
    for (const [index, button] of this.buttons.entries()) {
      button.addEventListener("click", () => onChoice(TABS[index]));
      button.addEventListener("keydown", (event) => this.move(event, index));
    }
  }

  /** Show the panel of a tab. */
  select(name) {
    for (const [index, button] of this.buttons.entries()) {
      const selected = TABS[index] === name;
      button.setAttribute("aria-selected", String(selected));
      button.tabIndex = selected ? 0 : -1;
      byId(`panel-${TABS[index]}`).hidden = !selected;
    }
  }

  /** Enable the tab if the server has its operation. */
  enable(name, possible) {
    const button = byId(`tab-${name}`);
    button.disabled = !possible;
    button.title = possible ? "" : "This server cannot do that.";
  }

  move(event, index) {
    const enabled = this.buttons.filter((button) => !button.disabled);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = enabled.at((enabled.indexOf(this.buttons[index]) + step) % enabled.length);
    next.focus();
    next.click();
  }
}
