// The tables. Rows are kept and their texts changed, so that focus and selection stay where they are.

/** What a table body shows: `row(item)` gives each cell as `{ text, title?, className?, press? }`, by a key. */
export function table(body, key, row) {
  const rows = new Map();
  return (items) => {
    const keys = items.map(key);
    for (const [known, { element }] of rows) {
      if (keys.includes(known)) continue;
      element.remove();
      rows.delete(known);
    }
    for (const [index, item] of items.entries()) {
      const cells = row(item);
      const shown = rows.get(keys[index]) ?? newRow(cells);
      rows.set(keys[index], shown);
      for (const [i, cell] of cells.entries()) update(shown.cells[i], cell);
      place(body, shown.element, index);
    }
  };
}

function newRow(cells) {
  const element = document.createElement("tr");
  const made = cells.map(({ press }, index) => {
    const td = document.createElement(index === 0 ? "th" : "td");
    if (index === 0) td.scope = "row";
    const inside = press === undefined ? td : document.createElement("button");
    if (press !== undefined) {
      inside.type = "button";
      inside.addEventListener("click", press);
      td.append(inside);
    }
    element.append(td);
    return { td, inside };
  });
  return { element, cells: made };
}

function update({ td, inside }, { text, title = "", className = "", pressed }) {
  if (inside.textContent !== text) inside.textContent = text;
  if (td.title !== title) td.title = title;
  if (td.className !== className) td.className = className;
  if (pressed !== undefined) inside.setAttribute("aria-pressed", String(pressed));
}

/** Moved only where it must be: whoever has the focus would lose it. */
function place(body, element, index) {
  if (body.children[index] === element) return;
  const focused = element.contains(document.activeElement) ? document.activeElement : undefined;
  body.insertBefore(element, body.children[index] ?? null);
  focused?.focus();
}
