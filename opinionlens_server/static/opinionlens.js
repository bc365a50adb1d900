// What the page does beyond htmx: the shortcut, the examples, the counter, and copying.
"use strict";

(() => {
  const form = document.getElementById("evaluate");
  const text = document.getElementById("text");

  for (const element of document.querySelectorAll("[data-shortcut], [data-copy]")) {
    element.hidden = false;
  }

  if (form && text) {
    const count = form.querySelector("[data-count]");
    const limit = count.textContent.replace("Up to ", "");
    const showCount = () => {
      // Code points, as the server counts them; UTF-16 units would count an emoji twice.
      const length = [...text.value].length;
      count.textContent = length ? `${length.toLocaleString("en")} of ${limit}` : `Up to ${limit}`;
    };

    text.addEventListener("input", showCount);
    showCount();

    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit();
      }
    });

    // Without JavaScript an example's button submits its number; here its text is shown as well.
    for (const button of form.querySelectorAll("[data-example]")) {
      button.addEventListener("click", () => {
        text.value = button.textContent;
        showCount();
      });
    }

    // On a phone the answer would come below the fold.
    document.getElementById("result").addEventListener("htmx:afterSwap", (event) => {
      event.target.scrollIntoView({ block: "nearest" });
    });

    form.addEventListener("htmx:sendError", () => {
      const notice = document.createElement("div");
      notice.className = "card notice notice-problem";
      const title = document.createElement("h2");
      title.textContent = "That did not work";
      const message = document.createElement("p");
      message.textContent = "The server does not answer. Is `olens serve` still running?";
      notice.append(title, message);
      document.getElementById("result").replaceChildren(notice);
    });
  }

  const copy = async (source) => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      return "Copied";
    } catch {
      // The clipboard needs HTTPS or localhost; a selection can still be copied by hand.
      getSelection().selectAllChildren(source);
      return "Selected";
    }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    button.textContent = await copy(button.closest(".command").querySelector("code"));
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
})();
