// Single-key shortcuts, which the user can switch off.

import { byId } from "./dom.js";

const OFF = "ambient-console-no-shortcuts";

/** Call the action of a key, except in fields, in dialogs, and if the user has switched shortcuts off. */
export function listen(actions) {
  const enabled = byId("shortcuts");
  enabled.checked = localStorage.getItem(OFF) === null;
  enabled.addEventListener("change", () => {
    if (enabled.checked) localStorage.removeItem(OFF);
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
    if (!enabled.checked || !Object.hasOwn(actions, key)) return;
    event.preventDefault();
    actions[key]();
  });
}
