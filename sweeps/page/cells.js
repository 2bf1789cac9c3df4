/* What the page knows of the sweep's cells: where each is, its values, its files, the command that makes it again. */
const sweep = (() => {
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const shape = data.axes.map((axis) => axis.steps.length);
const total = shape.reduce((a, b) => a * b, 1);
const PICTURE = /\.(png|webp|jpe?g|gif|bmp|avif)$/i;
const [DONE, FAILED] = [1, 2];

const at = (index) => shape.map((size, axis) => Math.floor(index / shape.slice(axis + 1).reduce((a, b) => a * b, 1)) % size);
const indexOf = (place) => place.reduce((sum, step, axis) => sum * shape[axis] + step, 0);
const label = (axis, step) => data.axes[axis].steps[step].join(', ');

function cellOf(index) {
  const found = data.cells[index];
  if (!found) return null;
  const [key, state, seconds, files, , fault] = found;
  const place = at(index).map((step, axis) => String(step).padStart(String(shape[axis] - 1).length, '0')).join('-');
  const folder = `cells/${place}_${key}`;
  const url = (name) => [folder, ...name.split('/')].map((part) => part.split('/').map(encodeURIComponent).join('/')).join('/');
  return { key, state, seconds, files, fault: fault || '', folder, url, picture: files.find((name) => PICTURE.test(name)) };
}

function values(index) {
  const place = at(index);
  return data.axes.flatMap((axis, number) => axis.inputs.map((name, slot) => [name, axis.steps[place[number]][slot]]));
}

function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

function command(index) {
  const place = at(index), cell = cellOf(index);
  if (!data.command) return cell ? `comfyui-ddim run ${quoted(`${cell.folder}/workflow.json`)}` : '';
  const settings = data.axes.flatMap((axis, number) => axis.targets.map(
    ([node, name], slot) => `--set ${quoted(`${node}.${name}=${axis.steps[place[number]][slot]}`)}`));
  return [data.command, ...settings].join(' ');
}

return { data, shape, total, DONE, FAILED, indexOf, label, cellOf, values, command };
})();
