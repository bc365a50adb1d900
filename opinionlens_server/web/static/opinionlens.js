// Additions to htmx: the verdict while one types, links that carry a text, the counter, dropped
// files, the keys for labelling, light and dark, and copying.
"use strict";

(() => {
  for (const element of document.querySelectorAll("[data-shortcut], [data-copy], [data-share]")) {
    element.hidden = false;
  }

  const copy = async (text, otherwise) => {
    try {
      await navigator.clipboard.writeText(text);
      return "Copied";
    } catch {
      // The clipboard needs HTTPS or localhost.
      return otherwise();
    }
  };

  const say = (button, said) => {
    button.dataset.label ??= button.textContent;
    button.textContent = said;
    setTimeout(() => { button.textContent = button.dataset.label; }, 1500);
  };

  const form = document.getElementById("evaluate");
  if (form) {
    const text = document.getElementById("text");
    const result = document.getElementById("result");
    const said = document.getElementById("said");
    const count = form.querySelector("[data-count]");
    const limit = count.textContent.replace("Up to ", "");
    let later;

    const showCount = () => {
      // Code points, as the server counts them; UTF-16 units would count an emoji twice.
      const length = [...text.value].length;
      count.textContent = length ? `${length.toLocaleString("en")} of ${limit}` : `Up to ${limit}`;
    };
    showCount();

    const setText = (value) => {
      text.value = value;
      showCount();
    };

    text.addEventListener("input", () => {
      clearTimeout(later);
      showCount();
      result.classList.add("result-old");
      // The link would name another text than the field.
      if (location.hash) history.replaceState(null, "", location.pathname);
    });

    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit();
      }
    });

    // Without JavaScript an example's button submits its number; here its text is shown as well.
    for (const button of document.querySelectorAll("[data-example]")) {
      button.addEventListener("click", () => setText(button.textContent));
    }

    // While one types, a problem is no news: a blank text has no verdict yet, and a request too
    // many is sent again when the server says so.
    const typed = (config) => config.triggeringEvent?.type !== "submit";
    form.addEventListener("htmx:beforeRequest", (event) => {
      if (!typed(event.detail.requestConfig) || text.value.trim()) return;
      event.preventDefault();
      result.replaceChildren(document.getElementById("nothing-yet").content.cloneNode(true));
      result.classList.remove("result-old");
    });
    result.addEventListener("htmx:beforeSwap", (event) => {
      const { xhr, requestConfig } = event.detail;
      if (xhr.status < 400 || !typed(requestConfig)) return;
      event.detail.shouldSwap = false;
      if (xhr.status === 429) {
        const seconds = Number(xhr.getResponseHeader("Retry-After")) || 1;
        later = setTimeout(() => htmx.trigger(form, "again"), 1000 * seconds);
      }
    });
    let reading;
    result.addEventListener("htmx:afterSwap", (event) => {
      if (event.detail.target !== result) return;
      result.classList.remove("result-old");
      if (!typed(event.detail.requestConfig)) result.scrollIntoView({ block: "nearest" });
      // A screen reader hears the verdict, not all of its reasons, once the typing has paused.
      clearTimeout(reading);
      reading = setTimeout(() => {
        said.textContent = (result.querySelector("[data-said]") ?? result).textContent;
      }, 700);
    });

    // A link holds its text behind the #, which browsers do not send.
    const readLink = () => {
      if (!location.hash.startsWith("#text=")) return;
      try {
        setText(decodeURIComponent(location.hash.slice("#text=".length)));
      } catch {
        return;
      }
      form.requestSubmit();
    };
    document.addEventListener("DOMContentLoaded", readLink);
    window.addEventListener("hashchange", readLink);

    const share = form.querySelector("[data-share]");
    share.addEventListener("click", async () => {
      if (!text.value.trim()) {
        text.focus();
        return;
      }
      const link = `/#text=${encodeURIComponent(text.value)}`;
      say(share, await copy(location.origin + link, () => {
        history.replaceState(null, "", link);
        return "It is in the address bar";
      }));
    });
  }

  // The server or the network is down.
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
    const over = (event) => { drop.classList.toggle("drop-over", event.type === "dragover"); };
    for (const type of ["dragover", "dragleave", "drop"]) drop.addEventListener(type, over);

    const progress = document.querySelector("[data-progress]");
    const state = (value, said) => {
      if (value === null) progress.firstElementChild.removeAttribute("value");
      else progress.firstElementChild.value = value;
      progress.lastElementChild.textContent = said;
    };
    document.addEventListener("htmx:beforeRequest", () => {
      state(null, "Reading the file…");
      progress.hidden = false;
    });
    document.addEventListener("htmx:xhr:progress", ({ detail }) => {
      // Of the answer, too, whose length is not known.
      if (!detail.lengthComputable || !detail.total) return;
      const share = detail.loaded / detail.total;
      state(share < 1 ? share : null, share < 1 ? "Sending the file…" : "Judging its rows…");
    });
    document.addEventListener("htmx:afterRequest", () => { progress.hidden = true; });
    const result = document.getElementById("file-result");
    document.getElementById("file-choices").addEventListener("htmx:afterSwap", () => {
      result.replaceChildren();
    });
    result.addEventListener("htmx:afterSwap", ({ detail }) => {
      if (detail.target !== result) return;
      result.focus({ preventScroll: true });
      result.scrollIntoView({ block: "start" });
    });
  }

  const desk = document.querySelector("[data-label-desk]");
  if (desk) {
    const said = document.getElementById("label-said");
    const showKeys = () => {
      for (const key of desk.querySelectorAll("[data-shortcut-key]")) key.hidden = false;
    };
    showKeys();
    document.addEventListener("keydown", (event) => {
      const { target, key } = event;
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (target.matches("input, textarea, select")) {
        if (key === "Escape" || key === "Enter") target.blur();
        return;
      }
      const chosen = desk.querySelector(`[data-key="${CSS.escape(key.toLowerCase())}"]`);
      if (!chosen) return;
      event.preventDefault();
      if (chosen.matches("input")) chosen.focus();
      else chosen.click();
    });
    desk.addEventListener("htmx:afterSwap", ({ detail }) => {
      showKeys();
      if (detail.target !== desk) return;
      // A screen reader goes on from here, and reads the new text.
      const text = desk.querySelector("[data-label-text]");
      text?.focus({ preventScroll: true });
      said.textContent = text ? text.textContent.slice(0, 500) : "";
    });
  }

  // What went well need not be closed by hand.
  const notices = document.getElementById("notice");
  if (notices) {
    const leave = () => {
      for (const flash of notices.querySelectorAll(".flash:not(.flash-failed)")) {
        setTimeout(() => flash.remove(), 6000);
      }
    };
    leave();
    document.addEventListener("htmx:oobAfterSwap", leave);
    notices.addEventListener("click", (event) => event.target.closest("[data-close]")?.parentElement.remove());
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

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = button.closest(".command").querySelector("code");
    say(button, await copy(source.textContent, () => {
      getSelection().selectAllChildren(source);
      return "Selected";
    }));
  });
})();
