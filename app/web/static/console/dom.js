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
  node.append(...children);
  return node;
}

/** Return `text` without invisible characters: control characters become symbols, direction marks become �. */
export function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (mark) => (mark === "\r" ? "" : String.fromCharCode(0x2400 + mark.charCodeAt(0))))
    .replace(/\u007f/g, "\u2421")
    .replace(/[\u0080-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** Show a sentence as an alert; an empty one hides the alert. */
export function notice(sentence) {
  byId("notice-text").textContent = sentence;
  byId("notice").hidden = !sentence;
}

/** Announce a sentence to users of screen readers. */
export function announce(sentence) {
  byId("announcement").textContent = sentence;
}
