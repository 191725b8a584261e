// What happens in the browser: the address is the state, every control writes it. No inline script anywhere.
"use strict";
(function () {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  function remember(name, value) {  // for the server, which draws the first content
    document.cookie = name + "=" + value + "; path=/; SameSite=Strict; max-age=31536000";
  }
  remember("zone", zone);
  const stored = window.localStorage.getItem("theme");
  if (stored === "dark" || stored === "light") {
    document.documentElement.dataset.theme = stored;
    remember("theme", stored);
  }

  const SPANS = { "now-15m": "Last 15 minutes", "now-1h": "Last hour", "now-6h": "Last 6 hours",
                  "now-24h": "Last 24 hours", "now-3d": "Last 3 days", "now-7d": "Last 7 days" };

  function none() { return window.dash_clientside.no_update; }
  function trigger() {
    const found = window.dash_clientside.callback_context.triggered[0];
    if (!found || found.value === undefined || found.value === null) return null;
    const at = found.prop_id.lastIndexOf(".");
    return { id: found.prop_id.slice(0, at), value: found.value };
  }
  function changed(search, values) {
    const parameters = new URLSearchParams(search || "");
    for (const [name, value] of Object.entries(values)) {
      if (value === "" || value === null) parameters.delete(name); else parameters.set(name, value);
    }
    const text = parameters.toString();
    return text ? "?" + text : "";
  }
  // A wall-clock time in the viewer's zone ("2026-11-25 13:00") as RFC 3339 in UTC; anything else as it is.
  function absolute(text) {
    const trimmed = (text || "").trim();
    if (!/^\d{4}-\d\d-\d\d/.test(trimmed) || /(Z|[+-]\d\d:?\d\d)$/.test(trimmed)) return trimmed;
    const moment = new Date(trimmed.length === 10 ? trimmed + "T00:00" : trimmed.replace(" ", "T"));
    return isNaN(moment) ? trimmed : moment.toISOString();
  }
  function universal(text) {  // a time of an axis that is in UTC
    return new Date((text.length === 10 ? text + "T00:00" : text.replace(" ", "T")) + "Z").toISOString();
  }
  function told(by, figures) {  // what the server left in the chart that was used
    const ordered = (id) => JSON.stringify(id, Object.keys(id).sort());
    const states = window.dash_clientside.callback_context.states_list[0];
    const place = states.findIndex((state) => ordered(state.id) === ordered(JSON.parse(by.id)));
    return (place >= 0 && figures[place] && figures[place].layout && figures[place].layout.meta) || {};
  }
  function shown(text) {
    if (!/^\d{4}-/.test(text)) return text;
    const moment = new Date(text);
    if (isNaN(moment)) return text;
    return moment.toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  }
  function title(path) {  // tabs and the history tell pages apart by it
    const place = path.replace(/\/$/, "") || "/";
    const link = Array.from(document.querySelectorAll(".nav-link")).find((each) => new URL(each.href).pathname === place);
    const name = link ? link.textContent : place === "/runbook" ? "Runbook" : "";
    return (name ? name + " · " : "") + "ML pipeline console";
  }
  function announce(text) {
    const place = document.getElementById("announcer");
    if (place) place.textContent = text;
  }

  const ui = {
    preset(_clicks, search) {
      const by = trigger();
      if (!by || !by.value) return none();
      document.getElementById("range-picker").removeAttribute("open");
      return changed(search, { from: JSON.parse(by.id).value, to: "" });
    },
    custom(_apply, _first, _second, from, to, search) {
      const by = trigger();
      if (!by || !by.value) return none();
      document.getElementById("range-picker").removeAttribute("open");
      return changed(search, { from: absolute(from), to: absolute(to) });
    },
    frame(path, search) {
      const parameters = new URLSearchParams(search || "");
      const from = parameters.get("from") || "now-1h", to = parameters.get("to") || "now";
      const label = to === "now" && SPANS[from] ? SPANS[from] : shown(from) + " – " + shown(to);
      const keep = new URLSearchParams();
      for (const name of ["from", "to"]) if (parameters.get(name)) keep.set(name, parameters.get(name));
      const text = keep.toString() ? "?" + keep.toString() : "";
      const links = Array.from(document.querySelectorAll("#react-entry-point .nav-link"));
      document.title = title(path);
      const hrefs = links.map((link) => new URL(link.href).pathname + text);
      for (const link of links) {
        if (new URL(link.href).pathname === (path.replace(/\/$/, "") || "/")) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      for (const chip of document.querySelectorAll("#react-entry-point .picker .chip")) {
        const value = JSON.parse(chip.id).value;
        chip.setAttribute("aria-pressed", String(to === "now" && value === from));
      }
      return [label, "Times are in " + zone + "; hover for UTC."].concat(hrefs);
    },
    pause(clicks) {
      const paused = (clicks || 0) % 2 === 1;
      announce(paused ? "Refreshing is paused" : "");
      return [paused, paused ? "Resume" : "Pause"];
    },
    theme(clicks) {
      const root = document.documentElement;
      if (clicks) {
        const dark = root.dataset.theme
          ? root.dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
        root.dataset.theme = dark ? "light" : "dark";
        window.localStorage.setItem("theme", root.dataset.theme);
        remember("theme", root.dataset.theme);
      }
      return "Dark or light";
    },
    zoom(_relayouts, figures, search) {
      const by = trigger();
      if (!by || typeof by.value !== "object") return none();
      const read = told(by, figures).utc ? universal : absolute;
      const first = by.value["xaxis.range[0]"], last = by.value["xaxis.range[1]"];
      if (first && last) return changed(search, { from: read(first), to: read(last) });
      if (by.value["xaxis.autorange"]) return changed(search, { from: "", to: "" });
      return none();
    },
    follow(_clicks, figures) {
      const by = trigger();
      if (!by || !by.value.points || !by.value.points.length) return none();
      const meta = told(by, figures);
      if (!meta.logs) return none();
      const detail = by.value.points[0].customdata;
      const parameters = new URLSearchParams({ q: meta.logs });
      if (detail && detail.length) {
        parameters.set("from", new Date((detail[0] - meta.before) * 1000).toISOString());
        parameters.set("to", new Date((detail[0] + meta.after) * 1000).toISOString());
      }
      return "/logs?" + parameters.toString();
    },
    search(_go, _submit, _levels, _tail, text, search) {
      const by = trigger();
      if (!by || !by.value) return none();
      const parameters = new URLSearchParams(search || "");
      if (by.id === "logs-tail") {  // what is followed ends now
        return changed(search, parameters.get("tail") === "1" ? { tail: "" } : { tail: "1", to: "" });
      }
      if (by.id.startsWith("{")) {
        const level = JSON.parse(by.id).level;
        const levels = (parameters.get("level") || "").split(",").filter((each) => each);
        const kept = levels.includes(level) ? levels.filter((each) => each !== level) : levels.concat(level);
        return changed(search, { level: kept.join(","), q: text || "" });
      }
      return changed(search, { q: text || "" });
    },
    controls(search, ids) {
      const parameters = new URLSearchParams(search || "");
      const levels = (parameters.get("level") || "").split(",").filter((each) => each);
      const tail = parameters.get("tail") === "1";
      return [parameters.get("q") || "", ids.map((id) => String(levels.includes(id.level))), String(tail),
              tail ? "Following" : "Follow", !tail, "/export.ndjson" + (search || ""), "/export.csv" + (search || "")];
    },
    section(hash) {
      const target = hash && document.getElementById(decodeURIComponent(hash.slice(1)));
      for (const shown of document.querySelectorAll(".runbook.shown")) shown.classList.remove("shown");
      if (target) {
        target.classList.add("shown");
        target.scrollIntoView();
      }
      return none();
    },
    copy(clicks) {
      if (!clicks) return none();
      if (navigator.clipboard) navigator.clipboard.writeText(window.location.href);
      announce("The link is in the clipboard");
      return "Copied";
    },
  };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { ui });

  // The document came with its content. It goes once the live page, drawn unseen behind it, has all its answers.
  const PATIENCE = 15000, begun = performance.now();
  function takeOver() {
    const first = document.getElementById("first");
    if (!first) return;
    const page = document.querySelector("#react-entry-point #page > div, #react-entry-point #page > .notice");
    const waits = !page || document.querySelector("#react-entry-point [data-dash-is-loading]")
      || Array.from(document.querySelectorAll("#react-entry-point .notice, #react-entry-point .total"))
        .some((said) => /^(Loading|Asking|Searching).* …$/.test(said.textContent));
    if (!page || (waits && performance.now() - begun < PATIENCE)) {
      window.setTimeout(takeOver, 40);
      return;
    }
    for (const opened of first.querySelectorAll("details[open] > summary")) {
      const same = Array.from(document.querySelectorAll("#react-entry-point summary"))
        .find((summary) => summary.textContent === opened.textContent);
      if (same) same.parentElement.open = true;
    }
    const focused = first.contains(document.activeElement) ? document.activeElement.id.replace(/^first-/, "") : "";
    first.remove();
    if (focused && document.getElementById(focused)) document.getElementById(focused).focus();
  }
  takeOver();

  // The time range's box closes as a menu does: by Escape, which leads back to its button, and by a press elsewhere.
  document.addEventListener("keydown", (event) => {
    const box = document.querySelector("#react-entry-point #range-picker[open]");
    if (event.key !== "Escape" || !box) return;
    box.removeAttribute("open");
    box.querySelector("summary").focus();
  });
  document.addEventListener("pointerdown", (event) => {
    const box = document.querySelector("#react-entry-point #range-picker[open]");
    if (box && !box.contains(event.target)) box.removeAttribute("open");
  });

  // Dash draws the lines anew while they are followed: those that somebody opened are opened again.
  const opened = new Set();
  document.addEventListener("toggle", (event) => {
    const id = event.target.parentElement ? event.target.parentElement.id : "";
    if (!id.startsWith("line-")) return;
    if (event.target.open) opened.add(id); else opened.delete(id);
  }, true);
  function openAgain() {
    for (const id of opened) {
      const line = document.getElementById(id);
      if (line && !line.firstElementChild.open) line.firstElementChild.open = true;
    }
  }

  // Endless scroll: the button that anybody can press is pressed when it comes into view.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting && !entry.target.hidden) entry.target.click();
    }
  }, { rootMargin: "300px" });
  let watched = null;
  new MutationObserver(() => {
    openAgain();
    const button = document.getElementById("logs-more");
    const last = document.querySelector("#logs-lines > li:last-child");
    const mark = button && last ? button : null;
    if (mark !== watched) {
      if (watched) watcher.unobserve(watched);
      watched = mark;
    }
    if (mark && watched.dataset.seen !== String(document.querySelectorAll("#logs-lines > li").length)) {
      watched.dataset.seen = String(document.querySelectorAll("#logs-lines > li").length);
      watcher.unobserve(mark);
      watcher.observe(mark);
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
