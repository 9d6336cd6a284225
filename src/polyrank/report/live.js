
  /* From here on only in a page that a server keeps up to date: swap in what is new, and leave
     the reader's place, folds, sorted tables, zoom and focus as they are. */
  const POLL = 1000; // milliseconds
  const FOCUSABLE = "a[href], button, summary, [tabindex]";
  let pressed = false; // a mark or a zoom that is being drawn must not lose its ground

  function cardOf(element) {
    const button = element.querySelector("button[data-csv]");
    return button && button.dataset.csv;
  }

  /* The first thing with a name that the reader sees, and how far down it stands. */
  function place() {
    if (window.scrollY < 1) return null; // at the top the reader stays at the top
    const seen = Array.from(document.querySelectorAll("main [id]")).find(
      (element) => element.getBoundingClientRect().bottom > 0 && element.offsetParent);
    return seen ? [seen.id, seen.getBoundingClientRect().top] : null;
  }

  function goBackTo(before) {
    const seen = before && document.getElementById(before[0]);
    const moved = seen ? seen.getBoundingClientRect().top - before[1] : 0;
    if (Math.abs(moved) >= 1) window.scrollBy({ top: moved, behavior: "instant" });
  }

  function tables() {
    return Array.from(document.querySelectorAll("main .card"), (card) => {
      const box = card.querySelector(".scroll");
      const head = card.querySelector("th[aria-sort]");
      return box && [cardOf(card), box.scrollLeft, box.scrollTop,
        head ? [head.cellIndex, head.getAttribute("aria-sort")] : null];
    }).filter(Boolean);
  }

  function restoreTables(before) {
    const cards = new Map(Array.from(document.querySelectorAll("main .card"), (card) => [cardOf(card), card]));
    before.forEach(([key, left, top, sorted]) => {
      const box = cards.has(key) && cards.get(key).querySelector(".scroll");
      if (!box) return;
      const button = sorted && box.querySelectorAll(".sort")[sorted[0]];
      if (button) sort(button);
      if (button && sorted[1] === "ascending") sort(button); // the second time the other way round
      box.scrollTo({ left, top, behavior: "instant" });
    });
  }

  function groupOf(element) {
    const group = element.closest("main section, main details");
    return group && (group.getAttribute("aria-labelledby") || group.className);
  }

  function focusable(group) {
    return Array.from(document.querySelectorAll("main section, main details"))
      .filter((element) => groupOf(element) === group)
      .flatMap((element) => Array.from(element.querySelectorAll(FOCUSABLE)));
  }

  function focused() {
    const element = document.activeElement;
    const group = element && groupOf(element);
    return group ? [group, focusable(group).indexOf(element), element.tagName] : null;
  }

  function restoreFocus(before) {
    const element = before && focusable(before[0])[before[1]];
    if (element && element.tagName === before[2]) element.focus({ preventScroll: true });
  }

  /* A chart that is there already stays, with its zoom; it is only drawn anew. */
  function keepCharts(fresh) {
    fresh.querySelectorAll("[data-figure]").forEach((box) => {
      const old = document.getElementById(box.id);
      if (!old) return;
      for (const { name, value } of box.attributes) if (name !== "class") old.setAttribute(name, value);
      box.replaceWith(old);
    });
  }

  function swap(page) {
    const fresh = new DOMParser().parseFromString(page, "text/html");
    const before = [place(), tables(), focused()];
    const folds = new Set(Array.from(document.querySelectorAll("main details[open]"), groupOf));
    Object.assign(content, JSON.parse(fresh.getElementById("content").textContent));
    document.title = fresh.title;
    for (const part of ["h1", ".facts", "nav"]) {
      const [old, now] = [document.querySelector(part), fresh.querySelector(part)];
      if (old.innerHTML !== now.innerHTML) old.replaceChildren(...now.childNodes);
    }
    fresh.querySelectorAll("main details").forEach((fold) => { fold.open = folds.has(groupOf(fold)); });
    const main = fresh.querySelector("main");
    keepCharts(main);
    document.querySelectorAll("main [data-figure]").forEach((box) => Plotly.purge(box)); // gone for good
    document.getElementById("main").replaceChildren(...main.childNodes);
    drawAll();
    restoreTables(before[1]);
    restoreFocus(before[2]);
    goBackTo(before[0]);
  }

  function say(text) {
    const place = document.getElementById("live");
    if (place.textContent !== text) place.textContent = text;
  }

  /* Return the page if it has changed, "" if not; null where nobody answers. */
  async function ask() {
    try {
      const answer = await fetch("/version", { cache: "no-store" });
      if (!answer.ok || (await answer.text()) === content.version) return "";
      return await (await fetch("/", { cache: "no-store" })).text();
    } catch {
      return null;
    }
  }

  async function follow() {
    try {
      const page = pressed ? "" : await ask();
      say(page === null ? "not followed any more; this is the last that was seen" : "live");
      if (page && !pressed) swap(page); // it may have been pressed since
    } finally {
      setTimeout(follow, POLL);
    }
  }

  ["pointerdown", "pointermove", "pointerup", "pointercancel"].forEach((kind) => {
    window.addEventListener(kind, (event) => { pressed = event.buttons !== 0; }, true);
  });
  setTimeout(follow, POLL);
