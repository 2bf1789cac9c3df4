/** The controls around a picture: preset buttons above it, and the ends of its axis, which can be typed in. */

import { PRESETS, presetPoints, tidy } from './curve.js'
import { shortNumber } from './geometry.js'
import { html } from './dom.js'
import { say } from './words.js'

/** A row of buttons that draw a preset from the curve's first value to its last. */
export function presetButtons(picture) {
  const draw = (name) => {
    if (picture.state.wired) return
    const { curve } = picture.state
    const [start, end] = curve ? [0, 1].map((u) => tidy(curve.at(u), 1e-3)) : [7.5, 1]
    picture.chosen = -1
    picture.on.draw(presetPoints(name, start, end))
    picture.on.done()
  }
  const button = (name) => {
    const label = say(name)
    return html('button', { type: 'button', name, textContent: label, title: say('draw', { preset: label }), onclick: () => draw(name) })
  }
  return html('div', { className: 'ddim-curve-presets' }, ...PRESETS.map(button))
}

/** The number at the axis's `end` ("low" or "high"); `follow(frame, state)` brings it up to date. */
export function axisEnd(picture, end) {
  const input = html('input', { className: `ddim-curve-end ddim-curve-${end}`, title: say('axis'), ariaLabel: say(end) })
  input.onchange = () => {
    const value = input.value.trim() ? Number(input.value) : null
    const { low, high } = { ...picture.state, [end]: value }
    const sensible = !Number.isNaN(value) && (low === null || high === null || low < high)
    input.blur()
    if (sensible) {
      picture.on.range(low, high)
      picture.on.done()
    }
    picture.render()
  }
  input.onkeydown = (event) => {
    event.stopPropagation() // no shortcuts of the editor while a number is typed
    if (event.key === 'Enter') input.blur()
  }
  input.follow = (frame, state) => {
    input.classList.toggle('ddim-curve-held', state[end] !== null)
    if (document.activeElement !== input) input.value = state[end] ?? shortNumber(frame[end], frame.high - frame.low)
  }
  return input
}
