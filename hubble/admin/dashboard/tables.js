// Formats values for display, and updates the rows of tables in place, so that the focus is kept.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return `${unit && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export const rate = (perSecond) => `${bytes(perSecond)}/s`;

export function millis(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const ms = seconds * 1000;
  if (!ms) return "0 ms";
  return ms >= 999.5 ? `${(ms / 1000).toFixed(1)} s` : `${ms < 9.95 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

export function age(since) {
  if (!since) return "–";
  const seconds = Math.max(0, Math.round(Date.now() / 1000 - since));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

// A table: columns are { title, text(row), sort?, className?(row), label? }; actions are { title, does(row) }.
export class Table {
  /**
   * @param {HTMLTableElement} element
   * @param {any[]} columns
   * @param {{ key: (row: any) => string, actions?: any[], onSort?: (sort: string) => void }} options
   */
  constructor(element, columns, { key, actions = [], onSort }) {
    this.columns = columns;
    this.actions = actions;
    this.key = key;
    this.rows = new Map();
    this.body = element.tBodies[0];
    element.setAttribute("role", "table");
    this.heads = columns.map((column) => {
      const head = make("th", { scope: "col", className: column.number ? "number" : "" });
      if (column.sort) head.append(make("button", { type: "button", textContent: column.title, onclick: () => onSort(column.sort) }));
      else head.textContent = column.title;
      return head;
    });
    if (actions.length) this.heads.push(make("th", { scope: "col" }, make("span", { className: "sr", textContent: "Actions" })));
    element.tHead.rows[0].append(...this.heads);
  }

  sorted(by, descending) {
    this.columns.forEach((column, index) => {
      if (column.sort === by) this.heads[index].setAttribute("aria-sort", descending ? "descending" : "ascending");
      else this.heads[index].removeAttribute("aria-sort");
    });
  }

  show(items) {
    const wanted = new Set(items.map(this.key));
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) { row.remove(); this.rows.delete(key); }
    }
    items.forEach((item, index) => {
      let row = this.rows.get(this.key(item));
      if (!row) { row = this.newRow(); this.rows.set(this.key(item), row); }
      row.item = item;
      this.fill(row, item);
      if (this.body.rows[index] !== row) this.body.insertBefore(row, this.body.rows[index] ?? null);
    });
  }

  newRow() {
    const row = make("tr", { role: "row" }); // narrow screens drop the table layout; the roles keep it for screen readers
    for (const column of this.columns) {
      const cell = row.insertCell();
      cell.setAttribute("role", "cell");
      if (column.number) cell.classList.add("number");
      if (column.label !== "") cell.dataset.label = column.label ?? column.title;
    }
    if (this.actions.length) {
      const cell = row.insertCell();
      cell.className = "actions";
      cell.setAttribute("role", "cell");
      for (const action of this.actions) {
        cell.append(make("button", { type: "button", textContent: action.title, onclick: () => action.does(row.item) }));
      }
    }
    return row;
  }

  fill(row, item) {
    this.columns.forEach((column, index) => {
      const cell = row.cells[index];
      const text = column.text(item);
      put(cell, text);
      if (cell.title !== text && text.length > 24) cell.title = text;
      if (column.className) cell.className = column.className(item);
    });
    this.actions.forEach((action, index) => {
      row.lastElementChild.children[index].setAttribute("aria-label", `${action.title} ${action.about(item)}`);
    });
  }
}
