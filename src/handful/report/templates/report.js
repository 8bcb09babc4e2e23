"use strict";
// A figure begins with a number: "0.53 (0.45–0.61)". What is empty comes last.
const number = (text) => {
  const found = text.replace(/,/g, "").match(/^[+\u2212-]?\d+(\.\d+)?(e[+-]?\d+)?/);
  return found ? Number(found[0].replace("\u2212", "-")) : NaN;
};
const compare = (x, y) => {
  const [m, n] = [number(x), number(y)];
  if (Number.isNaN(m) && Number.isNaN(n)) return x.localeCompare(y);
  return (Number.isNaN(m) ? -Infinity : m) - (Number.isNaN(n) ? -Infinity : n) || 0;
};

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const column = head.cellIndex;
      const figures = head.classList.contains("num") || (column > 0 && table.matches(".matrix"));
      const up = head.getAttribute("aria-sort") === "descending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].textContent.trim();
      const order = figures ? compare : (x, y) => x.localeCompare(y);
      const rows = [...body.rows].sort((a, b) => order(value(a), value(b)));
      if (!up) rows.reverse();
      body.append(...rows);
    });
  });
}

// The labels of a confusion matrix, rows and columns alike.
for (const select of document.querySelectorAll("select[data-orders]")) {
  const table = document.getElementById(select.dataset.orders);
  const [head, body] = [table.tHead.rows[0], table.tBodies[0]];
  const rows = [...body.rows];
  const columns = [head, ...rows].map((row) => [row, [...row.cells].slice(1)]);
  select.closest("[hidden]").hidden = false;
  select.addEventListener("change", () => {
    const key = select.value;
    const name = (n) => rows[n].cells[0].textContent;
    const order = rows.map((_, n) => n).sort((a, b) =>
      key === "name" ? name(a).localeCompare(name(b))
        : key === "index" ? a - b
          : rows[b].dataset[key] - rows[a].dataset[key] || a - b);
    head.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    body.append(...order.map((n) => rows[n]));
    for (const [row, cells] of columns) row.append(...order.map((n) => cells[n]));
  });
}

// What a link leads to, or a printer wants, must not stay folded away.
const unfold = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let one = target; one; one = one.parentElement) if (one.matches("details")) one.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
});
