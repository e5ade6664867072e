(() => {
  "use strict";
  document.documentElement.classList.add("js");
  for (const section of document.querySelectorAll(".findings")) {
    const form = section.querySelector(".controls");
    const list = section.querySelector(".list");
    if (!form || !list) continue;
    const items = [...list.children];
    const none = section.querySelector(".none");
    const apply = () => {
      const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const item of items) {
        const text = item.textContent.toLowerCase();
        item.hidden = !form[item.dataset.class].checked || !words.every((word) => text.includes(word));
        shown += item.hidden ? 0 : 1;
      }
      if (none) none.hidden = shown > 0;
      const by = { severity: (i) => -i.dataset.severity, time: (i) => +i.dataset.time, count: (i) => -i.dataset.count };
      const key = by[form.order.value] || by.severity;
      items.slice().sort((a, b) => key(a) - key(b)).forEach((item) => list.append(item));
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  const value = (cell) => {
    const text = cell.dataset.v ?? cell.textContent.replace(/[\u202f\s]/g, "");
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : cell.textContent;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => {
          const x = value(a.cells[column]), y = value(b.cells[column]);
          const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
          return down ? -order : order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
})();
