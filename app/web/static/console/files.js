// The files of a session's workspace: directories as they are opened, and one file at a time.

import { open, read } from "./api.js";
import { showLines } from "./diff-view.js";
import { byId, confirm, element, visible } from "./dom.js";
import { baseName, download, named } from "./download.js";
import { showInParts } from "./growing-list.js";
import { can, mayEdit } from "./identity.js";
import { nameOf } from "./session-facts.js";
import { listen, upload } from "./uploads.js";
import { bytes } from "./words.js";

const PARTS = { first: 200, step: 1_000, noun: "entries" };
const MOST_BYTES = 1_000_000; // of a file that is shown

export class Files {
  constructor(onProblem) {
    Object.assign(this, { onProblem, requests: 0 });
    byId("files-refresh").addEventListener("click", () => this.refresh());
    byId("file-close").addEventListener("click", () => this.closeFile());
    byId("file-download").addEventListener("click", () => this.save("file", named(this.file), baseName(this.file.path)));
    for (const format of ["zip", "tar.gz"]) {
      byId(`archive-${format}`).addEventListener("click", () => this.save("archive", { format }, `${baseName(nameOf(this.session))}.${format}`));
    }
    listen({ area: "panel-files", button: "upload", input: "upload-input", onFiles: (files) => this.upload(files) });
  }

  open(session) {
    this.session = session;
    byId("upload").disabled = !can("write_workspace_file") || !mayEdit();
    byId("archives").hidden = !can("get_workspace_archive");
    this.closeFile();
    this.refresh();
    if (this.next) this.view(this.next);
    this.next = null;
  }

  /** Show a file once the files are opened. */
  viewNext(file) {
    this.next = file;
  }

  close() {
    this.requests += 1;
    byId("file-tree").replaceChildren();
    this.closeFile();
  }

  runEnded() {
    this.refresh();
  }

  /** Read the tree again; directories that are open stay open. */
  async refresh() {
    this.requests += 1;
    const tree = element("div");
    if (!byId("file-tree").firstChild) byId("file-tree").replaceChildren(element("p", { className: "message busy" }, "Reading the files…"));
    await this.list(tree, { path: "" }, this.requests);
  }

  /** Show the entries of a directory in `parent`. */
  async list(parent, directory, requests = this.requests) {
    try {
      const path = `/v1/sessions/${this.session.id}/workspace/files`;
      const { items, truncated } = await read(path, { query: { ...named(directory), depth: 1 } });
      if (requests !== this.requests) return;
      const opened = new Set([...byId("file-tree").querySelectorAll("details[open]")].map((each) => each.dataset.path));
      if (!directory.path) byId("file-tree").replaceChildren(parent);
      items.sort(byTypeAndName);
      const list = element("ul", {});
      parent.replaceChildren(list);
      showInParts(list, items, (entry) => element("li", {}, this.entry(entry, opened)), PARTS);
      if (truncated) parent.append(element("p", { className: "hint" }, "There are more entries, which are not listed."));
      if (!items.length) list.replaceWith(element("p", { className: directory.path ? "hint" : "message empty" }, directory.path ? "empty" : "The workspace is empty."));
    } catch (error) {
      if (requests !== this.requests) return;
      if (!directory.path) byId("file-tree").replaceChildren(parent);
      parent.replaceChildren(element("p", { className: "message failure" }, error.message));
    }
  }

  entry(entry, opened) {
    const name = element("bdi", {}, visible(baseName(entry.path)));
    if (entry.type === "directory") {
      const content = element("div");
      const fold = element("details", { "data-path": entry.path }, element("summary", {}, name), content);
      fold.addEventListener("toggle", () => fold.open && !content.firstChild && this.list(content, entry));
      fold.open = opened.has(entry.path);
      return fold;
    }
    const size = element("span", { className: "size" }, entry.size === undefined ? entry.type : bytes(entry.size));
    const isReadable = ["file", "link"].includes(entry.type);
    return element("button", { type: "button", className: "entry", disabled: !isReadable, onclick: () => this.view(entry) }, name, size);
  }

  /** Show a file beside the tree. */
  async view(entry) {
    this.file = entry;
    byId("panel-files").classList.add("viewing");
    byId("file").hidden = false;
    byId("file-path").replaceChildren(element("bdi", {}, visible(entry.path)));
    byId("file-facts").textContent = "Reading…";
    byId("file-content").replaceChildren();
    byId("file-path").focus();
    try {
      const { text, size } = await this.readText(entry);
      if (entry !== this.file) return;
      const isCut = size > MOST_BYTES;
      byId("file-facts").textContent = [bytes(size), entry.media_type, isCut && `the first ${bytes(MOST_BYTES)} are shown`].filter(Boolean).join(" · ");
      if (text === null) byId("file-content").replaceChildren(element("p", { className: "message empty" }, "This file is no text. Download it to open it."));
      else if (!text) byId("file-content").replaceChildren(element("p", { className: "message empty" }, "The file is empty."));
      else showLines(byId("file-content"), text, `Contents of ${entry.path}`);
    } catch (error) {
      if (entry !== this.file) return;
      byId("file-facts").textContent = "";
      byId("file-content").replaceChildren(element("p", { className: "message failure" }, error.message));
    }
  }

  /** Return the beginning of a file, null if it is no text, and the size of the file. */
  async readText(entry) {
    if (entry.size === 0) return { text: "", size: 0 };
    const headers = { Range: `bytes=0-${MOST_BYTES - 1}` };
    const response = await open("GET", `/v1/sessions/${this.session.id}/workspace/file`, { query: named(entry), headers });
    const content = new Uint8Array(await response.arrayBuffer());
    const size = Number(response.headers.get("Content-Range")?.split("/")[1] ?? content.length);
    if (content.includes(0)) return { text: null, size };
    try {
      return { text: new TextDecoder("utf-8", { fatal: true }).decode(content, { stream: size > content.length }), size };
    } catch {
      return { text: null, size };
    }
  }

  closeFile() {
    this.file = null;
    byId("panel-files").classList.remove("viewing");
    byId("file").hidden = true;
  }

  async upload(files) {
    confirm("Uploading…");
    try {
      const paths = await upload(this.session.id, files);
      confirm(`Uploaded ${paths.join(", ").slice(0, 200)}.`);
    } catch (error) {
      this.onProblem(error);
    }
    this.refresh();
  }

  async save(kind, query, name) {
    try {
      await download(`/v1/sessions/${this.session.id}/workspace/${kind}`, { query, name });
    } catch (error) {
      this.onProblem(error);
    }
  }
}

const names = new Intl.Collator("en", { numeric: true });

/** Compare entries: directories come first, numbers in names count as numbers. */
function byTypeAndName(one, other) {
  const order = (other.type === "directory") - (one.type === "directory");
  return order || names.compare(one.path, other.path);
}
