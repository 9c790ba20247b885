// The list of sessions: search, status, pages.

import { read } from "./api.js";
import { byId, element, visible } from "./dom.js";

const LIMIT = 20;
const PERIOD = 10_000;
const ACTIVITIES = ["waiting", "working", "idle"];

export class SessionList {
  constructor(onProblem) {
    Object.assign(this, { onProblem, offset: 0, current: "", items: [], requests: 0 });
    byId("search").addEventListener("input", () => this.soon());
    byId("status").addEventListener("change", () => this.first());
    byId("filter").addEventListener("submit", (event) => {
      event.preventDefault();
      this.first();
    });
    byId("newer").addEventListener("click", () => this.turn(this.offset - LIMIT));
    byId("older").addEventListener("click", () => this.turn(this.offset + LIMIT));
    setInterval(() => document.hidden || this.stopped || this.refresh(), PERIOD);
    this.stopped = true;
  }

  start() {
    this.stopped = false;
    return this.first();
  }

  stop() {
    this.stopped = true;
    this.requests += 1; // ignore responses that are still to come
    this.draw([]);
  }

  soon() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.first(), 250);
  }

  first() {
    return this.turn(0);
  }

  turn(offset) {
    this.offset = Math.max(0, offset);
    return this.refresh();
  }

  /** Read the current page again. Only the response to the latest request is shown. */
  async refresh() {
    this.requests += 1;
    const { requests } = this;
    const chosen = byId("status").value;
    const state = ACTIVITIES.includes(chosen) ? { activity: chosen } : { status: chosen };
    const query = { limit: LIMIT, offset: this.offset, search: byId("search").value, ...state };
    try {
      const page = await read("/v1/sessions", { query });
      if (requests !== this.requests) return;
      if (!page.items.length && this.offset) return void this.first();
      this.draw(page.items);
      const from = page.items.length ? page.offset + 1 : 0;
      byId("range").textContent = `${from} to ${page.offset + page.items.length} of ${page.total}`;
      byId("newer").disabled = page.offset === 0;
      byId("older").disabled = !page.has_more;
      byId("nothing").hidden = page.items.length > 0;
    } catch (error) {
      if (requests === this.requests) this.onProblem(error);
    }
  }

  draw(items) {
    const key = JSON.stringify(items);
    if (key === this.drawn) return; // redrawing would lose the focus
    this.drawn = key;
    this.items = items;
    const focused = document.activeElement?.closest?.("#sessions a")?.hash;
    byId("sessions").replaceChildren(...items.map(row));
    this.mark(this.current);
    if (focused) byId("sessions").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  mark(id) {
    this.current = id;
    for (const link of byId("sessions").querySelectorAll("a")) {
      if (link.hash === `#/sessions/${id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  /** Return the id of the session before (-1) or after (1) the open one. */
  neighbour(step) {
    const index = this.items.findIndex(({ id }) => id === this.current);
    return this.items[index < 0 ? 0 : index + step]?.id;
  }
}

export const nameOf = ({ display_name, task, id }) => visible((display_name || task || id).slice(0, 200));

function row(session) {
  const state = session.activity ?? session.status;
  const status = element("span", { className: `status ${state}` }, state);
  const created = session.created_at ? new Date(session.created_at).toLocaleString() : "";
  const facts = element("span", { className: "facts" }, status, " ", element("span", {}, created));
  const name = element("span", { className: "name", dir: "auto" }, nameOf(session));
  return element("li", {}, element("a", { href: `#/sessions/${session.id}` }, name, facts));
}
