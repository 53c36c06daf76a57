"use strict";

// Click on a heading: sort by it, again: the other way round. Undefined values stay last.
function sortTable(table, column) {
  const headings = [...table.tHead.rows[0].cells];
  const ascending = headings[column].getAttribute("aria-sort") !== "ascending";
  const key = (row) => row.cells[column].dataset.v;
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return ascending ? order : -order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  headings.forEach((heading, i) =>
    heading.setAttribute("aria-sort", i !== column ? "none" : ascending ? "ascending" : "descending"));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) =>
    heading.querySelector("button").addEventListener("click", () => sortTable(table, column)));
}

// Enlarge: the panel itself moves into the dialog and back; its outlines are vectors and stay sharp.
const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll("button.enlarge")) {
  button.addEventListener("click", () => {
    const frame = button.parentElement.nextElementSibling;
    const place = document.createElement("div");
    place.style.height = `${frame.offsetHeight}px`;
    frame.replaceWith(place);
    dialog.append(frame);
    dialog.showModal();
    dialog.addEventListener("close", () => place.replaceWith(frame), { once: true });
  });
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
