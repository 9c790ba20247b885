// The console: connects its parts and navigates between them.

import { call, onCommand, read } from "./api.js";
import { announce, byId, notice } from "./dom.js";
import { forget, store, stored, storeFromAddress } from "./key.js";
import { SessionView } from "./session.js";
import { SessionList } from "./sessions.js";
import { listen } from "./shortcuts.js";

const list = new SessionList(problem);
const view = new SessionView({
  onProblem: problem,
  onChange: () => list.refresh(),
  onGone: () => {
    go("");
    list.refresh();
  },
});

function problem(error) {
  if (error.status === 401) signOut();
  notice(error.message);
}

const opened = () => /^#\/sessions\/([a-z0-9-]{1,63})$/.exec(location.hash)?.[1] ?? "";

function go(id) {
  location.hash = id ? `#/sessions/${id}` : "#/";
}

function route() {
  if (!stored()) return;
  const id = opened();
  document.body.classList.toggle("opened", Boolean(id));
  list.mark(id);
  if (id === view.id) return;
  if (id) view.open(id);
  else view.close();
  byId("choose").hidden = Boolean(id);
  if (id) byId("title").focus();
}

/** Hide the controls that the key's role does not permit. On a platform the role is not known, and all are shown. */
async function showPermitted() {
  try {
    document.body.dataset.role = (await read("/v1/whoami")).role ?? "";
  } catch {
    delete document.body.dataset.role; // the server still refuses what is not permitted
  }
}

function signIn() {
  showPermitted();
  byId("sign-in").hidden = true;
  byId("console").hidden = false;
  byId("forget").hidden = false;
  list.start();
  route();
}

function signOut() {
  delete document.body.dataset.role;
  forget();
  view.close();
  list.stop();
  byId("command").textContent = "";
  byId("last").hidden = true;
  byId("console").hidden = true;
  byId("forget").hidden = true;
  byId("sign-in").hidden = false;
  byId("key").focus();
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = byId("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) return notice("A key consists of letters, digits and punctuation, without spaces.");
  store({ key, project: byId("project").value.trim() }, byId("remember").checked);
  try {
    await read("/v1/sessions", { query: { limit: 1 } });
  } catch (error) {
    forget();
    return notice(error.message);
  }
  byId("key").value = "";
  notice("");
  signIn();
  byId("new").focus();
});

byId("forget").addEventListener("click", () => {
  notice("");
  signOut();
});

byId("new-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const value = (id) => byId(id).value.trim();
  const body = { task: byId("task").value };
  if (value("name")) body.display_name = value("name");
  if (value("model")) body.model = value("model");
  if (value("repo")) body.repos = [{ url: value("repo"), ...(value("branch") && { branch: value("branch") }) }];
  byId("create").disabled = true;
  try {
    const session = await call("POST", "/v1/sessions", { body });
    byId("new-dialog").close();
    byId("new-form").reset();
    notice("");
    announce("Session created.");
    list.first();
    go(session.id);
  } catch (error) {
    byId("new-problem").textContent = error.message;
  } finally {
    byId("create").disabled = false;
  }
});

function compose() {
  if (document.body.dataset.role === "view") return notice("The key's role does not permit new sessions.");
  byId("new-problem").textContent = "";
  byId("new-dialog").showModal();
}

byId("new").addEventListener("click", compose);
byId("help").addEventListener("click", () => byId("help-dialog").showModal());
for (const button of document.querySelectorAll("dialog .close")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
byId("notice-close").addEventListener("click", () => notice(""));

onCommand((command) => {
  byId("command").textContent = command;
  byId("last").hidden = false;
});

async function copy() {
  try {
    await navigator.clipboard.writeText(byId("command").textContent);
    announce("Copied.");
  } catch {
    getSelection().selectAllChildren(byId("command")); // without TLS a page has no clipboard
    announce("The command is selected.");
  }
}

byId("copy").addEventListener("click", copy);
window.addEventListener("hashchange", () => {
  if (!storeFromAddress()) return route();
  notice("");
  signIn();
});

listen({
  "/": () => byId("search").focus(),
  n: compose,
  j: () => list.neighbour(1) && go(list.neighbour(1)),
  k: () => list.neighbour(-1) && go(list.neighbour(-1)),
  m: () => byId("message").focus(),
  i: () => view.id && view.act("interrupt"),
  c: () => byId("last").hidden || copy(),
  "?": () => byId("help-dialog").showModal(),
  Escape: () => go(""),
});

if (storeFromAddress() || stored()) signIn();
else byId("key").focus();
