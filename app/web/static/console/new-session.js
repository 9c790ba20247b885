// The dialog for a new session: its task, agent, workspace and labels.

import { call, read } from "./api.js";
import { announce, button, byId, element, notice, visible } from "./dom.js";
import { can, mayEdit } from "./identity.js";
import { asAttachment } from "./uploads.js";

const value = (id) => byId(id).value.trim();

export class NewSession {
  /** `onCreated` is called with the new session. */
  constructor(onCreated) {
    Object.assign(this, { onCreated, agents: [] });
    byId("new-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.create();
    });
    byId("new-form").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("new-form").requestSubmit();
    });
    byId("agent").addEventListener("change", () => this.offerModels());
    byId("add-repo").addEventListener("click", () => this.addRepo().querySelector("input").focus());
    for (const choice of byId("new-form").elements.place) choice.addEventListener("change", () => this.showPlace());
  }

  open() {
    if (!mayEdit()) return notice("The key's role does not permit new sessions.");
    byId("new-problem").textContent = "";
    byId("place-local").hidden = !can("local_directories");
    byId("policy-field").hidden = !can("approval_policy");
    byId("task-files-field").hidden = !can("attachments");
    if (!byId("repos").firstChild) this.addRepo();
    this.showPlace();
    this.offerAgents();
    byId("new-dialog").showModal();
    byId("task").focus();
  }

  async create() {
    byId("new-problem").textContent = "";
    byId("create").disabled = true;
    try {
      const session = await call("POST", "/v1/sessions", { body: await this.request() });
      byId("new-dialog").close();
      byId("new-form").reset();
      byId("repos").replaceChildren();
      notice("");
      announce("Session created.");
      this.onCreated(session);
    } catch (error) {
      byId("new-problem").textContent = error.message;
    } finally {
      byId("create").disabled = false;
    }
  }

  /** Return the body of create_session, without what the user has left empty. */
  async request() {
    const body = { task: byId("task").value };
    if (value("name")) body.display_name = value("name");
    if (value("agent")) body.agent = value("agent");
    if (value("model")) body.model = value("model");
    if (value("policy")) body.approval_policy = value("policy");
    const labels = value("labels").split(",").map((label) => label.trim()).filter(Boolean);
    if (labels.length) body.labels = Object.fromEntries(labels.map((label) => [label.split("=")[0].trim(), label.split("=").slice(1).join("=").trim()]));
    const repos = [...byId("repos").children].map((row) => [...row.querySelectorAll("input")].map((input) => input.value.trim()));
    if (this.place === "repos") body.repos = repos.filter(([url]) => url).map(([url, branch]) => ({ url, ...(branch && { branch }) }));
    if (this.place === "local") body.workspace = { path: value("directory"), mode: value("directory-mode") };
    const files = [...byId("task-files").files];
    if (files.length) body.attachments = await Promise.all(files.map(asAttachment));
    return body;
  }

  get place() {
    return byId("new-form").elements.place.value;
  }

  showPlace() {
    byId("repos-field").hidden = this.place !== "repos";
    byId("local-field").hidden = this.place !== "local";
    byId("directory").required = this.place === "local";
  }

  addRepo() {
    const number = byId("repos").children.length + 1;
    const input = (label, placeholder) =>
      element("input", { "aria-label": `${label} ${number}`, placeholder, autocomplete: "off", spellcheck: false, autocapitalize: "off" });
    const row = element("li", {}, input("Repository", "https://github.com/owner/name"), input("Branch", "default branch"));
    row.append(button("Remove", () => row.remove(), { className: "quiet small", "aria-label": `Remove repository ${number}` }));
    byId("repos").append(row);
    return row;
  }

  /** Offer the server's agents; without a list, or with one agent only, there is nothing to choose. */
  async offerAgents() {
    try {
      this.agents = (await read("/v1/agents")).items;
    } catch {
      this.agents = [];
    }
    const chosen = value("agent") || this.agents.find((agent) => agent.default)?.name;
    byId("agent").replaceChildren(
      ...this.agents.map((agent) => {
        const text = visible(agent.title ?? agent.name) + (agent.available ? "" : " (not available)");
        return element("option", { value: agent.name, title: agent.reason ?? "", selected: agent.name === chosen }, text);
      }),
    );
    byId("agent-field").hidden = this.agents.length < 2;
    this.offerModels();
  }

  offerModels() {
    const agent = this.agents.find(({ name }) => name === value("agent"));
    const models = agent?.models ?? [];
    byId("agent-hint").textContent = agent?.available === false ? (agent.reason ?? "") : "";
    byId("models").replaceChildren(...models.map((model) => element("option", { value: model.id, label: model.name ?? model.id })));
  }
}
