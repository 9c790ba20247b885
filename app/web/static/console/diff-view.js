// Shows the lines of diffs and of files. Added and removed lines have a sign as well as a colour.

import { element, visible } from "./dom.js";
import { showInParts } from "./growing-list.js";
import { count } from "./words.js";

const PARTS = { first: 400, step: 2_000, noun: "lines" };
const LONGEST_LINE = 2_000;
const KINDS = { "+": "added", "-": "removed", "\\": "remark" };
const SIGNS = { added: "+", removed: "−", remark: "", same: "" };
const MOST_EDITS = 2_000; // beyond it, finding the shortest difference takes too long

const library = async () => {
  await import("../vendor/diff.js"); // only for those who look at changes
  return globalThis.Diff;
};

/** Return the parts of a patch as `{path, text}`, without those that cannot be read. */
export async function splitPatch(patch) {
  const { parsePatch } = await library();
  // Not by a regular expression: for those, a line also ends in characters that a file's own lines may contain.
  const texts = `\n${patch}`.split("\ndiff --git ").slice(1).map((text) => `diff --git ${text}`);
  const parts = [];
  for (const text of texts) {
    const end = text.indexOf("\n@@ ");
    const [header] = parsePatch(end < 0 ? text.slice(0, 20_000) : text.slice(0, end));
    const name = header.newFileName === "/dev/null" ? header.oldFileName : header.newFileName;
    parts.push({ path: name?.slice(2), text });
  }
  return parts;
}

/** Return the hunks of one file's part of a patch. */
export const hunksOf = async (part) => (await library()).parsePatch(part)[0].hunks;

/** Return the hunks between two texts; null is the text of a file that does not exist. */
export async function hunksBetween(before, after) {
  const { structuredPatch } = await library();
  const options = { context: 3, maxEditLength: MOST_EDITS };
  return structuredPatch("", "", before ?? "", after ?? "", "", "", options)?.hunks ?? replaced(before ?? "", after ?? "");
}

function replaced(before, after) {
  const lines = [...before.split("\n").map((line) => `-${line}`), ...after.split("\n").map((line) => `+${line}`)];
  return [{ oldStart: 1, newStart: 1, lines }];
}

/** Show hunks in `parent`. */
export function showHunks(parent, hunks, label) {
  const list = box("diff", label);
  parent.replaceChildren(list);
  showInParts(list, [...changedLines(hunks)], changedLine, PARTS);
}

/** Show the lines of a file in `parent`. */
export function showLines(parent, text, label) {
  const list = box("lines", label);
  parent.replaceChildren(list);
  const lines = text.replace(/\n$/, "").split("\n").map((line, index) => ({ line, number: index + 1 }));
  showInParts(list, lines, ({ line, number }) => element("div", { className: "line" }, numberOf(number), code(line)), PARTS);
}

const box = (className, label) => element("div", { className, role: "group", "aria-label": label, tabIndex: 0, dir: "ltr" });

/** Yield `{kind, text, before, after}` for each line; `before` and `after` are its numbers, 0 where it has none. */
function* changedLines(hunks) {
  for (const [index, hunk] of hunks.entries()) {
    if (index) yield { kind: "gap" };
    let before = hunk.oldStart;
    let after = hunk.newStart;
    for (const line of hunk.lines) {
      const kind = KINDS[line[0]] ?? "same";
      const inBefore = kind === "same" || kind === "removed";
      const inAfter = kind === "same" || kind === "added";
      yield { kind, text: line.slice(kind === "remark" ? 2 : 1), before: inBefore ? before++ : 0, after: inAfter ? after++ : 0 };
    }
  }
}

function changedLine({ kind, text, before, after }) {
  if (kind === "gap") return element("div", { className: "gap" }, "⋯");
  const sign = element("span", { className: "sign" }, SIGNS[kind]);
  return element("div", { className: `line ${kind}` }, numberOf(before), numberOf(after), sign, code(text));
}

/** Return a line's number. It is drawn by the style sheet, so that copied lines have none. */
const numberOf = (number) => element("span", { className: "number", "data-number": number || "" });

function code(text) {
  const rest = text.length - LONGEST_LINE;
  const shown = visible(rest > 0 ? text.slice(0, LONGEST_LINE) : text);
  return element("code", {}, shown, rest > 0 && element("i", {}, ` … ${count(rest)} more characters`));
}
