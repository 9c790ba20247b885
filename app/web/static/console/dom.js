// Making and finding elements; text always goes in as text.

export const byId = (id) => document.getElementById(id);

/** A new element; `on…` properties are listeners, `aria-…`, `data-…` and `role` attributes, the rest properties. */
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

/** Keeps what a reader cannot see from doing anything: control characters become pictures, direction marks a �. */
export function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (mark) => (mark === "\r" ? "" : String.fromCharCode(0x2400 + mark.charCodeAt(0))))
    .replace(/\u007f/g, "\u2421")
    .replace(/[\u0080-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** Puts a sentence where everybody notices it; an empty one takes the last away. */
export function notice(sentence) {
  byId("notice-text").textContent = sentence;
  byId("notice").hidden = !sentence;
}

/** Tells people who listen to the page. */
export function say(sentence) {
  byId("said").textContent = sentence;
}
