"use strict";
const body = document.querySelector("#queries tbody");
const rows = [...body.rows];
const filter = document.getElementById("filter");
const problems = document.getElementById("problems");
const shown = document.getElementById("shown");

function show() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const matches = words.every((word) => text.includes(word));
    const problem = row.classList.contains("bad") || row.classList.contains("warn");
    row.hidden = !matches || (problems.checked && !problem);
    count += row.hidden ? 0 : 1;
  }
  shown.textContent = count === rows.length ? "" : `${count} of ${rows.length} shown`;
}

function value(row, column) {
  const cell = row.cells[column];
  return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
}

function sort(header) {
  const column = header.cellIndex;
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  rows.sort((one, two) => {
    const [a, b] = [value(one, column), value(two, column)];
    const order = typeof a === "number" ? a - b : a.localeCompare(b);
    return down ? -order : order;
  });
  body.append(...rows);
}

for (const header of document.querySelectorAll("#queries thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = header.textContent;
  button.addEventListener("click", () => sort(header));
  header.replaceChildren(button);
}
filter.addEventListener("input", show);
problems.addEventListener("change", show);
document.getElementById("controls").hidden = false;
