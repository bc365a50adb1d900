// The reference of the API, made by Swagger UI from the OpenAPI document of this service.
"use strict";

window.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("reference");
  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    const system = matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.classList.toggle("dark-mode", chosen === "dark" || (chosen === "system" && system));
  };
  dark();
  new MutationObserver(dark).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  // What Swagger UI leaves without a name, a place in the order of headings, or the keyboard.
  const complete = () => {
    for (const [selector, attribute, value] of [
      ["textarea.body-param__text", "aria-label", "Body of the request"],
      ["#servers", "aria-label", "Server"],
      [".scheme-container", "role", "region"],
      [".scheme-container", "aria-label", "Server and keys"],
      ["select.examples-select-element", "aria-label", "Example"],
      ["select.content-type", "aria-label", "Content type"],
      ["h3.opblock-tag", "aria-level", "2"],
      ["h4, h5", "aria-level", "3"],
      ["pre", "tabindex", "0"],
    ]) {
      for (const found of place.querySelectorAll(selector)) {
        if (found.getAttribute(attribute) !== value) found.setAttribute(attribute, value);
      }
    }
  };
  new MutationObserver(complete).observe(place, { childList: true, subtree: true });
  SwaggerUIBundle({
    domNode: place,
    url: place.dataset.schema,
    // Another site would check the document.
    validatorUrl: null,
    tryItOutEnabled: true,
    defaultModelsExpandDepth: -1,
    requestSnippetsEnabled: false,
  });
});
