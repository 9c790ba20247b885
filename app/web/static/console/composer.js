// Writes messages to a session: the message box, files for the agent, and the messages that wait for their turn.

import { call, read } from "./api.js";
import { button, byId, confirm, element, notice, visible } from "./dom.js";
import { can } from "./identity.js";
import { listen, upload, uploadHidden } from "./uploads.js";

export class Composer {
  /** `onSent` is called after each message. */
  constructor({ onProblem, onSent }) {
    Object.assign(this, { onProblem, onSent, id: "", attached: [] });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("message").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    byId("message").addEventListener("input", () => this.fit());
    listen({ area: "panel-conversation", button: "attach", input: "attach-input", onFiles: (files) => this.attach(files) });
  }

  open(id) {
    this.id = id;
    byId("message").value = "";
    this.fit();
    this.drawAttached([]);
    this.drawQueue([]);
    this.refresh();
  }

  /** Allow messages and files, or neither. */
  enable({ messages, files }) {
    byId("send").disabled = !messages;
    byId("attach").disabled = !files;
  }

  async send() {
    const box = byId("message");
    const content = box.value;
    if (!content.trim() || this.sending) return;
    if (byId("send").disabled) return notice("The session accepts messages only while it is running.");
    this.sending = true;
    const { id, attached } = this;
    const files = attached.length ? { attachments: attached.map((path) => ({ path })) } : {};
    try {
      await call("POST", `/v1/sessions/${id}/message`, { body: { content, ...files } });
      if (id !== this.id) return;
      if (box.value === content) box.value = "";
      this.drawAttached(this.attached.filter((path) => !attached.includes(path)));
      this.fit();
      notice("");
      this.onSent();
      this.refresh();
    } catch (error) {
      this.onProblem(error);
    } finally {
      this.sending = false;
    }
  }

  /** Upload files that go with the message, or are named in it where the server's messages take no files. */
  async attach(files) {
    const { id } = this;
    byId("attaching").textContent = `Uploading ${files.map(({ name }) => name).join(", ").slice(0, 200)}…`;
    try {
      const goAlong = can("attachments");
      const paths = goAlong ? await uploadHidden(id, files) : await upload(id, files);
      if (id !== this.id) return;
      const box = byId("message");
      if (goAlong) this.drawAttached([...this.attached, ...paths]);
      else box.value = [box.value.trimEnd(), ...paths.map((path) => `\`${path}\``)].filter(Boolean).join(" ") + " ";
      this.fit();
      box.focus();
      confirm(`Uploaded ${files.map(({ name }) => name).join(", ").slice(0, 200)}.`);
    } catch (error) {
      this.onProblem(error);
    } finally {
      byId("attaching").textContent = "";
    }
  }

  drawAttached(paths) {
    this.attached = paths;
    byId("attached").hidden = !paths.length;
    byId("attached").replaceChildren(
      ...paths.map((path) => {
        const name = visible(path.split("/").pop());
        const leave = () => this.drawAttached(this.attached.filter((other) => other !== path));
        return element("li", {}, name, button("×", leave, { className: "quiet small", "aria-label": `Do not send ${name}` }));
      }),
    );
  }

  /** Read which messages wait for their turn. */
  async refresh() {
    const { id } = this;
    try {
      const { runs } = await read(`/v1/sessions/${id}/runs`, { query: { status: "queued" } });
      if (id === this.id) this.drawQueue(runs);
    } catch (error) {
      if (id === this.id && error.status !== 404) this.onProblem(error);
    }
  }

  /** Read the queue again, if there is one, because a run has begun or ended. */
  runChanged() {
    if (!byId("queue").hidden) this.refresh();
  }

  drawQueue(runs) {
    byId("queue").hidden = !runs.length;
    byId("queued").replaceChildren(
      ...runs.map(({ run_id: run, user_message: message }) => {
        const text = visible((message ?? "A run without a message").slice(0, 500));
        const cancel = button("Cancel", () => this.cancel(run), { className: "quiet small", "aria-label": `Cancel: ${text.slice(0, 80)}` });
        return element("li", {}, element("span", { className: "clip", dir: "auto" }, text), cancel);
      }),
    );
  }

  async cancel(run) {
    try {
      await call("DELETE", `/v1/sessions/${this.id}/runs/${run}`);
      confirm("The message was cancelled.");
    } catch (error) {
      this.onProblem(error);
    }
    this.refresh();
  }

  /** Grow and shrink the box with its text. */
  fit() {
    const box = byId("message");
    box.rows = Math.min(10, Math.max(1, box.value.split("\n").length));
  }
}
