/**
 * A curve over the run as text, as points and as numbers, read as nodes/schedules.py does. Knows nothing of the page.
 *
 * A curve is {line, at}: `line` the corners [u, value] to draw, `at(u)` its value, u from 0 (first step) to 1 (last).
 * One that can be drawn by hand has `points` besides: its own corners [u, value], u rising.
 */

import { compileFormula } from './formula.js'

const NUMBER = /^[+-]?(?:\d(?:_?\d)*\.?(?:\d(?:_?\d)*)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d(?:_?\d)*)?$/
const FINE = 128
const BEND = 64

export const PRESETS = ['constant', 'ramp', 'cosine', 'interval']

/** The curve that a text describes. Throws an Error that says what is wrong with it. */
export function parseCurve(text) {
  if (!text.includes(':')) return ofFormula(compileFormula(text))
  const points = text
    .replaceAll('\n', ',')
    .split(',')
    .filter((pair) => pair.trim())
    .map(parsePoint)
  return ofPoints(points)
}

function parsePoint(pair) {
  const colon = pair.indexOf(':')
  const numbers = [pair.slice(0, colon < 0 ? undefined : colon), colon < 0 ? '' : pair.slice(colon + 1)].map((part) => part.trim())
  if (!numbers.every((part) => NUMBER.test(part))) throw new Error(`not 'progress: value': ${pair.trim()}`)
  return numbers.map((part) => Number(part.replaceAll('_', '')))
}

/** The curve through points [u, value], level before the first and after the last. */
export function ofPoints(points) {
  if (!points.length) throw new Error("no points; write some like '0: 7.5, 1: 1'")
  if (points.some(([u], i) => u < 0 || u > 1 || (i && u < points[i - 1][0]))) throw new Error('progress must rise from 0 to 1')
  return { points, line: withEnds(points), at: (u) => valueAt(points, u) }
}

function ofFormula(at) {
  const line = Array.from({ length: FINE + 1 }, (_, i) => i / FINE).flatMap((u) => {
    try {
      return [[u, at(u)]]
    } catch {
      return [] // between two steps its value isn't needed
    }
  })
  return { line, at }
}

/** The value at u; of two points at one u the later counts there. */
export function valueAt(points, u) {
  const after = points.findIndex((point) => point[0] > u)
  if (after <= 0) return points[after === 0 ? 0 : points.length - 1][1]
  const [[u0, v0], [u1, v1]] = [points[after - 1], points[after]]
  return v0 + ((v1 - v0) * (u - u0)) / (u1 - u0)
}

/** The same curve with points at u = 0 and u = 1. */
export function withEnds(points) {
  const [first, last] = [points[0], points.at(-1)]
  return [...(first[0] > 0 ? [[0, first[1]]] : []), ...points, ...(last[0] < 1 ? [[1, last[1]]] : [])]
}

/** Points as text, in the form that parseCurve reads. */
export const formatCurve = (points) => points.map(([u, value]) => `${u}: ${value}`).join(', ')

/** The values that the `steps` steps of a run get. */
export const stepValues = (curve, steps) => Array.from({ length: steps }, (_, i) => curve.at(i / Math.max(steps - 1, 1)))

/** Points of a preset that goes from `start` to `end`; where these are equal, the end is where the control is off. */
export function presetPoints(name, start, end) {
  const far = start === end ? (start > 1 ? 1 : 0) : end
  const between = (share) => tidy(start + (far - start) * share, 1e-4)
  if (name === 'constant') return [[0, start], [1, start]]
  if (name === 'ramp') return [[0, start], [1, far]]
  if (name === 'cosine') return Array.from({ length: 9 }, (_, i) => [i / 8, between(0.5 - 0.5 * Math.cos((Math.PI * i) / 8))])
  if (name === 'interval') return [[0, far], [0.2, far], [0.2, start], [0.7, start], [0.7, far], [1, far]]
  throw new Error(`no preset ${name}`)
}

/** The curve of a DDIMGuidanceSchedule, from its widgets' values. */
export function guidanceCurve(shape, start, end, first, last) {
  if (first > last) throw new Error('first is after last')
  if (shape === 'interval') {
    const line = [[0, end], [first, end], [first, start], [last, start], [last, end], [1, end]]
    return { line: line.slice(first > 0 ? 0 : 2, last < 1 ? 6 : 4), at: (u) => (first <= u && u <= last ? start : end) }
  }
  if (shape === 'constant') return withoutPoints([[0, start], [1, start]])
  if (shape === 'linear') return withoutPoints([[first, start], [last, end]])
  const bent = Array.from({ length: BEND + 1 }, (_, i) => i / BEND)
  return withoutPoints(bent.map((u) => [first + (last - first) * u, start + (end - start) * (0.5 - 0.5 * Math.cos(Math.PI * u))]))
}

const withoutPoints = (points) => ({ line: withEnds(points), at: (u) => valueAt(points, u) })

/** `value` as a multiple of `step`, a power of ten or 2 or 5 times one, without digits that mean nothing. */
export function tidy(value, step) {
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9))
  return Number((Math.round(value / step) * step).toFixed(digits)) || 0
}
