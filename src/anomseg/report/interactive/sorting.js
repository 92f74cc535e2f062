// Tables that sort by any column: click a heading, or press Enter on it. Missing values stay at the end.

function sortTables() {
  for (const head of document.querySelectorAll("table.sortable thead th")) {
    head.tabIndex = 0;
    head.addEventListener("click", () => sortBy(head));
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sortBy(head);
    });
  }
}

function sortBy(head) {
  const body = head.closest("table").tBodies[0];
  const falling = head.getAttribute("aria-sort") !== "descending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const place = head.cellIndex;
  const rows = [...body.rows].map((row) => ({ row, key: row.cells[place].dataset.value ?? "" }));
  const numeric = rows.every(({ key }) => key === "" || Number.isFinite(Number(key)));
  rows.sort((one, other) => {
    if (one.key === "" || other.key === "") return (one.key === "") - (other.key === "");
    const apart = numeric ? Number(one.key) - Number(other.key) : one.key.localeCompare(other.key, "en", { numeric: true });
    return falling ? -apart : apart;
  });
  body.append(...rows.map(({ row }) => row));
}
