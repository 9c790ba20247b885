// The console: connects its parts and navigates between them.

import { onCommand, read, UNREACHABLE } from "./api.js";
import { byId, confirm, followDirection, notice } from "./dom.js";
import { identify } from "./identity.js";
import { forget, store, stored, storeFromAddress } from "./key.js";
import { NewSession } from "./new-session.js";
import { SessionView } from "./session.js";
import { SessionList } from "./sessions.js";
import { listen } from "./shortcuts.js";

const TITLE = document.title;
const list = new SessionList({
  onProblem: problem,
  onRead: () => byId("notice-text").textContent === UNREACHABLE && notice(""),
});
const view = new SessionView({
  onProblem: problem,
  onChange: () => list.refresh(),
  onTab: (tab) => location.replace(address(view.id, tab)),
  onGone: () => {
    go("");
    list.refresh();
  },
});
const dialog = new NewSession((session) => {
  list.first();
  go(session.id);
});

function problem(error) {
  if (error.status === 401) signOut();
  notice(error.message);
}

/** Return the session and the tab that the address names. */
function opened() {
  const [, id = "", tab = "conversation"] = /^#\/sessions\/([a-z0-9-]{1,63})(?:\/(changes|files|log))?$/.exec(location.hash) ?? [];
  return { id, tab };
}

const address = (id, tab = "conversation") => (id ? `#/sessions/${id}${tab === "conversation" ? "" : `/${tab}`}` : "#/");

function go(id) {
  location.hash = address(id);
}

function route() {
  if (!stored()) return;
  const { id, tab } = opened();
  const isOther = id !== view.id;
  document.body.classList.toggle("opened", Boolean(id));
  list.mark(id);
  byId("choose").hidden = Boolean(id);
  if (isOther && id) view.open(id);
  else if (isOther) view.close();
  if (id) view.show(tab);
  else document.title = TITLE;
  if (isOther && id) byId("title").focus();
}

async function signIn() {
  byId("sign-in").hidden = true;
  const identity = await identify();
  if (!stored()) return;
  document.body.dataset.role = identity?.role ?? ""; // hides the controls that the role does not permit
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
  document.title = TITLE;
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
  await signIn();
  byId("new").focus();
});

byId("forget").addEventListener("click", () => {
  notice("");
  signOut();
});

for (const name of ["new", "new-first"]) byId(name).addEventListener("click", () => dialog.open());
byId("help").addEventListener("click", () => byId("help-dialog").showModal());
for (const box of document.querySelectorAll("textarea")) followDirection(box);
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
    confirm("Copied.");
  } catch {
    getSelection().selectAllChildren(byId("command")); // without TLS a page has no clipboard
    confirm("The command is selected.");
  }
}

byId("copy").addEventListener("click", copy);
window.addEventListener("hashchange", () => {
  if (!storeFromAddress()) return route();
  notice("");
  signIn();
});

const neighbour = (step) => list.neighbour(step) && go(list.neighbour(step));

listen({
  "/": () => byId("search").focus(),
  n: () => dialog.open(),
  j: () => neighbour(1),
  k: () => neighbour(-1),
  m: () => view.focusMessage(),
  a: () => view.focusApproval(),
  i: () => view.id && view.act("interrupt"),
  c: () => byId("last").hidden || copy(),
  "?": () => byId("help-dialog").showModal(),
  Escape: () => go(""),
});

if (storeFromAddress() || stored()) signIn();
else byId("key").focus();
