// Creating and finding elements. Text is always inserted as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** Create an element. `on…` are listeners; `aria-…`, `data-…` and `role` are attributes; all others are properties. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Create a button. */
export const button = (text, onclick, properties = {}) => element("button", { type: "button", onclick, ...properties }, text);

/** Return `text` without invisible characters: control characters become symbols, direction marks become �. */
export function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (mark) => (mark === "\r" ? "" : String.fromCharCode(0x2400 + mark.charCodeAt(0))))
    .replace(/\u007f/g, "\u2421")
    .replace(/[\u0080-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** Return `text` in one line of at most `length` characters. */
export function oneLine(text, length) {
  const line = visible(text.slice(0, 4 * length)).replace(/\s+/g, " ").trim();
  const characters = [...line.slice(0, 2 * length)];
  return characters.length > length || text.length > 4 * length ? `${characters.slice(0, length).join("")}…` : line;
}

const RIGHT_TO_LEFT = /^[^\p{L}]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u;

/** Let the direction of a text area follow its text. `dir="auto"` does so too, but takes seconds for a long text. */
export function followDirection(box) {
  const set = () => (box.dir = RIGHT_TO_LEFT.test(box.value.slice(0, 500)) ? "rtl" : "ltr");
  box.addEventListener("input", set);
  set();
}

/** Show a sentence as an alert; an empty one hides the alert. */
export function notice(sentence) {
  byId("notice-text").textContent = sentence;
  byId("notice").hidden = !sentence;
}

/** Tell a sentence to users of screen readers. */
export function announce(sentence) {
  byId("announcement").textContent = sentence;
}

let hiding = 0;

/** Confirm what the user has done, for a few seconds and to screen readers. */
export function confirm(sentence) {
  announce(sentence);
  byId("toast").textContent = sentence;
  byId("toast").hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (byId("toast").hidden = true), 5_000);
}
