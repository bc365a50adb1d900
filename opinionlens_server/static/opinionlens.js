// What the page does beyond htmx: the shortcut, the examples, the counter, files that are dropped,
// light and dark, and copying.
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

  }

  // The server is gone, or the network is.
  document.addEventListener("htmx:sendError", (event) => {
    const notice = document.createElement("div");
    notice.className = "card notice notice-problem";
    const title = document.createElement("h2");
    title.textContent = "That did not work";
    const message = document.createElement("p");
    message.textContent = "The server does not answer. Is `olens serve` still running?";
    notice.append(title, message);
    event.detail.target.replaceChildren(notice);
  });

  const drop = document.querySelector("[data-drop]");
  if (drop) {
    // A file that is dropped on the field is chosen without our help; it is judged at once.
    drop.addEventListener("change", () => {
      if (drop.files.length) drop.form.querySelector("[data-summarise]").click();
    });
    const over = (event) => { drop.classList.toggle("drop-over", event.type === "dragover"); };
    for (const type of ["dragover", "dragleave", "drop"]) drop.addEventListener(type, over);
    document.getElementById("file-result").addEventListener("htmx:afterSwap", (event) => {
      event.target.scrollIntoView({ block: "nearest" });
    });
  }

  const themes = document.querySelector("[data-themes]");
  if (themes) {
    // Without JavaScript the server sets the cookie; here the page need not be loaded again.
    themes.addEventListener("submit", (event) => {
      event.preventDefault();
      const theme = event.submitter.value;
      const kept = theme === "system" ? 0 : 365 * 24 * 3600;
      document.cookie = `theme=${theme}; path=/; max-age=${kept}; samesite=lax`;
      document.documentElement.dataset.theme = theme;
      for (const button of themes.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button === event.submitter));
      }
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
