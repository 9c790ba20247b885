// Pushes the work of a session to a branch of its repository.

import { call } from "./api.js";
import { byId, confirm, element, visible } from "./dom.js";
import { nameOf } from "./session-facts.js";

export class PushDialog {
  constructor() {
    byId("push-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.push();
    });
  }

  open(session) {
    this.session = session;
    const directories = directoriesOf(session.repos ?? []);
    byId("push-repo").replaceChildren(...directories.map((name) => element("option", { value: name }, visible(name))));
    byId("push-repo-field").hidden = directories.length < 2;
    byId("push-branch").value = `ambient/${slug(nameOf(session)) || session.id}`;
    byId("push-message").value = "";
    byId("push-problem").textContent = "";
    byId("push-dialog").showModal();
  }

  async push() {
    const { id } = this.session;
    const value = (name) => byId(name).value.trim();
    const body = { branch: value("push-branch") };
    if (!byId("push-repo-field").hidden) body.repo = value("push-repo");
    if (value("push-message")) body.message = value("push-message");
    byId("push-problem").textContent = "";
    byId("push-confirm").disabled = true;
    byId("push-confirm").textContent = "Pushing…";
    try {
      const { commit, branch } = await call("POST", `/v1/sessions/${id}/workspace/push`, { body });
      byId("push-dialog").close();
      confirm(`Pushed ${commit.slice(0, 10)} to ${branch}.`);
    } catch (error) {
      byId("push-problem").textContent = error.message;
    } finally {
      byId("push-confirm").disabled = false;
      byId("push-confirm").textContent = "Push";
    }
  }
}

/** Return the directories of repositories in a workspace: the last name of each URL, numbered where there are several. */
function directoriesOf(repos) {
  const used = new Map();
  return repos.map(({ url }) => {
    const name = url.replace(/\/+$/, "").split(/[/:]/).at(-1).replace(/\.git$/, "");
    used.set(name, (used.get(name) ?? 0) + 1);
    return used.get(name) > 1 ? `${name}-${used.get(name)}` : name;
  });
}

const slug = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 50).replace(/^-+|-+$/g, "");
