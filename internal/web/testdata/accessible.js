// Lists what is wrong on a page for who cannot see it, or not well: names,
// labels, alternatives, headings, landmarks, doubled IDs, contrast (WCAG 2.2,
// 1.4.3), and what stands out of the window.
(() => {
  const faults = [];
  const where = (el) => el.outerHTML.slice(0, 120).replace(/\s+/g, " ");
  const text = (el) => {
    const copy = el.cloneNode(true);
    for (const hidden of copy.querySelectorAll("[aria-hidden=true], [hidden]")) hidden.remove();
    for (const img of copy.querySelectorAll("img[alt]")) img.replaceWith(img.alt);
    return copy.textContent.trim();
  };
  const name = (el) => {
    const by = el.getAttribute("aria-labelledby");
    if (by) return by.split(/\s+/).map((id) => document.getElementById(id)?.textContent || "").join(" ").trim();
    if (el.getAttribute("aria-label")) return el.getAttribute("aria-label").trim();
    if (el.labels && el.labels.length) return [...el.labels].map(text).join(" ").trim();
    if (el.matches("input, select, textarea")) return "";
    return text(el);
  };
  const visible = (el) => el.checkVisibility({ visibilityProperty: true });

  for (const el of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0'], [role=img]")) {
    if (visible(el) && !name(el)) faults.push("no name: " + where(el));
  }
  for (const img of document.images) if (!img.hasAttribute("alt")) faults.push("no alt: " + where(img));
  for (const table of document.querySelectorAll("table")) {
    if (!table.querySelector("thead th[scope=col]")) faults.push("no column headings: " + where(table));
  }

  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");
  for (const landmark of ["main", "header", "nav"]) {
    if (document.querySelectorAll(landmark).length < 1) faults.push("no " + landmark);
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push(document.querySelectorAll("h1").length + " h1");
  let level = 0;
  for (const h of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const at = Number(h.tagName[1]);
    if (at > level + 1) faults.push("heading skips a level: " + where(h));
    level = at;
  }
  const ids = new Set();
  for (const el of document.querySelectorAll("[id]")) {
    if (ids.has(el.id)) faults.push("ID twice: " + el.id);
    ids.add(el.id);
  }

  const colour = (css) => {
    const n = css.match(/[\d.]+/g).map(Number);
    return { r: n[0], g: n[1], b: n[2], a: n.length > 3 ? n[3] : 1 };
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1,
  });
  const ground = (el) => {
    const layers = [];
    for (let at = el; at; at = at.parentElement) {
      const c = colour(getComputedStyle(at).backgroundColor);
      if (c.a > 0) layers.push(c);
      if (c.a === 1) break;
    }
    return layers.reduceRight((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = (c) => {
    const [r, g, b] = [c.r, c.g, c.b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const el = node.parentElement;
    if (!node.data.trim() || el.closest("script, noscript, .unseen, option, datalist") || !visible(el)) continue;
    const style = getComputedStyle(el);
    const below = ground(el);
    const [a, b] = [light(over(colour(style.color), below)), light(below)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const px = parseFloat(style.fontSize);
    const large = px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: ${node.data.trim().slice(0, 40)} in ${where(el)}`);
  }

  if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  return faults;
})()
