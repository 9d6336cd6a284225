/* Draws the charts of the page, follows light, dark and paper, sorts tables, offers CSV. */
(function () {
  "use strict";

  const content = JSON.parse(document.getElementById("content").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 560px)");
  const PAPER_WIDTH = 650; // CSS pixels that fit on A4 and on US letter
  const COARSE = window.matchMedia("(pointer: coarse)").matches; // a finger: it scrolls the page
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // the data stay on the reader's machine
    plotlyServerURL: "",
    displayModeBar: COARSE ? false : "hover",
    modeBarButtons: [["toImage", {
      name: "print",
      title: "Print this chart alone, or save it as PDF",
      icon: { width: 24, height: 24, path: "M6 2h12v5h3v10h-3v5H6v-5H3V7h3zM8 4v3h8V4zM8 14v6h8v-6z" },
      click: printAlone,
    }, "resetScale2d"]],
    toImageButtonOptions: { format: "svg" },
  };

  /* Replace colour names such as "@c0" by the page's colours; only where a colour stands. */
  function coloured(value, key, style) {
    if (Array.isArray(value)) return value.map((item) => coloured(item, key, style));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([name, item]) => [name, coloured(item, name, style)]));
    }
    const isColour = /color|colorscale/.test(key) && typeof value === "string" && value[0] === "@";
    return isColour ? style.getPropertyValue("--" + value.slice(1)).trim() : value;
  }

  function axis(own, size) {
    return {
      gridcolor: "@grid", linecolor: "@rule", zerolinecolor: "@rule", automargin: true,
      fixedrange: COARSE, showgrid: !own || own.type !== "category", ...own,
      title: { standoff: 10, font: { size }, ...(own && own.title) },
    };
  }

  function themed(figure, style) {
    const size = narrow.matches ? 11 : 12.5;
    const own = figure.layout;
    const layout = {
      hovermode: "x", showlegend: figure.traces.filter((trace) => trace.showlegend !== false).length > 1,
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.03, yanchor: "bottom", traceorder: "normal" },
      margin: { l: 48, r: 12, t: 28, b: 44 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size, color: "@quiet" },
      hoverlabel: { bgcolor: "@card", bordercolor: "@rule", font: { color: "@ink", size: 13 }, namelength: -1 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "@quiet", activecolor: "@ink" },
      dragmode: COARSE ? false : "zoom",
      ...own, xaxis: axis(own.xaxis, size), yaxis: axis(own.yaxis, size),
    };
    if (own.yaxis2) layout.yaxis2 = axis(own.yaxis2, size);
    return [coloured(figure.traces, "", style), coloured(layout, "", style)];
  }

  /* Unpack plotly.js and run it; the policy of the page knows its hash. */
  async function unpack() {
    const packed = atob(document.getElementById("plotly").textContent);
    const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function draw(box, width) {
    if (!window.Plotly) return; // not unpacked yet
    const [traces, layout] = themed(
      content.figures[box.dataset.figure], getComputedStyle(document.documentElement));
    if (width) Object.assign(layout, { width, height: box.clientHeight });
    Plotly.react(box, traces, layout, CONFIG);
  }

  function isOpen(box) {
    return !box.closest("details:not([open])");
  }

  function drawAll(width) {
    document.querySelectorAll("[data-figure]").forEach((box) => {
      if (isOpen(box)) draw(box, width);
    });
  }

  /* A text that a spreadsheet would run as a formula gets an apostrophe before it. */
  function csvCell(value) {
    if (value === null || value === undefined) return "";
    let text = String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && isNaN(Number(text))) text = "'" + text;
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  function csv(data) {
    return [data.columns, ...data.rows].map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
  }

  function download(button) {
    const blob = new Blob(["\ufeff", csv(content.data[button.dataset.csv])], { type: "text/csv;charset=utf-8" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = button.dataset.csv + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function compare(one, other) {
    if (one === "" || other === "") return (one === "") - (other === ""); // missing values last
    const difference = Number(one) - Number(other);
    return Number.isNaN(difference) ? one.localeCompare(other, "en", { numeric: true }) : difference;
  }

  function sort(button) {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const direction = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    const sign = direction === "ascending" ? 1 : -1;
    const value = (row) => {
      const cell = row.cells[head.cellIndex];
      return cell.classList.contains("number") ? cell.dataset.value ?? "" : cell.textContent;
    };
    const rows = Array.from(body.rows, (row) => [value(row), row]);
    rows.sort(([one], [other]) => compare(one, other) * (one === "" || other === "" ? 1 : sign));
    head.parentNode.querySelectorAll("th").forEach((cell) => cell.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction);
    body.append(...rows.map(([, row]) => row));
  }

  function openTarget() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details");
    if (folded && !folded.open) {
      folded.open = true;
      target.scrollIntoView();
    }
  }

  function beforePrint() {
    document.documentElement.classList.add("printing");
    drawAll(PAPER_WIDTH);
  }

  function afterPrint() {
    document.documentElement.classList.remove("printing");
    drawAll();
  }

  /* Print one chart on a page of its size; as PDF it stays vectors. */
  function printAlone(box) {
    const page = document.createElement("style");
    page.textContent = `@page { size: ${PAPER_WIDTH}px ${box.clientHeight + 1}px; margin: 0 }`;
    document.head.append(page);
    box.classList.add("alone");
    window.addEventListener("afterprint", () => {
      page.remove();
      box.classList.remove("alone");
    }, { once: true });
    window.print();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.dataset.csv) download(button);
    if (button && button.classList.contains("sort")) sort(button);
  });
  document.addEventListener("toggle", (event) => {
    const inside = event.target.open ? event.target.querySelectorAll("[data-figure]") : [];
    inside.forEach((box) => { if (isOpen(box)) draw(box); });
  }, true); // it does not bubble
  dark.addEventListener("change", () => drawAll());
  narrow.addEventListener("change", () => drawAll());
  window.addEventListener("beforeprint", beforePrint);
  window.addEventListener("afterprint", afterPrint);
  window.addEventListener("hashchange", openTarget);
  openTarget();
  unpack().then(() => drawAll(), () => {
    document.querySelectorAll("[data-figure]").forEach((box) => {
      box.textContent = "This browser cannot unpack the charts; their data can be downloaded below.";
    });
  }).finally(() => { document.documentElement.dataset.charts = "done"; });
})();
