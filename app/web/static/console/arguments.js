// The arguments of a tool call: by their names, with texts as they are instead of in JSON.

import { element, visible } from "./dom.js";
import { PlainText } from "./plain-text.js";

const MOST = 50;

/** Return the value of arguments in JSON, or the text itself while it is incomplete or something else. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Return the first argument that says what a call is about, as text; empty if there is none. */
export function firstArgument(value) {
  if (typeof value === "string") return value;
  const found = value && typeof value === "object" ? Object.values(value).find((each) => ["string", "number"].includes(typeof each)) : "";
  return String(found ?? "");
}

/** Show a value in `parent`: an object with an entry for each member, anything else as text. */
export function showArguments(parent, value) {
  const isObject = value && typeof value === "object" && !Array.isArray(value);
  const entries = isObject ? Object.entries(value) : [];
  if (!entries.length || entries.length > MOST) return new PlainText(parent, { dir: "ltr" }).update(inFull(value));
  const rows = entries.map(([name, each]) => {
    const shown = element("dd");
    new PlainText(shown, { dir: "ltr" }).update(inFull(each));
    return element("div", {}, element("dt", {}, visible(name)), shown);
  });
  parent.replaceChildren(element("dl", { className: "arguments" }, ...rows));
}

const inFull = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "");
