// Single keys as shortcuts, for those who want them.

import { byId } from "./dom.js";

const OFF = "ambient-console-no-shortcuts";

/** Calls the action of a key, except in fields, in dialogs and where the user has switched them off. */
export function listen(actions) {
  const wanted = byId("shortcuts");
  wanted.checked = localStorage.getItem(OFF) === null;
  wanted.addEventListener("change", () => {
    if (wanted.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "");
  });
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || byId("console").hidden) return;
    if (document.querySelector("dialog[open]")) return;
    if (target.closest("input, textarea, select")) {
      if (key === "Escape") target.blur();
      return;
    }
    if (!wanted.checked || !Object.hasOwn(actions, key)) return;
    event.preventDefault();
    actions[key]();
  });
}
