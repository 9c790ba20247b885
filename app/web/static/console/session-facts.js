// A session in words: its name, its state, and facts about it.

import { element, oneLine, visible } from "./dom.js";
import { bytes, count, since, stateOf, stateText } from "./words.js";

const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: 4 });

export const nameOf = ({ display_name: name, task, id }) => oneLine(name || task || id, 200) || id;

/** Show the state of a session in an element. */
export function showState(node, session) {
  const state = stateOf(session);
  node.className = `status ${state}`;
  node.textContent = stateText(state);
}

/** Return how long ago a time was as an element, which has the time itself as its title. */
export const ago = (time) => element("time", { dateTime: time, title: new Date(time).toLocaleString() }, since(time));

/** Return the facts about a session, each as a list of nodes. */
export function factsOf(session) {
  const { agent, model, mode, repos, workspace, labels, workspace_bytes: size, usage, created_at: created } = session;
  const facts = [];
  if (agent || model) facts.push([visible([agent, model, mode].filter(Boolean).join(" · "))]);
  for (const { url, branch } of repos ?? []) facts.push([element("bdi", { title: url }, visible(repository(url) + (branch ? ` @ ${branch}` : "")))]);
  if (workspace) facts.push([element("bdi", {}, visible(workspace.path)), workspace.mode === "in_place" ? " (in place)" : " (worktree)"]);
  for (const [key, value] of Object.entries(labels ?? {})) facts.push([element("span", { className: "label" }, visible(value ? `${key}=${value}` : key))]);
  if (size) facts.push([`${bytes(size)} of files`]);
  facts.push(...usageFacts(usage ?? {}).map((fact) => [fact]));
  if (created) facts.push(["created ", ago(created)]);
  return facts;
}

/** Return the name of a repository, without its host. */
export const repository = (url) => url.replace(/\/+$/, "").split(/[/:]/).slice(-2).join("/").replace(/\.git$/, "");

function usageFacts({ input_tokens: input, output_tokens: output, cost_usd: cost }) {
  const tokens = [input !== undefined && `${count(input)} tokens in`, output !== undefined && `${count(output)} out`].filter(Boolean);
  return [tokens.join(", "), cost !== undefined && dollars.format(cost)].filter(Boolean);
}
