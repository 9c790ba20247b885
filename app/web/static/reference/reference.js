// Shows manual and operations with Scalar, in place of the manual alone, which needs no JavaScript.

import { stored } from "./key.js";

const ADDRESS = "http://127.0.0.1:8081";

// The examples work as they stand: with the address of the server that shows them.
for (const code of document.querySelectorAll("#manual code")) {
  code.textContent = code.textContent.replaceAll(ADDRESS, location.origin);
}

const response = await fetch("/v1/docs/assets/reference.json");
const content = JSON.parse((await response.text()).replaceAll(ADDRESS, location.origin));
const key = stored()?.key ?? "";

// The page without JavaScript has the name of a chapter as fragment, Scalar has it below "description".
if (/^#[a-z-]+$/.test(location.hash)) history.replaceState(null, "", `#description/${location.hash.slice(1)}`);

const reference = document.createElement("div");
document.body.replaceChildren(reference);
document.body.removeAttribute("class");
Scalar.createApiReference(reference, {
  content,
  authentication: { preferredSecurityScheme: "bearer", securitySchemes: { bearer: { token: key } } },
  defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
  featuredClients: ["shell/curl", "python/requests", "js/fetch", "go/native"],
  // Nothing is sent or loaded elsewhere.
  agent: { disabled: true },
  hideClientButton: true,
  mcp: { disabled: true },
  showDeveloperTools: "never",
  telemetry: false,
  withDefaultFonts: false,
});
