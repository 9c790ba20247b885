// The changes in a session's workspace since its beginning, file by file.

import { call, open } from "./api.js";
import { hunksOf, showHunks, splitPatch } from "./diff-view.js";
import { button, byId, element, visible } from "./dom.js";
import { baseName, download } from "./download.js";
import { showInParts } from "./growing-list.js";
import { can } from "./identity.js";
import { PushDialog } from "./push.js";
import { nameOf } from "./session-facts.js";
import { count, many } from "./words.js";

const MOST_TEXT = 16_000_000; // characters of a patch that are shown
const PARTS = { first: 200, step: 500, noun: "files" };
const OPENED_LINES = 300; // so many changed lines are shown without a click

export class Changes {
  /** `onView` is called with a file to show. */
  constructor(onProblem, onView) {
    Object.assign(this, { onProblem, onView, requests: 0 });
    this.push = new PushDialog();
    byId("changes-refresh").addEventListener("click", () => this.refresh());
    byId("push").addEventListener("click", () => this.push.open(this.session));
    byId("patch").addEventListener("click", () => this.save());
  }

  open(session) {
    this.session = session;
    const obstacle = !can("push_workspace") ? "This server cannot push." : session.repos?.length || session.workspace ? "" : "The session has no repository.";
    byId("push").disabled = Boolean(obstacle);
    byId("push").title = obstacle;
    return this.refresh();
  }

  close() {
    this.requests += 1;
    byId("changed-files").replaceChildren();
    this.say("");
  }

  runEnded() {
    this.refresh({ quiet: true });
  }

  async refresh({ quiet = false } = {}) {
    this.requests += 1;
    const { requests, session } = this;
    if (!byId("changed-files").firstChild) this.say("Comparing with the beginning…", "busy");
    byId("panel-changes").setAttribute("aria-busy", "true");
    try {
      const path = `/v1/sessions/${session.id}/workspace`;
      const diff = await call("GET", `${path}/diff`, { quiet });
      const patch = diff.file_count ? await beginning(`${path}/patch`, { state: diff.state }) : "";
      const parts = await partsByPath(patch);
      if (requests === this.requests) this.draw(diff, parts, patch.length > MOST_TEXT);
    } catch (error) {
      if (requests !== this.requests) return;
      byId("changed-files").replaceChildren();
      this.say(error.message, "failure");
    } finally {
      if (requests === this.requests) byId("panel-changes").setAttribute("aria-busy", "false");
    }
  }

  say(sentence, kind = "") {
    byId("changes-message").textContent = sentence;
    byId("changes-message").className = `message ${kind}`;
    byId("changes-message").hidden = !sentence;
  }

  draw(diff, parts, isCut) {
    const opened = new Set([...byId("changed-files").querySelectorAll("details[open]")].map((each) => each.dataset.path));
    const drawn = byId("changed-files").firstChild !== null;
    byId("patch").disabled = !diff.file_count;
    byId("changes-summary").replaceChildren(...summary(diff));
    this.say(diff.file_count ? "" : "No changes yet. What the agent adds, changes or deletes in its workspace appears here.", "empty");
    let lines = 0;
    const files = diff.files.map((file) => {
      lines += (file.additions ?? 0) + (file.deletions ?? 0);
      return { ...file, parts, isCut, isOpen: drawn ? opened.has(file.path) : lines <= OPENED_LINES };
    });
    byId("changed-files").replaceChildren();
    for (const [directory, group] of byRepository(files, this.session.repos)) {
      const list = element("div", { className: "group" });
      const heading = directory && element("h3", {}, visible(directory));
      byId("changed-files").append(element("section", {}, heading, list));
      showInParts(list, group, (file) => this.file(file), PARTS);
    }
    if (diff.truncated) byId("changed-files").append(element("p", { className: "hint" }, `The first ${many(diff.files.length, "file")} are listed. The patch has all of them.`));
  }

  file(file) {
    const body = element("div");
    const fold = element("details", { open: file.isOpen, "data-path": file.path }, heading(file), body);
    const view = button("View", () => this.onView(file), { className: "quiet small view", "aria-label": `View ${file.path}` });
    fold.addEventListener("toggle", () => fold.open && !body.firstChild && this.fill(body, file));
    return element("div", { className: "file" }, fold, file.status !== "deleted" && view);
  }

  /** Show how a file differs. */
  async fill(body, file) {
    const lines = element("div");
    const facts = element("p", { className: "remarks" }, remarks(file));
    body.append(facts, lines);
    if (file.binary || !(file.additions || file.deletions)) return;
    try {
      const part = file.parts.get(file.path)?.shift();
      if (part) showHunks(lines, await hunksOf(part), `Changes of ${file.path}`);
      else facts.prepend(file.isCut ? "The patch is too long to be shown here as a whole: download it." : "Its lines are not in the patch: refresh.");
    } catch {
      facts.prepend("These changes cannot be shown: download the patch.");
    }
  }

  async save() {
    try {
      await download(`/v1/sessions/${this.session.id}/workspace/patch`, { name: `${baseName(nameOf(this.session))}.patch` });
    } catch (error) {
      this.onProblem(error);
    }
  }
}

/** Return the text of a response, of a long one a little more than what is shown. */
async function beginning(path, query) {
  const response = await open("GET", path, { query, quiet: true });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const chunks = [];
  for (let length = 0; length <= MOST_TEXT; ) {
    const { done, value } = await reader.read();
    if (done) return chunks.join("");
    chunks.push(value);
    length += value.length;
  }
  reader.cancel();
  return chunks.join("");
}

/** Return the parts of a patch by path: more than one if names that are no text look alike. */
async function partsByPath(patch) {
  const parts = await splitPatch(patch.slice(0, MOST_TEXT));
  if (patch.length > MOST_TEXT) parts.pop(); // it may be incomplete
  const found = new Map();
  for (const { path, text } of parts) {
    if (found.has(path)) found.get(path).push(text);
    else found.set(path, [text]);
  }
  return found;
}

/** Return the files by the directory of their repository, or all of them without a heading if there is only one. */
function byRepository(files, repos) {
  if ((repos?.length ?? 0) < 2) return [["", files]];
  const groups = new Map();
  for (const file of files) {
    const directory = file.path.includes("/") ? file.path.slice(0, file.path.indexOf("/")) : "";
    if (groups.has(directory)) groups.get(directory).push(file);
    else groups.set(directory, [file]);
  }
  return [...groups].sort(([one], [other]) => one.localeCompare(other));
}

function summary({ file_count: files, additions, deletions }) {
  return files ? [`${many(files, "file")} changed `, ...counts({ additions, deletions })] : [];
}

function counts({ additions, deletions }) {
  const added = { className: "added", role: "img", "aria-label": `${many(additions ?? 0, "line")} added` };
  const removed = { className: "removed", role: "img", "aria-label": `${many(deletions ?? 0, "line")} removed` };
  return [additions && element("span", added, `+${count(additions)}`), " ", deletions && element("span", removed, `−${count(deletions)}`)].filter(Boolean);
}

function heading(file) {
  const { path, old_path: old, status } = file;
  const name = baseName(path);
  const shown = element("bdi", { className: "path" }, element("span", { className: "directory" }, visible(path.slice(0, path.length - name.length))), visible(name));
  const from = old && element("span", { className: "hint" }, " from ", element("bdi", {}, visible(old)));
  return element("summary", {}, element("span", { className: `change ${status}` }, status), shown, from, element("span", { className: "counts" }, ...counts(file)));
}

/** Return what is to be said about a file beside its lines. */
function remarks({ status, binary, too_large: large, mode, old_mode: old, additions, deletions }) {
  const isEmpty = !binary && !additions && !deletions;
  const sentences = [
    large && "The file is too large to be compared.",
    binary && !large && "The file is binary.",
    old && `The mode was ${old} and is ${mode}.`,
    isEmpty && status === "renamed" && "The contents are the same.",
    isEmpty && status === "added" && "The file is empty.",
    isEmpty && status === "deleted" && "The file was empty.",
  ];
  return sentences.filter(Boolean).join(" ");
}
