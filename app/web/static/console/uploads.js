// Puts files of the user into the workspace of a session, where the agent can read them.

import { call, read } from "./api.js";
import { byId } from "./dom.js";

const DIRECTORY = "uploads";
const HIDDEN = ".ambient"; // as for what the server saves; git ignores it

/** Upload files one after the other, none in place of another one; return their paths. Throws ApiError. */
export async function upload(session, files) {
  const taken = await names(session);
  const paths = [];
  for (const file of files) {
    const name = freeName(file.name, taken);
    taken.add(name);
    paths.push(await put(session, `${DIRECTORY}/${name}`, file));
  }
  return paths;
}

/** Upload files that go with a message, out of the way of the agent's work; return their paths. Throws ApiError. */
export async function uploadHidden(session, files) {
  await put(session, `${HIDDEN}/.gitignore`, new File(["*\n"], ".gitignore"));
  const paths = [];
  for (const file of files) {
    const place = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    paths.push(await put(session, `${HIDDEN}/attachments/${place}/${file.name}`, file));
  }
  return paths;
}

/** Return a file as an attachment with its content, for a session that has no workspace yet. */
export async function asAttachment(file) {
  const reader = new FileReader();
  const read = new Promise((resolve, reject) => Object.assign(reader, { onload: resolve, onerror: () => reject(reader.error) }));
  reader.readAsDataURL(file);
  await read;
  return { name: file.name, media_type: file.type || "application/octet-stream", data: reader.result.split(",")[1] };
}

async function put(session, path, file) {
  await call("PUT", `/v1/sessions/${session}/workspace/file`, { query: { path }, body: file });
  return path;
}

/** Return the names in the directory of uploads; none if it does not exist yet. */
async function names(session) {
  try {
    const query = { path: DIRECTORY, depth: 1 };
    const { items } = await read(`/v1/sessions/${session}/workspace/files`, { query });
    return new Set(items.map(({ path }) => path.slice(DIRECTORY.length + 1)));
  } catch (error) {
    if (error.code === "file_not_found") return new Set();
    throw error;
  }
}

function freeName(name, taken) {
  const [, stem, extension] = /^(.+?)(\.[^.]*)?$/s.exec(name);
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? name : `${stem} (${number})${extension ?? ""}`;
    if (!taken.has(candidate)) return candidate;
  }
}

/** Call `onFiles` with the files that the user drops on an element or chooses with a button. */
export function listen({ area, button, input, onFiles }) {
  byId(button).addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", () => {
    const files = [...byId(input).files];
    byId(input).value = "";
    if (files.length) onFiles(files);
  });
  const over = (event) => event.dataTransfer?.types.includes("Files") && !byId(button).disabled;
  byId(area).addEventListener("dragover", (event) => {
    if (!over(event)) return;
    event.preventDefault();
    byId(area).classList.add("dropping");
  });
  byId(area).addEventListener("dragleave", (event) => {
    if (!byId(area).contains(event.relatedTarget)) byId(area).classList.remove("dropping");
  });
  byId(area).addEventListener("drop", (event) => {
    byId(area).classList.remove("dropping");
    if (!over(event)) return;
    event.preventDefault();
    onFiles([...event.dataTransfer.files]);
  });
}
