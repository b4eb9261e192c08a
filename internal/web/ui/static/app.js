// What moves on the pages. Without it they can be read, and every form works.
"use strict";

(() => {
  const say = (id, text) => {
    const at = document.getElementById(id);
    if (at && at.textContent !== text) at.textContent = text;
  };

  const number = new Intl.NumberFormat("en-US");
  const plural = (n, thing) => `${number.format(n)} ${thing}${n === 1 ? "" : "s"}`;

  // Times in the reader's own clock.
  const times = (root) => {
    const written = (timeStyle) => new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle });
    const short = written("short");
    const toTheSecond = written("medium");
    for (const t of root.querySelectorAll("time[datetime]")) {
      const at = new Date(t.dateTime);
      if (!Number.isNaN(at.getTime())) t.textContent = (t.dataset.seconds === undefined ? short : toTheSecond).format(at);
    }
  };

  // Pictures. One that cannot be shown comes as 2x2 pixels: it is asked for
  // again, ever more seldom, since its file may come back.
  const noPicture = 2;
  const waits = [5, 20, 60, 300];
  const pictures = (root) => {
    for (const img of root.querySelectorAll(".frame img")) {
      if (img.dataset.tries !== undefined) continue;
      img.dataset.tries = "0";
      const settle = () => {
        img.classList.remove("coming");
        const missing = !img.naturalWidth || (img.naturalWidth === noPicture && img.naturalHeight === noPicture);
        img.classList.toggle("missing", missing);
        const tries = Number(img.dataset.tries);
        if (!missing || tries >= waits.length || !img.isConnected) return;
        img.dataset.tries = String(tries + 1);
        setTimeout(() => {
          const again = new URL(img.src);
          again.searchParams.set("again", String(tries + 1));
          img.src = again.href;
        }, waits[tries] * 1000);
      };
      if (img.complete) settle();
      else img.classList.add("coming");
      img.addEventListener("load", settle);
      img.addEventListener("error", settle);
    }
  };

  const enliven = (root) => {
    times(root);
    pictures(root);
  };

  // get returns the page at url as a document, or null where it is none.
  const get = async (url) => {
    try {
      const answer = await fetch(url, { headers: { Accept: "text/html" } });
      if (!answer.ok) return null;
      return new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      return null;
    }
  };

  // The figures of a batch, from an event.
  const order = ["done", "partial", "no_picture", "not_found", "failed", "unreadable", "cancelled", "found", "queued"];
  const marks = ["refreshing", "stale"];
  const words = (word) => (word.charAt(0).toUpperCase() + word.slice(1)).replaceAll("_", " ");
  const pace = (perSecond) => {
    if (!(perSecond > 0)) return "";
    if (perSecond < 1) return `${(perSecond * 60).toFixed(1)} names a minute`;
    if (perSecond < 10) return `${perSecond.toFixed(1)} names a second`;
    return `${number.format(Math.round(perSecond))} names a second`;
  };
  const left = (seconds) => {
    if (!(seconds > 0)) return "";
    if (seconds < 90) return `about ${Math.ceil(seconds)} s left`;
    if (seconds < 90 * 60) return `about ${Math.round(seconds / 60)} min left`;
    if (seconds < 48 * 3600) return `about ${Math.round(seconds / 3600)} h left`;
    return `about ${Math.round(seconds / 86400)} days left`;
  };
  const settled = (batch) => batch.names - (batch.states.queued || 0) - (batch.states.found || 0) - batch.refreshing;

  const figures = (root, batch) => {
    const put = (selector, text) => {
      for (const at of root.querySelectorAll(selector)) if (at.textContent !== text) at.textContent = text;
    };
    put("[data-names]", number.format(batch.names));
    put("[data-settled]", number.format(settled(batch)));
    put("[data-failed]", number.format((batch.states.failed || 0) + (batch.states.partial || 0)));
    put("[data-pace]", pace(batch.per_second));
    put("[data-left]", left(batch.eta_seconds));
    let from = 0;
    for (const state of order) {
      const n = batch.states[state] || 0;
      put(`[data-count="${state}"]`, number.format(n));
      for (const at of root.querySelectorAll(`[data-figure="${state}"]`)) at.hidden = n === 0;
      const width = batch.names ? (100 * n) / batch.names : 0;
      for (const rect of root.querySelectorAll(`[data-bar="${state}"]`)) {
        rect.setAttribute("x", `${from}%`);
        rect.setAttribute("width", `${width}%`);
      }
      from += width;
    }
    for (const mark of marks) {
      put(`[data-count="${mark}"]`, number.format(batch[mark]));
      for (const at of root.querySelectorAll(`[data-figure="${mark}"]`)) at.hidden = batch[mark] === 0;
    }
    const bar = root.querySelector(".bar");
    if (bar) {
      const parts = order.filter((s) => batch.states[s]).map((s) => `, ${number.format(batch.states[s])} ${s}`);
      bar.setAttribute("aria-label", plural(batch.names, "name") + parts.join(""));
    }
    const standing = root.querySelector("[data-standing]") || document.querySelector(".batch-head [data-standing]");
    if (standing && standing.textContent.trim() !== words(batch.state)) {
      const badge = document.createElement("span");
      badge.className = `state state-${batch.state}`;
      badge.textContent = words(batch.state);
      standing.replaceChildren(badge);
    }
  };

  // A screen reader hears of progress now and then, and of the end.
  let spokenAt = 0;
  const speak = (batch) => {
    const now = Date.now();
    if (!batch.finished && now - spokenAt < 30000) return;
    spokenAt = now;
    say("spoken", batch.finished ? `${batch.batch} is finished.` : `${number.format(settled(batch))} of ${plural(batch.names, "name")} settled.`);
  };

  // merge makes the children of list those of fresh, and keeps what is equal,
  // so that neither pictures nor focus jump.
  const merge = (list, fresh) => {
    const old = new Map([...list.children].map((c) => [c.dataset.key, c]));
    const wanted = [...fresh.children].map((item) => {
      const known = old.get(item.dataset.key);
      return known && (known.dataset.look === item.dataset.look || known.contains(document.activeElement)) ? known : document.importNode(item, true);
    });
    const keep = new Set(wanted);
    for (const child of [...list.children]) if (!keep.has(child)) child.remove();
    wanted.forEach((item, i) => {
      if (list.children[i] !== item) list.insertBefore(item, list.children[i] || null);
    });
    enliven(list);
  };

  // refresh loads this page anew and takes over what lives.
  let extended = false; // more pages than the first stand in the list
  const refresh = async () => {
    const page = await get(location.href);
    if (!page) return;
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      if (!fresh) continue;
      const list = part.querySelector(".tiles");
      const freshList = fresh.querySelector(".tiles");
      if (list && freshList) merge(list, freshList);
      else if (!part.contains(document.activeElement)) {
        part.replaceChildren(...[...fresh.childNodes].map((n) => document.importNode(n, true)));
        enliven(part);
      }
    }
    const tiles = document.getElementById("tiles");
    const freshTiles = page.getElementById("tiles");
    if (!tiles || !freshTiles || extended) return;
    if (tiles.tagName === freshTiles.tagName) merge(tiles, freshTiles);
    else location.reload();
    const found = page.getElementById("found");
    if (found) say("found", found.textContent);
    const more = page.querySelector(".more");
    const here = document.querySelector(".more");
    if (more && !here) {
      document.getElementById("main").append(document.importNode(more, true));
      endless();
    } else if (more && here) here.querySelector("a").href = more.querySelector("a").href;
  };

  // A page that many look at is not loaded by all of them at once.
  let due = 0;
  const refreshSoon = () => {
    if (due) return;
    due = setTimeout(async () => {
      await refresh();
      due = 0;
    }, 1000 + Math.random() * 2000);
  };

  // The stream of progress. A page that nobody sees does not hold one: a
  // browser has few connections for each server.
  const live = document.querySelector("[data-events]");
  let stream = null;
  const onBatch = (event) => {
    say("connection", "");
    const batch = JSON.parse(event.data);
    if (live.dataset.batch) {
      const mark = [...order.map((state) => batch.states[state] || 0), ...marks.map((m) => batch[m]), batch.state].join(" ");
      figures(document, batch);
      speak(batch);
      if (live.dataset.mark !== mark) refreshSoon();
      live.dataset.mark = mark;
      return;
    }
    const card = [...live.children].find((c) => c.dataset.batch === batch.batch);
    // A card says in other words that a batch is broken.
    if (card && (batch.state === "broken") === Boolean(card.querySelector(".warn"))) figures(card, batch);
    else location.reload();
  };
  const open = () => {
    if (!live || stream || document.hidden) return;
    stream = new EventSource(live.dataset.events);
    stream.addEventListener("batch", onBatch);
    stream.addEventListener("gone", () => {
      if (live.dataset.batch) say("connection", "This batch was deleted.");
      else location.reload();
    });
    stream.addEventListener("trouble", (event) => {
      say("connection", `${JSON.parse(event.data).detail} What you see goes on by itself when it is back.`);
    });
    stream.addEventListener("error", () => {
      say("connection", "The server does not answer. What you see goes on by itself when it is back.");
      if (stream && stream.readyState === EventSource.CLOSED) {
        stream = null;
        setTimeout(open, 5000);
      }
    });
    stream.addEventListener("open", () => say("connection", ""));
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && stream) {
      stream.close();
      stream = null;
    }
    open();
  });
  addEventListener("pagehide", () => stream && stream.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      stream = null;
      open();
    }
  });

  // An empty page waits for the first batch or picture. The list of batches
  // has no stream of its own while it is empty.
  const waiting = document.querySelector("[data-wait]:not([data-events])");
  if (waiting) {
    setInterval(async () => {
      if (document.hidden) return;
      const page = await get(location.href);
      if (page && !page.querySelector("[data-wait]")) location.reload();
    }, 2000);
  }

  // The next page comes when the end of this one is near. The list ends at
  // some thousands, so that the browser stays quick; "More" then leads on.
  const longest = 3000;
  let watcher = null;
  const endless = () => {
    const tiles = document.getElementById("tiles");
    const more = document.getElementById("more");
    if (!tiles || !more || !tiles.children.length) return;
    if (watcher) watcher.disconnect();
    let loading = false;
    const load = async () => {
      if (loading || tiles.children.length >= longest) return;
      loading = true;
      more.setAttribute("aria-busy", "true");
      const page = await get(more.href);
      more.removeAttribute("aria-busy");
      loading = false;
      if (!page) return; // a click still leads there
      extended = true;
      const known = new Set([...tiles.children].map((c) => c.dataset.key));
      const items = page.getElementById("tiles");
      for (const item of items ? [...items.children] : []) {
        if (item.dataset.key !== undefined && !known.has(item.dataset.key)) tiles.append(document.importNode(item, true));
      }
      enliven(tiles);
      const next = page.getElementById("more");
      if (!next) {
        watcher.disconnect();
        more.closest(".more").remove();
        return;
      }
      more.href = next.href;
      more.textContent = next.textContent;
      watcher.unobserve(more);
      watcher.observe(more);
    };
    watcher = new IntersectionObserver((entries) => {
      if (entries.some((e) => e.isIntersecting)) load();
    }, { rootMargin: "1200px" });
    watcher.observe(more);
  };

  // Keys: arrows go from tile to tile, / to the search.
  const typing = (at) => at.closest("input, select, textarea, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const search = document.getElementById("q");
    if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
      search.select();
      return;
    }
    const tile = event.target.closest(".tile");
    if (!tile) return;
    const all = [...tile.parentElement.children];
    const columns = getComputedStyle(tile.parentElement).gridTemplateColumns.split(" ").length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    let to = all.indexOf(tile) + (steps[event.key] || 0);
    if (event.key === "Home") to = 0;
    else if (event.key === "End") to = all.length - 1;
    else if (!steps[event.key]) return;
    const target = all[to];
    if (!target) return;
    event.preventDefault();
    target.querySelector("a").focus();
  });

  // A form leaves out what was not chosen, so that addresses stay short.
  for (const form of document.querySelectorAll("form.filters")) {
    form.addEventListener("formdata", (event) => {
      for (const [key, value] of [...event.formData]) if (value === "") event.formData.delete(key);
    });
  }

  enliven(document);
  open();
  endless();
})();
