// Renders Markdown as elements. HTML in it stays text, and the result is sanitized.

import { marked } from "../vendor/marked.js";
import DOMPurify from "../vendor/purify.js";

/** Longer texts are shown as plain text: parsing some Markdown takes more than linear time. */
export const LONGEST = 20_000;

const SHORT = 40; // characters of a table's cell that stay in one line

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => text.replace(/[&<>"']/g, (mark) => ESCAPES[mark]);

marked.use({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ raw }) => escaped(raw),
    // Loading an image would tell its server that the message was read, and send it any data in the URL.
    image: ({ href, text }) => escaped(text ? `${text} (${href})` : href),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."p br hr strong em del code pre blockquote ul ol li a h1 h2 h3 h4 h5 h6".split(" "),
    ..."table thead tbody tr th td".split(" "),
  ],
  ALLOWED_ATTR: ["href", "start", "align"],
  ADD_URI_SAFE_ATTR: ["start", "align"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  RETURN_DOM_FRAGMENT: true,
};

/** Return the elements of a Markdown text, or the text itself if it cannot be parsed. */
export function markdown(text) {
  try {
    const fragment = DOMPurify.sanitize(marked.parse(text), ALLOWED);
    for (const link of fragment.querySelectorAll("a")) Object.assign(link, { rel: "noopener noreferrer", target: "_blank" });
    for (const wide of fragment.querySelectorAll("pre, table")) wide.tabIndex = 0; // to scroll it by keyboard
    for (const cell of fragment.querySelectorAll("th, td")) cell.classList.toggle("short", cell.textContent.length <= SHORT);
    for (const heading of fragment.querySelectorAll("h1, h2, h3, h4, h5, h6")) heading.replaceWith(demoted(heading));
    return fragment;
  } catch {
    return document.createTextNode(text); // too deeply nested
  }
}

/** Return a heading as a paragraph, so that the agent's headings do not mix with those of the page. */
function demoted(heading) {
  const lower = document.createElement("p");
  lower.className = "heading-text";
  lower.append(...heading.childNodes);
  return lower;
}
