// The list of sessions: search, state, pages.

import { read } from "./api.js";
import { byId, element } from "./dom.js";
import { ago, nameOf, showState } from "./session-facts.js";
import { count, FILTERS, since, stateText } from "./words.js";

const LIMIT = 20;
const PERIOD = 10_000;
const ACTIVITIES = ["waiting", "working", "idle"];

export class SessionList {
  /** `onRead` is called whenever the list has been read. */
  constructor({ onProblem, onRead }) {
    Object.assign(this, { onProblem, onRead, offset: 0, current: "", items: [], requests: 0 });
    byId("status").append(...FILTERS.map((state) => element("option", { value: state }, stateText(state))));
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
    byId("nothing").hidden = byId("empty").hidden = byId("pages").hidden = true;
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
      this.onRead();
      if (!page.items.length && this.offset) return void this.first();
      this.draw(page.items);
      this.drawPages(page, Boolean(query.search || chosen));
    } catch (error) {
      if (requests === this.requests) this.onProblem(error);
    }
  }

  drawPages({ items, offset, total, has_more: more }, isFiltered) {
    byId("nothing").hidden = items.length > 0 || !isFiltered;
    byId("empty").hidden = items.length > 0 || isFiltered;
    byId("pages").hidden = total <= LIMIT;
    byId("range").textContent = `${count(offset + 1)} to ${count(offset + items.length)} of ${count(total)}`;
    byId("newer").disabled = offset === 0;
    byId("older").disabled = !more;
  }

  draw(items) {
    const key = JSON.stringify(items.map((session) => [session, since(session.created_at)]));
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

function row(session) {
  const state = element("span");
  showState(state, session);
  const name = element("span", { className: "name", dir: "auto" }, nameOf(session));
  const facts = element("span", { className: "facts" }, state, session.created_at && ago(session.created_at));
  return element("li", {}, element("a", { href: `#/sessions/${session.id}` }, name, facts));
}
