/**
 * A curve as a picture that can be drawn in: an SVG with its mouse and keyboard. Knows the page, but not ComfyUI.
 *
 * Drag a point; press on the line or double-click anywhere for a new one; remove one by right click, Delete, or by
 * pulling it out. Arrow keys move the chosen point (with Shift ten times as far), Tab goes on to the next.
 */

import { PRESETS, presetPoints, stepValues, tidy, withEnds } from './curve.js'
import * as drawing from './drawing.js'
import { STYLE } from './style.js'

const MARGIN = { left: 34, right: 12, top: 14, bottom: 30 }
const OUT = 26

const svg = (tag, attributes = {}, text) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  if (text !== undefined) element.textContent = text
  return element
}
const html = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

/** The styles of all pictures, once per page. */
function dress() {
  if (!document.getElementById('ddim-curve-style')) document.head.append(html('style', { id: 'ddim-curve-style', textContent: STYLE }))
}

export class CurvePicture {
  /**
   * `on.draw(points)` is told of every change of the points, `on.done()` when one is complete (a drag's end),
   * `on.range(low, high)` of an axis end typed in (null: it fits the values). Without `on.draw` it only shows.
   */
  constructor(on) {
    dress()
    this.on = on
    this.state = { curve: null, steps: 20, low: null, high: null, notice: '', foot: '' }
    this.chosen = -1
    this.over = -1
    this.svg = svg('svg', { class: 'ddim-curve-plot', tabindex: on.draw ? 0 : -1, role: 'application' })
    this.ends = ['high', 'low'].map((end) => this.#axisEnd(end))
    this.notice = html('div', { className: 'ddim-curve-notice' })
    const plot = html('div', { className: 'ddim-curve-box' }, this.svg, ...this.ends, this.notice)
    this.element = html('div', { className: 'ddim-curve' }, ...(on.draw ? [this.#presets()] : []), plot)
    this.#listen()
    new ResizeObserver(() => this.render()).observe(plot)
  }

  /** Show a curve (or null), the values of `steps` steps on it, and a `notice` over it. */
  show(state) {
    this.state = { ...this.state, ...state }
    this.render()
  }

  get points() {
    const { curve, notice } = this.state
    return this.on.draw && !notice && curve?.points ? withEnds(curve.points) : null
  }

  // ---- the picture

  get frame() {
    const [width, height] = [this.svg.clientWidth || 260, this.svg.clientHeight || 130]
    return {
      left: MARGIN.left,
      top: MARGIN.top,
      width: Math.max(width - MARGIN.left - MARGIN.right, 20),
      height: Math.max(height - MARGIN.top - MARGIN.bottom, 20),
      ...this.range,
    }
  }

  get range() {
    const { curve, low, high } = this.state
    return this.held ?? drawing.fitRange(curve ? curve.line.map(([, value]) => value) : [1], low, high)
  }

  render() {
    const { curve, steps, notice } = this.state
    const frame = this.frame
    this.element.classList.toggle('ddim-curve-off', Boolean(notice))
    this.notice.textContent = notice
    const values = curve ? stepValues(curve, steps) : []
    this.svg.replaceChildren(...this.#axes(frame), ...(curve ? this.#line(frame, curve, values) : []), ...this.#handles(frame), this.#foot(frame, values))
    for (const input of this.ends) {
      const end = input.dataset.end
      if (document.activeElement !== input) input.value = this.state[end] ?? drawing.shortNumber(frame[end], frame.high - frame.low)
      input.classList.toggle('ddim-curve-held', this.state[end] !== null)
    }
    const spoken = values.map((value) => drawing.shortNumber(value, frame.high - frame.low)).join(', ')
    this.svg.setAttribute('aria-label', notice || `Values of the ${steps} steps: ${spoken}`)
  }

  #axes(frame) {
    const right = frame.left + frame.width
    const lines = drawing.gridValues(frame).flatMap((value) => {
      const y = drawing.toY(frame, value)
      const text = drawing.shortNumber(value, frame.high - frame.low)
      const free = Math.min(y - frame.top, frame.top + frame.height - y) > 12
      return [
        svg('line', { class: 'grid', x1: frame.left, x2: right, y1: y, y2: y }),
        ...(free ? [svg('text', { class: 'axis', x: frame.left - 5, y: y + 3, 'text-anchor': 'end' }, text)] : []),
      ]
    })
    return [svg('rect', { class: 'frame', x: frame.left, y: frame.top, width: frame.width, height: frame.height }), ...lines]
  }

  #line(frame, curve, values) {
    const at = ([u, value]) => `${drawing.toX(frame, u).toFixed(1)} ${drawing.toY(frame, value).toFixed(1)}`
    const path = `M${curve.line.map(at).join('L')}`
    const base = drawing.toY(frame, Math.max(frame.low, Math.min(0, frame.high)))
    const [x0, x1] = [drawing.toX(frame, 0), drawing.toX(frame, 1)]
    const box = { x: x0 - 1, y: frame.top - 1, width: frame.width + 2, height: frame.height + 2 }
    const inside = svg('svg', { ...box, viewBox: `${box.x} ${box.y} ${box.width} ${box.height}` })
    inside.append(svg('path', { class: 'area', d: `${path}L${x1} ${base}L${x0} ${base}Z` }), svg('path', { class: 'line', d: path }))
    return [
      inside,
      ...this.#steps(frame, values),
    ]
  }

  #steps(frame, values) {
    const spacing = frame.width / Math.max(values.length - 1, 1)
    const bottom = frame.top + frame.height
    const place = (value, i) => [drawing.toX(frame, values.length > 1 ? i / (values.length - 1) : 0), drawing.toY(frame, value)]
    const each = Math.max(1, Math.ceil(3 / spacing))
    const marks = values.flatMap((value, i) => {
      if (i % each) return []
      const [x, y] = place(value, i)
      const size = i === this.over ? 3.2 : Math.min(2, spacing / 3)
      return [svg('line', { class: 'tick', x1: x, x2: x, y1: bottom, y2: bottom + 4 }), svg('circle', { class: 'step', cx: x, cy: y, r: size })]
    })
    return [...marks, ...this.#labels(frame, values, spacing, place)]
  }

  #labels(frame, values, spacing, place) {
    const texts = values.map((value) => drawing.shortNumber(value, frame.high - frame.low))
    const width = 5 + 5.2 * Math.max(...texts.map((text) => text.length))
    return drawing.shownLabels(values.length, spacing, width).map((i) => {
      const [x, y] = place(values[i], i)
      const under = y - frame.top < 10
      const anchor = i === 0 ? 'start' : i === values.length - 1 ? 'end' : 'middle'
      return svg('text', { class: 'value', x: x + (i === 0 ? 2 : 0), y: y + (under ? 13 : -7), 'text-anchor': anchor }, texts[i])
    })
  }

  #handles(frame) {
    return (this.points ?? []).map(([u, value], i) => {
      const kind = i === this.chosen ? (this.leaving ? 'point leaving' : 'point chosen') : 'point'
      return svg('circle', { class: kind, cx: drawing.toX(frame, u), cy: drawing.toY(frame, value), r: i === this.chosen ? 5.5 : 4.5 })
    })
  }

  /** The line below: what is under the mouse or chosen, else what the numbers are. */
  #foot(frame, values) {
    const point = this.points?.[this.chosen]
    let text = this.state.foot
    if (this.leaving) text = 'let go to remove'
    else if (!this.dragging && this.over >= 0 && this.over < values.length) text = `step ${this.over + 1} of ${values.length}: ${tidy(values[this.over], 1e-4)}`
    else if (point) text = `progress ${point[0]}: ${point[1]}`
    return svg('text', { class: 'foot', x: frame.left + frame.width / 2, y: frame.top + frame.height + 20, 'text-anchor': 'middle' }, text)
  }

  #presets() {
    const button = (name) =>
      html('button', {
        type: 'button',
        textContent: name,
        title: `Draw: ${name}`,
        onclick: () => {
          const { curve } = this.state
          const round = (value) => tidy(value, 1e-3)
          this.chosen = -1
          this.#draw(presetPoints(name, round(curve ? curve.at(0) : 7.5), round(curve ? curve.at(1) : 1)))
          this.on.done()
        },
      })
    return html('div', { className: 'ddim-curve-presets' }, ...PRESETS.map(button))
  }

  #axisEnd(end) {
    const input = html('input', { className: `ddim-curve-end ddim-curve-${end}`, title: `The axis ends here. Type a number; empty fits the values.` })
    input.dataset.end = end
    input.onchange = () => {
      const value = input.value.trim() === '' ? null : Number(input.value)
      const { low, high } = { low: this.state.low, high: this.state.high, [end]: value }
      if (value === null || (Number.isFinite(value) && !(low !== null && high !== null && low >= high))) {
        this.on.range(low, high)
        this.on.done()
      }
      input.blur()
      this.render()
    }
    input.onkeydown = (event) => {
      event.stopPropagation()
      if (event.key === 'Enter') input.blur()
    }
    return input
  }

  // ---- the hand

  #draw(points) {
    this.on.draw(points)
  }

  #listen() {
    const { svg: plot } = this
    const here = (event) => {
      const box = plot.getBoundingClientRect()
      const scale = box.width / (plot.clientWidth || box.width)
      return [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale]
    }
    plot.addEventListener('pointermove', (event) => this.#move(event, ...here(event)))
    plot.addEventListener('pointerdown', (event) => this.#down(event, ...here(event)))
    plot.addEventListener('pointerup', (event) => this.#up(event))
    plot.addEventListener('pointercancel', (event) => this.#up(event))
    plot.addEventListener('pointerleave', () => this.#look(-1))
    plot.addEventListener('dblclick', (event) => this.#add(event, ...here(event)))
    plot.addEventListener('contextmenu', (event) => this.#drop(event, ...here(event)))
    plot.addEventListener('keydown', (event) => this.#key(event))
    plot.addEventListener('keyup', () => this.#finish())
    plot.addEventListener('blur', () => this.#leave())
  }

  #down(event, x, y) {
    if (event.button !== 0) return
    event.stopPropagation()
    const { points, frame } = this
    if (!points) return
    this.svg.focus({ preventScroll: true })
    let index = drawing.hitPoint(frame, points, x, y)
    if (index < 0 && drawing.hitLine(frame, points, x, y)) index = this.#insert(frame, points, x, y)
    this.chosen = index
    if (index >= 0) {
      this.held = this.range
      this.dragging = true
      this.svg.setPointerCapture(event.pointerId)
    }
    this.render()
  }

  #insert(frame, points, x, y) {
    const added = drawing.addPoint(points, ...drawing.pointAt(frame, x, y))
    this.chosen = added.index
    this.unfinished = true
    this.#draw(added.points)
    return added.index
  }

  #move(event, x, y) {
    if (!this.dragging) return this.#hover(x, y)
    event.stopPropagation()
    const { frame, points } = this
    if (!points?.[this.chosen]) return
    const out = Math.max(frame.top - y, y - frame.top - frame.height, frame.left - x, x - frame.left - frame.width)
    this.leaving = out > OUT && !drawing.isEnd(points, this.chosen)
    this.unfinished = true
    this.#draw(drawing.movePoint(points, this.chosen, ...drawing.pointAt(frame, x, y)))
  }

  #up(event) {
    if (!this.dragging) return
    event.stopPropagation()
    this.dragging = false
    this.held = undefined
    if (this.leaving) this.#remove(this.chosen)
    this.leaving = false
    this.#finish()
    this.render()
  }

  #add(event, x, y) {
    event.stopPropagation()
    const { points, frame } = this
    if (!points || drawing.hitPoint(frame, points, x, y) >= 0) return
    this.#insert(frame, points, x, y)
    this.#finish()
  }

  #drop(event, x, y) {
    event.preventDefault()
    event.stopPropagation()
    const { points, frame } = this
    if (points) this.#remove(drawing.hitPoint(frame, points, x, y))
    this.#finish()
  }

  #remove(index) {
    const { points } = this
    if (!points?.[index] || drawing.isEnd(points, index)) return
    this.chosen = -1
    this.unfinished = true
    this.#draw(drawing.removePoint(points, index))
  }

  #key(event) {
    const { points } = this
    if (!points || event.ctrlKey || event.metaKey || event.altKey) return
    if (!this.#pressed(event, points)) return
    event.preventDefault()
    event.stopPropagation()
    this.render()
  }

  /** Whether a key was for us. */
  #pressed({ key, shiftKey }, points) {
    const next = this.chosen + (shiftKey ? -1 : 1)
    if (key === 'Tab') {
      if (this.chosen < 0 && shiftKey) return false
      this.chosen = points[next] ? next : -1
      return this.chosen >= 0
    }
    if (!points[this.chosen]) return false
    const [u, value] = points[this.chosen]
    if (key === 'Escape') this.chosen = -1
    else if (key === 'Delete' || key === 'Backspace') this.#remove(this.chosen)
    else if (key.startsWith('Arrow')) this.#nudge(points, u, value, key, shiftKey ? 10 : 1)
    else return false
    return true
  }

  #nudge(points, u, value, key, times) {
    const { low, high } = { ...this.range, ...(this.state.high === null && { high: Infinity }) }
    const step = drawing.valueStep(this.range) * times
    const [right, up] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[key]
    const to = up ? Math.min(high, Math.max(low, tidy(value + up * step, drawing.valueStep(this.range)))) : value
    this.unfinished = true
    this.#draw(drawing.movePoint(points, this.chosen, right ? tidy(u + right * drawing.U_STEP * times, drawing.U_STEP) : u, to))
  }

  #hover(x, y) {
    const { frame, points, state } = this
    const on = points && (drawing.hitPoint(frame, points, x, y) >= 0 ? 'grab' : drawing.hitLine(frame, points, x, y) && 'copy')
    this.svg.style.cursor = on || 'default'
    const inside = x > frame.left - 8 && x < frame.left + frame.width + 8
    this.#look(inside ? Math.round(Math.min(1, Math.max(0, drawing.toU(frame, x))) * (state.steps - 1)) : -1)
  }

  #look(step) {
    if (step === this.over) return
    this.over = step
    this.render()
  }

  #leave() {
    this.chosen = -1
    this.#finish()
    this.render()
  }

  #finish() {
    if (!this.unfinished) return
    this.unfinished = false
    this.on.done()
  }
}
