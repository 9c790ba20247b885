// A long list that is shown in parts, with a button for the next one.

import { button } from "./dom.js";
import { count } from "./words.js";

/** Show the first items in `list` and a button for more behind it; `render` returns the element of an item. */
export function showInParts(list, items, render, { first, step, noun }) {
  const more = button("", () => show(step), { className: "quiet more" });
  let shown = 0;

  function show(number) {
    list.append(...items.slice(shown, shown + number).map(render));
    shown = Math.min(shown + number, items.length);
    more.hidden = shown >= items.length;
    more.textContent = `Show more (${count(shown)} of ${count(items.length)} ${noun} shown)`;
  }

  show(first);
  list.after(more);
}
