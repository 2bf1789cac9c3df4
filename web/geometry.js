/**
 * Where a curve's parts lie in a picture, and what a pointer may do to its points. Numbers in, numbers out: knows nothing of the page.
 *
 * A frame {left, top, width, height, low, high} is the plot's box in pixels, and the values at its bottom and top.
 */

import { tidy } from './curve.js'

export const U_STEP = 0.01

export const toX = (frame, u) => frame.left + u * frame.width
export const toY = (frame, value) => frame.top + ((frame.high - value) / (frame.high - frame.low)) * frame.height
export const toU = (frame, x) => (x - frame.left) / frame.width
export const toValue = (frame, y) => frame.high - ((y - frame.top) / frame.height) * (frame.high - frame.low)

/** 1, 2 or 5 times a power of ten: the largest such number up to `size`. */
export function roundStep(size) {
  const power = 10 ** Math.floor(Math.log10(size) + 1e-9)
  return Number(([5, 2].find((n) => n * power <= size * (1 + 1e-9)) ?? 1) * power)
}

/** {low, high} that show all values with air above; a number in `low` or `high` holds that end. */
export function fitRange(values, low = null, high = null) {
  const least = Math.min(0, ...values)
  const most = Math.max(...values)
  const step = roundStep((Math.max(most, 0) - least || 1) / 4)
  const above = most > 0 ? Math.ceil((most * 1.1) / step - 1e-9) * step : least < 0 ? step : 1
  const fitted = { low: low ?? tidy(Math.floor(least / step + 1e-9) * step, step), high: high ?? tidy(above, step) }
  if (fitted.low < fitted.high) return fitted
  return low === null ? { ...fitted, low: fitted.high - 1 } : { ...fitted, high: fitted.low + 1 }
}

/** Round values between a frame's ends to draw lines at, the ends themselves left out. */
export function gridValues({ low, high }, most = 4) {
  let step = roundStep((high - low) / most)
  if ((high - low) / step > most + 1) step = roundStep(step * 2.5)
  const first = Math.floor(low / step + 1e-9) + 1
  const count = Math.ceil(high / step - 1e-9) - first
  return Array.from({ length: Math.max(count, 0) }, (_, i) => tidy((first + i) * step, step))
}

/** How finely a dragged value is rounded: a hundredth of the frame's range, or somewhat less. */
export const valueStep = ({ low, high }) => roundStep((high - low) / 100)

/** The index of the point nearest to (x, y), -1 when none is within `reach` pixels; of two equally near, the later. */
export function hitPoint(frame, points, x, y, reach = 10) {
  let [best, nearest] = [-1, reach]
  points.forEach(([u, value], i) => {
    const distance = Math.hypot(toX(frame, u) - x, toY(frame, value) - y)
    if (distance <= nearest) [best, nearest] = [i, distance]
  })
  return best
}

/** Whether (x, y) is within `reach` pixels of the line through `points`. */
export function hitLine(frame, points, x, y, reach = 7) {
  const corners = points.map(([u, value]) => [toX(frame, u), toY(frame, value)])
  return corners.slice(1).some(([x1, y1], i) => {
    const [x0, y0] = corners[i]
    const [dx, dy] = [x1 - x0, y1 - y0]
    const share = dx || dy ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy))) : 0
    return Math.hypot(x0 + share * dx - x, y0 + share * dy - y) <= reach
  })
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value))

/** The points with one moved: it stays between its neighbours, and the ends stay at u = 0 and u = 1. */
export function movePoint(points, index, u, value) {
  const fixed = isEnd(points, index)
  const at = fixed ? points[index][0] : clamp(u, points[index - 1][0], points[index + 1][0])
  return points.map((point, i) => (i === index ? [at, value] : point))
}

/** The points with one more, and its index. */
export function addPoint(points, u, value) {
  const after = points.findIndex((point) => point[0] > u)
  const index = clamp(after < 0 ? points.length - 1 : after, 1, points.length - 1)
  const at = clamp(u, points[index - 1][0], points[index][0])
  return { points: [...points.slice(0, index), [at, value], ...points.slice(index)], index }
}

/** The points without one; the ends can't be removed. */
export const removePoint = (points, index) => (isEnd(points, index) ? points : points.filter((_, i) => i !== index))

export const isEnd = (points, index) => index === 0 || index === points.length - 1

/** A place in pixels as a point of the frame: rounded, and inside of it. */
export function pointAt(frame, x, y) {
  const [u, value] = [toU(frame, x), toValue(frame, y)]
  return [tidy(clamp(u, 0, 1), U_STEP), clamp(tidy(value, valueStep(frame)), frame.low, frame.high)]
}

/** A number for people: as many digits as make sense in a range of this size. */
export function shortNumber(value, range) {
  const digits = clamp(1 - Math.floor(Math.log10(range / 2) + 1e-9), 0, 6)
  return String(Number(value.toFixed(digits)))
}

/** Which of `count` labels, `spacing` pixels apart and `width` wide, can be shown: every n-th, the first and last. */
export function shownLabels(count, spacing, width) {
  const every = Math.max(1, Math.ceil(width / spacing))
  const shown = []
  for (let i = 0; i < count; i += every) shown.push(i)
  const last = count - 1
  if (shown.at(-1) === last) return shown
  if (shown.length > 1 && (last - shown.at(-1)) * spacing < width) shown.pop()
  return [...shown, last]
}
