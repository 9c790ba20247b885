// Who the key belongs to, and what the server can do for them.

import { read } from "./api.js";

let identity = null;

/** Read the identity of the stored key; return it, or null if the server does not tell. */
export async function identify() {
  try {
    identity = await read("/v1/whoami");
  } catch {
    identity = null; // the server still refuses what is not permitted
  }
  return identity;
}

/** Return whether the server has an operation or a feature; what is not known is left to the server. */
export const can = (capability) => identity?.capabilities.includes(capability) ?? true;

/** Return the role, or "" if only the server's backend knows it. */
export const role = () => identity?.role ?? "";

/** Return whether the role permits to change something. */
export const mayEdit = () => role() !== "view";
