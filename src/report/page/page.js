// What a page without this also shows: values on pointing and on the arrow keys, tables sorted and filtered.
"use strict";
{
  const tip = document.getElementById("tip");
  let now = null;

  const hide = () => {
    if (now) now.classList.remove("now");
    now = null;
    tip.hidden = true;
  };

  const show = (point) => {
    if (point === now) return;
    hide();
    now = point;
    point.classList.add("now");
    tip.textContent = point.getAttribute("aria-label");
    tip.hidden = false;
    const at = point.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), width - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 6;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 4 ? above : at.bottom + 6) + scrollY}px`;
  };

  // Left and right go along a line, up and down to the next line at the nearest place.
  const next = (chart, key) => {
    const lines = [...chart.querySelectorAll(".line")].map((l) => [...l.querySelectorAll(".point")]).filter((l) => l.length);
    if (!lines.length) return null;
    const line = lines.findIndex((l) => l.includes(now));
    if (line < 0) return lines[0][0];
    const place = lines[line].indexOf(now);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step) return lines[line][Math.min(Math.max(0, place + step), lines[line].length - 1)];
    const other = lines[(line + (key === "ArrowDown" ? 1 : -1) + lines.length) % lines.length];
    const far = (p) => Math.abs(p.dataset.x - now.dataset.x);
    return other.reduce((best, p) => (far(p) < far(best) ? p : best));
  };

  for (const chart of document.querySelectorAll("svg.chart")) {
    // The browser's own tips would come on top of these; the values stay in the labels.
    chart.querySelectorAll(".point > title").forEach((title) => title.remove());
    chart.addEventListener("pointerover", (e) => {
      const point = e.target.closest(".point");
      if (point) show(point);
      else hide();
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (e) => {
      if (e.key === "Escape") return hide();
      if (!/^Arrow(Left|Right|Up|Down)$/.test(e.key)) return;
      e.preventDefault();
      const point = next(chart, e.key);
      if (point) show(point);
    });
  }

  const valueOf = (cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value));

  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const isNumeric = [...body.rows].some((row) => row.cells[column].dataset.column !== undefined);
    const order = (a, b) => {
      const [x, y] = [a.cells[column], b.cells[column]];
      if (!isNumeric) return direction * x.textContent.localeCompare(y.textContent, "en", { numeric: true });
      const [m, n] = [valueOf(x), valueOf(y)];
      // What is missing comes last either way.
      if (m === null || n === null) return (m === null) - (n === null);
      return direction * (m - n);
    };
    body.append(...[...body.rows].sort(order));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const direction = heading.ariaSort === "ascending" ? -1 : 1;
        headings.forEach((other) => (other.ariaSort = "none"));
        heading.ariaSort = direction > 0 ? "ascending" : "descending";
        sort(table, column, direction);
      });
    });
  }

  const filter = document.getElementById("filter");
  if (filter) {
    filter.closest("p").hidden = false;
    const rows = [...document.getElementById("cells-table").tBodies[0].rows];
    const count = document.getElementById("filter-count");
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        row.hidden = !words.every((word) => texts.get(row).includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${rows.length} cells` : `${rows.length} cells`;
    });
  }
}
