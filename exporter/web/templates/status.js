"use strict";
const REFRESH_MS = 30000;
const body = document.querySelector("#queries tbody");
const rows = [...body.rows];
const targets = [...document.querySelectorAll("section.target")];
const filter = document.getElementById("filter");
const problems = document.getElementById("problems");
const refresh = document.getElementById("refresh");
const shown = document.getElementById("shown");
const technical = document.getElementById("technical");

// The URL keeps the choices, so that a refresh, a bookmark or a shared link shows the same.
function remember() {
  const chosen = new URLSearchParams();
  if (filter.value) chosen.set("filter", filter.value);
  if (problems.checked) chosen.set("problems", "");
  if (refresh.checked) chosen.set("refresh", "");
  if (technical.open) chosen.set("technical", "");
  history.replaceState(null, "", `${location.pathname}${location.search}#${chosen}`);
}

function recall() {
  const chosen = new URLSearchParams(location.hash.slice(1));
  filter.value = chosen.get("filter") ?? "";
  problems.checked = chosen.has("problems");
  refresh.checked = chosen.has("refresh");
  technical.open ||= chosen.has("technical");
}

function show() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hide = (element, isProblem) => {
    const text = element.textContent.toLowerCase();
    element.hidden = !words.every((word) => text.includes(word)) || (problems.checked && !isProblem);
  };
  for (const row of rows) hide(row, row.matches(".bad, .warn"));
  for (const target of targets) hide(target, target.matches(".problem"));
  const count = targets.filter((target) => !target.hidden).length;
  shown.textContent = count === targets.length ? "" : `${count} of ${targets.length} targets shown`;
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
for (const time of document.querySelectorAll("time")) {
  time.title = `${new Date(time.dateTime).toLocaleString()} local time, ${time.title}`;
}
for (const [element, event] of [[filter, "input"], [problems, "change"], [refresh, "change"], [technical, "toggle"]]) {
  element.addEventListener(event, () => { show(); remember(); });
}
setInterval(() => { if (refresh.checked && document.activeElement !== filter) location.reload(); }, REFRESH_MS);
recall();
show();
document.getElementById("controls").hidden = false;
