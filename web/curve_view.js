/** A curve as a picture: an SVG with its axes, line, steps and points. Knows the page, but not ComfyUI. */

import { axisEnd, presetButtons } from './controls.js'
import { stepValues, tidy, withEnds } from './curve.js'
import { fitRange, gridValues, shortNumber, shownLabels, toX, toY } from './geometry.js'
import { html, svg } from './dom.js'
import { Pointer } from './pointer.js'
import { say } from './words.js'

const MARGIN = { left: 34, right: 12, top: 14, bottom: 30 }

export class CurveView {
  /**
   * What is shown: a curve or null, how many steps it has, held ends of the axis, words over it and below it, and whether
   * a wire decides in its place, over which nothing is drawn.
   */
  state = { curve: null, steps: 20, low: null, high: null, notice: '', foot: '', wired: false }
  /** The point that keys work on, and the step under the mouse: indices, or -1. */
  chosen = -1
  over = -1
  /** While a point is dragged: the range of values from before, and whether letting go removes the point. */
  held = null
  leaving = false

  /**
   * `on.draw(points)` is told of every change of the points, `on.done()` when one is complete (a drag's end),
   * `on.range(low, high)` of an axis end typed in (null: it fits the values). Without `on.draw` it only shows.
   */
  constructor(on) {
    this.on = on
    this.svg = svg('svg', { class: 'ddim-curve-plot', tabindex: on.draw ? 0 : -1, role: on.draw ? 'application' : 'img' })
    this.ends = ['high', 'low'].map((end) => axisEnd(this, end))
    this.notice = html('div', { className: 'ddim-curve-notice' })
    const box = html('div', { className: 'ddim-curve-box' }, this.svg, ...this.ends, this.notice)
    this.element = html('div', { className: 'ddim-curve' }, ...(on.draw ? [presetButtons(this)] : []), box)
    new Pointer(this)
    new ResizeObserver(() => this.render()).observe(box)
  }

  /** Show something else. */
  show(state) {
    this.state = { ...this.state, ...state }
    this.render()
  }

  /** The points that can be drawn with, both ends among them; null where there are none. */
  get points() {
    const { curve, notice } = this.state
    return this.on.draw && !notice && curve?.points ? withEnds(curve.points) : null
  }

  /** The values at the axis's ends. */
  get range() {
    const { curve, low, high } = this.state
    return this.held ?? fitRange(curve ? curve.line.map(([, value]) => value) : [1], low, high)
  }

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

  render() {
    const { curve, steps, notice } = this.state
    const frame = this.frame
    const values = curve ? stepValues(curve, steps) : []
    const parts = curve ? [line(frame, curve), ...marks(frame, values, this.over), ...labels(frame, values)] : []
    this.svg.replaceChildren(...axes(frame), ...parts, ...this.#handles(frame), this.#foot(frame, values))
    this.#describe(frame, values, steps, notice)
    for (const input of this.ends) input.follow(frame, this.state)
    for (const button of this.element.querySelectorAll('.ddim-curve-presets button')) button.disabled = this.state.wired
  }

  #describe(frame, values, steps, notice) {
    const spoken = values.map((value) => shortNumber(value, frame.high - frame.low)).join(', ')
    this.svg.setAttribute('aria-label', notice || say('values', { steps, values: spoken }))
    this.notice.textContent = notice
    this.element.classList.toggle('ddim-curve-off', Boolean(notice))
  }

  #handles(frame) {
    return (this.points ?? []).map(([u, value], i) => {
      const chosen = i === this.chosen
      const kind = chosen ? (this.leaving ? 'point leaving' : 'point chosen') : 'point'
      return svg('circle', { class: kind, cx: toX(frame, u), cy: toY(frame, value), r: chosen ? 5.5 : 4.5 })
    })
  }

  /** The line below: what is dragged, under the mouse or chosen; else what the numbers are. */
  #foot(frame, values) {
    const place = { x: frame.left + frame.width / 2, y: frame.top + frame.height + 20, 'text-anchor': 'middle' }
    return svg('text', { class: 'foot', ...place }, this.#words(values))
  }

  #words(values) {
    const point = this.points?.[this.chosen]
    if (this.leaving) return say('release')
    if (!this.held && this.over in values) {
      return say('step', { step: this.over + 1, steps: values.length, value: tidy(values[this.over], 1e-4) })
    }
    return point ? say('point', { u: point[0], value: point[1] }) : this.state.foot
  }
}

function axes(frame) {
  const [right, bottom] = [frame.left + frame.width, frame.top + frame.height]
  const lines = gridValues(frame).flatMap((value) => {
    const y = toY(frame, value)
    const grid = svg('line', { class: 'grid', x1: frame.left, x2: right, y1: y, y2: y })
    if (Math.min(y - frame.top, bottom - y) < 12) return [grid] // the axis's end has its own number there
    return [grid, svg('text', { x: frame.left - 5, y: y + 3, 'text-anchor': 'end' }, shortNumber(value, frame.high - frame.low))]
  })
  const { left: x, top: y, width, height } = frame
  return [svg('rect', { class: 'frame', x, y, width, height }), ...lines]
}

function line(frame, curve) {
  const corners = curve.line.map(([u, value]) => `${toX(frame, u).toFixed(1)} ${toY(frame, value).toFixed(1)}`)
  const path = `M${corners.join('L')}`
  const base = toY(frame, Math.max(frame.low, Math.min(0, frame.high)))
  const [x, y, width, height] = [frame.left - 1, frame.top - 1, frame.width + 2, frame.height + 2]
  const inside = svg('svg', { x, y, width, height, viewBox: `${x} ${y} ${width} ${height}` })
  const area = `${path}L${toX(frame, curve.line.at(-1)[0])} ${base}L${toX(frame, curve.line[0][0])} ${base}Z`
  inside.append(svg('path', { class: 'area', d: area }), svg('path', { class: 'line', d: path }))
  return inside
}

const stepX = (frame, i, steps) => toX(frame, i / Math.max(steps - 1, 1))
const stepSpacing = (frame, steps) => frame.width / Math.max(steps - 1, 1)

/** A tick and a dot for each step, or for every n-th where they would touch. */
function marks(frame, values, over) {
  const spacing = stepSpacing(frame, values.length)
  const every = Math.max(1, Math.ceil(3 / spacing))
  const bottom = frame.top + frame.height
  return values.flatMap((value, i) => {
    if (i % every) return []
    const x = stepX(frame, i, values.length)
    const r = i === over ? 3.2 : Math.min(2, spacing / 3)
    return [
      svg('line', { class: 'tick', x1: x, x2: x, y1: bottom, y2: bottom + 4 }),
      svg('circle', { class: 'step', cx: x, cy: toY(frame, value), r }),
    ]
  })
}

/** The values as numbers, as many as there is room for. */
function labels(frame, values) {
  const texts = values.map((value) => shortNumber(value, frame.high - frame.low))
  const width = 5 + 5.2 * Math.max(...texts.map((text) => text.length))
  const anchors = { 0: 'start', [values.length - 1]: 'end' }
  return shownLabels(values.length, stepSpacing(frame, values.length), width).map((i) => {
    const [x, y] = [stepX(frame, i, values.length), toY(frame, values[i])]
    const below = y - frame.top < 10
    const place = { x: i ? x : x + 2, y: below ? y + 13 : y - 7, 'text-anchor': anchors[i] ?? 'middle' }
    return svg('text', { class: 'value', ...place }, texts[i])
  })
}
