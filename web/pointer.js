/**
 * The mouse and the keyboard on a picture.
 *
 * Drag a point; press on the line or double-click anywhere for a new one; remove one by right click, Delete, or by
 * pulling it out. Arrow keys move the chosen point (with Shift ten times as far), Tab goes on to the next.
 */

import { tidy } from './curve.js'
import { addPoint, hitLine, hitPoint, isEnd, movePoint, pointAt, removePoint, toU, toX, toY, U_STEP, valueStep } from './geometry.js'

const OUT = 26
/** How far the mouse goes, in pixels, before a press is a drag: one that only trembles changes no number. */
const START = 3
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }

export class Pointer {
  /** Whether something has been drawn that `done` hasn't been told of. */
  #unfinished = false
  /** Where a press began and how far from it the point is, until it is let go; `moving` once it is a drag. */
  #grip = null

  constructor(picture) {
    this.picture = picture
    const plot = picture.svg
    const listen = (name, act) => plot.addEventListener(name, (event) => act.call(this, event, ...this.#place(event)))
    listen('pointermove', this.#move)
    listen('pointerdown', this.#down)
    listen('pointerup', this.#up)
    listen('pointercancel', this.#cancel)
    listen('pointerleave', () => this.#look(-1))
    listen('dblclick', this.#add)
    listen('contextmenu', this.#drop)
    listen('keydown', this.#key)
    listen('keyup', this.#finish)
    listen('blur', this.#leave)
  }

  /** Where an event is, in the picture's own pixels, however far the editor has zoomed. */
  #place({ clientX, clientY }) {
    const { svg: plot } = this.picture
    const box = plot.getBoundingClientRect()
    const scale = box.width / plot.clientWidth || 1
    return [(clientX - box.left) / scale, (clientY - box.top) / scale]
  }

  #draw(points) {
    this.#unfinished = true
    this.picture.on.draw(points)
  }

  #finish() {
    if (!this.#unfinished) return
    this.#unfinished = false
    this.picture.on.done()
  }

  #down(event, x, y) {
    const { picture } = this
    if (event.button !== 0 || !picture.points) return
    event.stopPropagation()
    picture.svg.focus({ preventScroll: true })
    const { frame, points } = picture
    const hit = hitPoint(frame, points, x, y)
    picture.chosen = hit < 0 && hitLine(frame, points, x, y) ? this.#insert(x, y) : hit
    const point = picture.points?.[picture.chosen]
    if (point) {
      const [u, value] = point
      this.#grip = { x, y, right: toX(frame, u) - x, down: toY(frame, value) - y, moving: hit < 0 }
      picture.held = picture.range
      picture.svg.setPointerCapture(event.pointerId)
    }
    picture.render()
  }

  #move(event, x, y) {
    const { picture } = this
    if (!picture.held) return this.#hover(x, y)
    event.stopPropagation()
    const { frame, points, chosen } = picture
    const grip = this.#grip
    grip.moving ||= Math.hypot(x - grip.x, y - grip.y) > START
    if (!points?.[chosen] || !grip.moving) return
    const out = Math.max(frame.top - y, y - frame.top - frame.height, frame.left - x, x - frame.left - frame.width)
    picture.leaving = out > OUT && !isEnd(points, chosen)
    this.#draw(movePoint(points, chosen, ...pointAt(frame, x + grip.right, y + grip.down)))
  }

  #up(event) {
    const { picture } = this
    if (!picture.held) return
    event.stopPropagation()
    picture.held = null
    if (picture.leaving) this.#remove(picture.chosen)
    picture.leaving = false
    this.#finish()
    picture.render()
  }

  /** The page took the finger or the mouse away: the point stays where it was last. */
  #cancel(event) {
    this.picture.leaving = false
    this.#up(event)
  }

  #add(event, x, y) {
    event.stopPropagation()
    const { points, frame } = this.picture
    if (!points || hitPoint(frame, points, x, y) >= 0) return
    this.picture.chosen = this.#insert(x, y)
    this.#finish()
    this.picture.render()
  }

  #drop(event, x, y) {
    event.preventDefault()
    event.stopPropagation()
    if (this.picture.held) return // a finger that rests on a point before it drags it
    const { points, frame } = this.picture
    if (points) this.#remove(hitPoint(frame, points, x, y))
    this.#finish()
  }

  #insert(x, y) {
    const { frame, points } = this.picture
    const added = addPoint(points, ...pointAt(frame, x, y))
    this.#draw(added.points)
    return added.index
  }

  #remove(index) {
    const { points } = this.picture
    if (!points?.[index] || isEnd(points, index)) return
    this.picture.chosen = -1
    this.#draw(removePoint(points, index))
  }

  #key(event) {
    const { points } = this.picture
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const removes = event.key === 'Delete' || event.key === 'Backspace' // the editor would remove the whole node
    if (!(points && this.#pressed(event, points)) && !removes) return
    event.preventDefault()
    event.stopPropagation()
    this.picture.render()
  }

  /** Whether a key was for us. */
  #pressed({ key, shiftKey }, points) {
    const { picture } = this
    if (key === 'Tab') {
      const next = picture.chosen + (shiftKey ? -1 : 1)
      picture.chosen = points[next] ? next : -1
      return picture.chosen >= 0
    }
    if (!points[picture.chosen]) return false
    if (key === 'Escape') picture.chosen = -1
    else if (key === 'Delete' || key === 'Backspace') this.#remove(picture.chosen)
    else if (key in ARROWS) this.#nudge(points, ARROWS[key], shiftKey ? 10 : 1)
    else return false
    return true
  }

  #nudge(points, [right, up], times) {
    const { range, state, chosen } = this.picture
    const step = valueStep(range)
    const [u, value] = points[chosen]
    const moved = Math.min(state.high ?? Infinity, Math.max(range.low, tidy(value + up * step * times, step)))
    this.#draw(movePoint(points, chosen, right ? tidy(u + right * U_STEP * times, U_STEP) : u, up ? moved : value))
  }

  #hover(x, y) {
    const { frame, points, state, svg: plot } = this.picture
    const cursor = points && (hitPoint(frame, points, x, y) >= 0 ? 'grab' : hitLine(frame, points, x, y) && 'copy')
    plot.style.cursor = cursor || 'default'
    const inside = x > frame.left - 8 && x < frame.left + frame.width + 8
    const u = Math.min(1, Math.max(0, toU(frame, x)))
    this.#look(inside ? Math.round(u * (state.steps - 1)) : -1)
  }

  #look(step) {
    if (step === this.picture.over) return
    this.picture.over = step
    this.picture.render()
  }

  #leave() {
    this.picture.chosen = -1
    this.#finish()
    this.picture.render()
  }
}
