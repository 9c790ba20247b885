// Saves what the API returns as a file. It is never opened in this page, whose origin has the key.

import { ApiError, open } from "./api.js";
import { confirm } from "./dom.js";

/** Save a response as a file with this name. Throws ApiError. */
export async function download(path, { query, name }) {
  confirm(`Downloading ${name}…`);
  const response = await open("GET", path, { query });
  let content;
  try {
    content = await response.blob();
  } catch {
    throw new ApiError("The download was incomplete. Try it again.");
  }
  const url = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  confirm(`Downloaded ${name}.`);
}

/** Return what names an entry of a workspace in a request: its path, and its bytes if they are no text. */
export const named = ({ path, path_base64: encoded }) => ({ path, path_base64: encoded });

/** Return the last name in a path. */
export const baseName = (path) => path.slice(path.lastIndexOf("/") + 1);
