"use strict";

// The examples of the manual work as they stand: with the address of the server that shows them.
for (const code of document.querySelectorAll("#manual code")) {
  code.textContent = code.textContent.replaceAll("http://127.0.0.1:8081", location.origin);
}

SwaggerUIBundle({
  url: "/v1/openapi.json",
  dom_id: "#reference",
  deepLinking: false, // fragments name chapters of the manual
  docExpansion: "list",
  validatorUrl: null,
});
