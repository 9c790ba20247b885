// The session log: what happened around a session, for people who look for the reason of a problem.

import { open } from "./api.js";
import { byId } from "./dom.js";
import { PlainText } from "./plain-text.js";

export class SessionLog {
  constructor(onProblem) {
    Object.assign(this, { onProblem, text: new PlainText(byId("session-log"), { dir: "ltr" }) });
    byId("log-refresh").addEventListener("click", () => this.refresh());
  }

  open({ id }) {
    this.id = id;
    return this.refresh();
  }

  async refresh() {
    const { id } = this;
    try {
      const response = await open("GET", `/v1/sessions/${id}/logs`);
      const lines = await response.text();
      if (id === this.id) this.text.update(lines || "Nothing has been logged yet.");
    } catch (error) {
      if (id === this.id) this.onProblem(error);
    }
  }

  close() {
    this.id = "";
    this.text.update("");
  }
}
