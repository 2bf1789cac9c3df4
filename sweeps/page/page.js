/* The cells of a sweep, of which only those in view are in the document. */
(() => {
'use strict';
const { data, shape, total, DONE, FAILED, indexOf, label, cellOf, values, command } = sweep;
const byId = (id) => document.getElementById(id);
const GAP = 6, SIDE = 140, TOP = 76;

/* --- what is chosen; in the address, so that it stays when the page is loaded again */

const chosen = { columns: 0, rows: null, fixed: shape.map(() => 0), size: 160, only: false };
if (shape.length > 1) [chosen.rows, chosen.columns] = [0, 1];
try {
  Object.assign(chosen, JSON.parse(decodeURIComponent(location.hash.slice(1))));
} catch { /* an address of another kind */ }
if (chosen.fixed.length !== shape.length || chosen.fixed.some((step, axis) => !(step < shape[axis]))) chosen.fixed = shape.map(() => 0);
for (const where of ['columns', 'rows']) if (!(chosen[where] < shape.length)) chosen[where] = where === 'columns' ? 0 : null;

const storage = `sweep ${location.pathname}`;
const favourites = new Set(JSON.parse(localStorage.getItem(storage) || '[]'));
let compared = null;

function save() {
  history.replaceState(null, '', `#${encodeURIComponent(JSON.stringify(chosen))}`);
}

function favour(key) {
  favourites.has(key) ? favourites.delete(key) : favourites.add(key);
  localStorage.setItem(storage, JSON.stringify([...favourites]));
  draw(true);
}

/* --- elements */

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function choice(name, options, value, change) {
  const select = make('select', { onchange: () => { change(select.value); save(); header(); draw(true); } },
    ...options.map(([key, words]) => make('option', { value: key, selected: key === value }, words)));
  return make('label', {}, name, select);
}

function header() {
  byId('name').textContent = document.title = data.name;
  const cells = Object.values(data.cells);
  const done = cells.filter((cell) => cell[1] === DONE).length, failed = cells.filter((cell) => cell[1] === FAILED).length;
  const when = new Date(data.written * 1000).toLocaleString();
  byId('state').textContent = `${done} of ${total} cells done` + (failed ? `, ${failed} failed` : '')
    + (done + failed < total ? ` at ${when}; load this page again for more` : '');
  const names = data.axes.map((axis, number) => [String(number), axis.name]);
  const place = (where) => (value) => {
    const axis = value === '' ? null : Number(value), other = where === 'rows' ? 'columns' : 'rows';
    if (axis !== null && chosen[other] === axis) chosen[other] = chosen[where] ?? (other === 'rows' ? null : axis);
    chosen[where] = axis;
    if (chosen.columns === chosen.rows) chosen.rows = null;
  };
  const parts = [choice('Columns', names, String(chosen.columns), place('columns'))];
  if (names.length > 1) parts.push(choice('Rows', [['', '(none)'], ...names], String(chosen.rows ?? ''), place('rows')));
  data.axes.forEach((axis, number) => {
    if (number === chosen.columns || number === chosen.rows) return;
    const steps = axis.steps.map((_, step) => [String(step), label(number, step)]);
    parts.push(choice(axis.name, steps, String(chosen.fixed[number]), (value) => { chosen.fixed[number] = Number(value); }));
  });
  byId('axes').replaceChildren(...parts);
}

/* --- the sheet: only what is in view is there */

const area = byId('area'), sheet = byId('sheet');
let shown = new Map();

function placeOf(column, row) {
  const place = [...chosen.fixed];
  place[chosen.columns] = column;
  if (chosen.rows !== null) place[chosen.rows] = row;
  return indexOf(place);
}

/* Rows and columns of the sheet, and which cell is in each. Without rows, the columns' cells fill lines. */
function layout() {
  const step = chosen.size + GAP, count = shape[chosen.columns];
  if (chosen.only || chosen.rows === null) {
    const every = chosen.only
      ? Object.keys(data.cells).map(Number).filter((index) => favourites.has(data.cells[index][0]))
      : Array.from({ length: count }, (_, column) => placeOf(column, 0));
    const across = Math.max(1, Math.floor((area.clientWidth - GAP) / step));
    return { flow: true, left: GAP, top: GAP, width: step, height: step + 34, columns: across, rows: Math.ceil(every.length / across),
      index: (column, row) => every[row * across + column] };
  }
  return { flow: false, left: SIDE, top: TOP, width: step, height: step, columns: count, rows: shape[chosen.rows], index: placeOf };
}

function put(key, wanted, build) {
  wanted.add(key);
  let element = shown.get(key);
  if (!element) {
    element = build();
    shown.set(key, element);
    sheet.append(element);
  }
  return element;
}

function box(element, left, top, width, height) {
  Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
}

function words(kind, text) {
  return make('div', { className: `label ${kind}`, title: text }, make('span', {}, text));
}

function draw(afresh = false) {
  if (afresh) {
    sheet.replaceChildren();
    shown = new Map();
  }
  const grid = layout(), wanted = new Set();
  sheet.style.width = `${grid.left + grid.columns * grid.width}px`;
  sheet.style.height = `${grid.top + grid.rows * grid.height}px`;
  const { scrollLeft: x, scrollTop: y, clientWidth: w, clientHeight: h } = area;
  const first = (offset, start, size) => Math.max(0, Math.floor((offset - start) / size));
  const columns = [first(x, 0, grid.width), Math.min(grid.columns, first(x + w, grid.left, grid.width) + 1)];
  const rows = [first(y, 0, grid.height), Math.min(grid.rows, first(y + h, grid.top, grid.height) + 1)];
  for (let row = rows[0]; row < rows[1]; row += 1) {
    for (let column = columns[0]; column < columns[1]; column += 1) {
      const index = grid.index(column, row);
      if (index === undefined) continue;
      const left = grid.left + column * grid.width, top = grid.top + row * grid.height;
      box(put(`c${index}`, wanted, () => cellElement(index)), left, top, chosen.size, chosen.size);
      if (grid.flow) {
        const text = chosen.only ? values(index).map(([name, value]) => `${name.split('.').pop()} ${value}`).join(', ') : label(chosen.columns, column + row * grid.columns);
        box(put(`l${index}`, wanted, () => words('', text)), left, top + chosen.size, chosen.size, 32);
      }
    }
  }
  if (!grid.flow) edges(grid, columns, rows, wanted);
  for (const [key, element] of shown) {
    if (!wanted.has(key)) {
      element.remove();
      shown.delete(key);
    }
  }
}

function edges(grid, columns, rows, wanted) {
  const { scrollLeft: x, scrollTop: y } = area;
  for (let column = columns[0]; column < columns[1]; column += 1) {
    box(put(`t${column}`, wanted, () => words('top', label(chosen.columns, column))), grid.left + column * grid.width, y, grid.width, TOP);
  }
  for (let row = rows[0]; row < rows[1]; row += 1) {
    box(put(`s${row}`, wanted, () => words('side', label(chosen.rows, row))), x, grid.top + row * grid.height, SIDE, grid.height);
  }
  const names = `${data.axes[chosen.columns].name} →\n${data.axes[chosen.rows].name} ↓`;
  box(put('corner', wanted, () => words('corner', names)), x, y, SIDE, TOP);
}

function cellElement(index) {
  const cell = cellOf(index);
  const element = make('button', { type: 'button', className: 'cell', onclick: (event) => (event.shiftKey ? compare(index) : open(index)),
    onmouseenter: (event) => hint(event, index), onmousemove: (event) => hint(event, index), onmouseleave: () => { byId('hint').style.display = 'none'; } });
  element.dataset.index = index;
  element.ariaLabel = values(index).map(([name, value]) => `${name} ${value}`).join(', ');
  if (!cell) return element;
  element.classList.toggle('failed', cell.state === FAILED);
  element.classList.toggle('favourite', favourites.has(cell.key));
  element.classList.toggle('chosen', compared === index);
  if (cell.state === FAILED) element.append('failed');
  else if (cell.picture) element.append(make('img', { src: `thumbs/${cell.key}.webp`, alt: '', decoding: 'async' }));
  else element.append(cell.files[0] || 'nothing');
  return element;
}

function hint(event, index) {
  const cell = cellOf(index), box_ = byId('hint');
  const lines = values(index).map(([name, value]) => `${name} = ${value.length > 300 ? `${value.slice(0, 300)}…` : value}`);
  if (!cell) lines.push('not run yet');
  else lines.push(cell.state === FAILED ? cell.fault : `${cell.seconds.toFixed(2)} s`);
  box_.textContent = lines.join('\n');
  box_.style.display = 'block';
  box_.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box_.offsetWidth - 8))}px`;
  box_.style.top = `${event.clientY + 18 + box_.offsetHeight > innerHeight ? event.clientY - box_.offsetHeight - 10 : event.clientY + 18}px`;
}

/* --- one cell, two cells, a list */

const view = byId('view');

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area_ = make('textarea', { value: text });
    view.append(area_);
    area_.select();
    document.execCommand('copy');
    area_.remove();
  }
  button.textContent = 'Copied';
}

function table(index, other = null) {
  const theirs = new Map(other === null ? [] : values(other));
  return make('table', {}, ...values(index).map(([name, value]) => make('tr',
    { className: theirs.has(name) && theirs.get(name) !== value ? 'differs' : '' }, make('td', {}, name), make('td', {}, value))));
}

function figure(index, other = null) {
  const cell = cellOf(index), parts = [];
  if (!cell) parts.push('not run yet');
  else if (cell.state === FAILED) parts.push(make('pre', {}, cell.fault));
  else if (cell.picture) parts.push(make('a', { href: cell.url(cell.picture), target: '_blank' }, make('img', { src: cell.url(cell.picture), alt: '' })));
  else if (cell.files.length) parts.push(make('iframe', { src: cell.url(cell.files[0]) }));
  return make('figure', {}, ...parts, table(index, other));
}

function show(bar, ...parts) {
  byId('hint').style.display = 'none';
  view.replaceChildren(make('div', { className: 'bar' }, ...bar, make('button', { type: 'button', className: 'close', onclick: () => view.close() }, 'Close')), ...parts);
  if (!view.open) view.showModal();
}

function open(index) {
  const cell = cellOf(index), bar = [], parts = [make('div', { className: 'pair' }, figure(index))];
  view.dataset.index = index;
  if (cell) {
    const star = make('button', { type: 'button', ariaPressed: String(favourites.has(cell.key)), onclick: () => { favour(cell.key); open(index); } }, '★ Favourite');
    bar.push(star, make('button', { type: 'button', onclick: () => compare(index) }, compared === null || compared === index ? 'Compare with …' : 'Compare'));
    parts.push(make('p', {}, `${cell.seconds.toFixed(2)} s, in ${cell.folder}`),
      make('p', {}, ...cell.files.flatMap((name) => [make('a', { href: cell.url(name), target: '_blank' }, name), '  '])));
  }
  const line = command(index);
  if (line) {
    const button = make('button', { type: 'button', onclick: () => copy(line, button) }, 'Copy the command');
    parts.push(make('pre', { id: 'command' }, line), button);
  }
  show(bar, ...parts);
}

function compare(index) {
  if (compared === null || compared === index) {
    compared = index;
    view.close();
    draw(true);
    byId('state').textContent = 'Shift-click the other cell (Esc: none)';
    return;
  }
  const first = compared;
  compared = null;
  delete view.dataset.index;
  header();
  draw(true);
  show([], make('div', { className: 'pair' }, figure(first, index), figure(index, first)));
}

function list() {
  const found = Object.keys(data.cells).map(Number).filter((index) => favourites.has(data.cells[index][0]));
  const text = JSON.stringify(found.map((index) => {
    const cell = cellOf(index);
    return { cell: cell.key, values: Object.fromEntries(values(index)), files: cell.files.map((name) => `${cell.folder}/${name}`) };
  }), null, 1);
  const button = make('button', { type: 'button', onclick: () => copy(text, button) }, 'Copy');
  const file = make('a', { href: URL.createObjectURL(new Blob([text], { type: 'application/json' })), download: 'favourites.json' }, 'Save as a file');
  delete view.dataset.index;
  show([button, file], make('textarea', { id: 'favourites', readOnly: true, rows: 20, value: text }));
}

view.addEventListener('keydown', (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const index = Number(view.dataset.index) + step;
  if (step && view.dataset.index !== undefined && index >= 0 && index < total) open(index);
});
addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || view.open || compared === null) return;
  compared = null;
  header();
  draw(true);
});
byId('size').value = chosen.size;
byId('size').addEventListener('input', () => { chosen.size = Number(byId('size').value); save(); draw(true); });
byId('only').checked = chosen.only;
byId('only').addEventListener('change', () => { chosen.only = byId('only').checked; save(); draw(true); });
byId('list').addEventListener('click', list);
let asked = false;
const later = () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
};
area.addEventListener('scroll', later, { passive: true });
new ResizeObserver(() => draw(true)).observe(area);
header();
draw();
})();
