/* The pure parts of the curve's picture, by node's own test runner: node --test tests/web */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as curve from '../../web/curve.js'
import * as geometry from '../../web/geometry.js'
import { compileFormula } from '../../web/formula.js'
import { stepsDownstream } from '../../web/steps.js'

const FRAME = { left: 30, top: 10, width: 200, height: 100, low: 0, high: 10 }

test('points are read, and written as they were read', () => {
  const text = '0: 7.5, 0.5: 5, 1: 1'
  const read = curve.parseCurve(text)
  assert.deepEqual(read.points, [[0, 7.5], [0.5, 5], [1, 1]])
  assert.equal(curve.formatCurve(read.points), text)
  assert.deepEqual(curve.parseCurve('0:1\n .5 : -2e1,\n\n1_0e-1:3,').points, [[0, 1], [0.5, -20], [1, 3]])
})

test('a curve is level outside of its points, and jumps where two share a place', () => {
  const { at, line } = curve.parseCurve('0.2: 1, 0.5: 4, 0.5: 6, 0.9: 2')
  assert.deepEqual([0, 0.2, 0.35, 0.5, 0.7, 0.9, 1].map(at), [1, 1, 2.5, 6, 4, 2, 2])
  assert.deepEqual([line[0], line.at(-1)], [[0, 1], [1, 2]])
  assert.equal(curve.parseCurve('0.5: 3').at(0), 3)
})

test('what is no curve is refused with words', () => {
  for (const text of ['', ':', '0: 7, 0.5', '0: x', '0.5: 1, 0.2: 2', '0: 1, 1.5: 2', '0: 1: 2', '0: inf', '0: nan']) {
    assert.throws(() => curve.parseCurve(text), Error, text)
  }
})

test('each step has its value', () => {
  assert.deepEqual(curve.stepValues(curve.parseCurve('0: 8, 1: 0'), 5), [8, 6, 4, 2, 0])
  assert.deepEqual(curve.stepValues(curve.parseCurve('0: 8, 1: 0'), 1), [8])
})

test('formulas have the precedence of Python', () => {
  const values = { '-2 ** 2': -4, '2 ** 3 ** 2': 512, '2 ** -1': 0.5, '1 - 2 - 3': -4, '8 / 4 / 2': 1, '--u': 0.25, '-u ** 2': -0.0625 }
  for (const [written, value] of Object.entries(values)) assert.equal(compileFormula(written)(0.25), value, written)
  assert.equal(compileFormula('1 + 7 * sin(pi * u)')(0.5), 8)
  assert.equal(compileFormula('max(1, u, 3,) + log(8, 2)')(0), 6)
})

test('a formula is arithmetic and nothing else', () => {
  const refused = ['', 'x', 'u.u', 'u(1)', 'sin', 'u u', '1 // 2', '5 % 2', 'alert(1)', 'constructor', 'u = 1', '(u', 'u)', '07', '1j', "'a'", '[u]', 'u\n+ 1', 'min(,)', '__proto__', 'toString(1)', '1'.repeat(501)]
  for (const written of refused) assert.throws(() => compileFormula(written), Error, written)
})

test('a formula without a value says so', () => {
  for (const written of ['1 / u', 'log(u)', 'sqrt(u - 1)', '(u - 1) ** 0.5', 'exp(1000)', 'u ** -1', 'min(u)', 'sin(u, 1)', '1e300 * 1e300']) {
    assert.throws(() => compileFormula(written)(0), /no value at u = 0/, written)
  }
})

test('presets go from start to end', () => {
  for (const name of curve.PRESETS) {
    const points = curve.presetPoints(name, 7.5, 1)
    assert.deepEqual([points[0][0], points.at(-1)[0]], [0, 1])
    assert.doesNotThrow(() => curve.parseCurve(curve.formatCurve(points)))
  }
  const preset = (name) => curve.ofPoints(curve.presetPoints(name, 7.5, 1)).at
  assert.deepEqual([0, 0.5, 1].map(preset('constant')), [7.5, 7.5, 7.5])
  assert.deepEqual([0, 0.5, 1].map(preset('ramp')), [7.5, 4.25, 1])
  assert.deepEqual([0, 0.1, 0.2, 0.5, 0.69, 0.7, 1].map(preset('interval')), [1, 1, 7.5, 7.5, 7.5, 1, 1])
  for (let u = 0; u <= 1; u += 0.01) assert.ok(Math.abs(preset('cosine')(u) - (4.25 + 3.25 * Math.cos(Math.PI * u))) < 0.07)
  assert.deepEqual(curve.presetPoints('ramp', 5, 5), [[0, 5], [1, 1]])
  assert.deepEqual(curve.presetPoints('ramp', 0.5, 0.5), [[0, 0.5], [1, 0]])
})

test('places and values are each other’s inverse', () => {
  assert.deepEqual([geometry.toX(FRAME, 0.5), geometry.toY(FRAME, 10), geometry.toY(FRAME, 0)], [130, 10, 110])
  assert.deepEqual([geometry.toU(FRAME, 130), geometry.toValue(FRAME, 60)], [0.5, 5])
  assert.deepEqual(geometry.pointAt(FRAME, 77.3, 33.2), [0.24, 7.7])
  assert.deepEqual(geometry.pointAt(FRAME, -50, 500), [0, 0])
})

test('the range shows every value, and holds what is asked of it', () => {
  for (const values of [[7.5, 1], [0], [0.3], [-2, 5], [-3, -1], [1e-3], [1234, 0], [1, 1]]) {
    const { low, high } = geometry.fitRange(values)
    assert.ok(low <= Math.min(...values) && high >= Math.max(...values) && low < high, `${values}: ${low} ${high}`)
    if (Math.max(...values) > 0) assert.ok(high > Math.max(...values), `air above ${values}`)
  }
  assert.deepEqual(geometry.fitRange([7.5, 1]), { low: 0, high: 9 })
  assert.deepEqual(geometry.fitRange([7.5], 2, 30), { low: 2, high: 30 })
  assert.deepEqual(geometry.fitRange([7.5], 50), { low: 50, high: 51 })
  assert.deepEqual(geometry.fitRange([7.5], null, -1), { low: -2, high: -1 })
})

test('lines are drawn at round values', () => {
  assert.deepEqual(geometry.gridValues({ low: 0, high: 9 }), [2, 4, 6, 8])
  assert.deepEqual(geometry.gridValues({ low: 0, high: 10 }), [2, 4, 6, 8])
  assert.deepEqual(geometry.gridValues({ low: -0.2, high: 0.6 }), [0, 0.2, 0.4])
  for (let high = 0.01; high < 1e4; high *= 1.37) {
    const { length } = geometry.gridValues({ low: 0, high })
    assert.ok(length >= 1 && length <= 5, `${high}: ${length}`)
  }
})

test('a point is hit near its middle, the later of two at one place', () => {
  const points = [[0, 5], [0.5, 5], [0.5, 5], [1, 0]]
  assert.equal(geometry.hitPoint(FRAME, points, 33, 57), 0)
  assert.equal(geometry.hitPoint(FRAME, points, 130, 60), 2)
  assert.equal(geometry.hitPoint(FRAME, points, 130, 75), -1)
  assert.ok(geometry.hitLine(FRAME, points, 80, 64) && !geometry.hitLine(FRAME, points, 80, 70))
  assert.ok(geometry.hitLine(FRAME, points, 180, 88) && !geometry.hitLine(FRAME, points, 260, 110))
})

test('points keep their order, and the ends their place', () => {
  const points = [[0, 7], [0.5, 5], [1, 1]]
  assert.deepEqual(geometry.movePoint(points, 1, 2, 3), [[0, 7], [1, 3], [1, 1]])
  assert.deepEqual(geometry.movePoint(points, 0, 0.4, 3), [[0, 3], [0.5, 5], [1, 1]])
  assert.deepEqual(geometry.movePoint(points, 2, 0.4, 3), [[0, 7], [0.5, 5], [1, 3]])
  assert.deepEqual(geometry.removePoint(points, 1), [[0, 7], [1, 1]])
  assert.equal(geometry.removePoint(points, 0), points)
  assert.deepEqual(geometry.addPoint(points, 0.7, 9), { points: [[0, 7], [0.5, 5], [0.7, 9], [1, 1]], index: 2 })
  assert.equal(geometry.addPoint(points, 1, 9).index, 2)
  assert.equal(geometry.addPoint(points, 0, 9).index, 1)
  assert.deepEqual(points, [[0, 7], [0.5, 5], [1, 1]])
})

test('numbers are as long as they need to be', () => {
  assert.deepEqual([curve.tidy(7.4999, 0.05), curve.tidy(0.1 + 0.2, 0.01), curve.tidy(-0.001, 0.01), curve.tidy(123, 10)], [7.5, 0.3, 0, 120])
  assert.deepEqual([[5, 9], [7.46, 9], [0.333333, 1.2], [123.4, 300]].map((given) => geometry.shortNumber(...given)), ['5', '7.5', '0.33', '123'])
})

test('labels leave each other room, and the ends have theirs', () => {
  assert.deepEqual(geometry.shownLabels(5, 30, 22), [0, 1, 2, 3, 4])
  assert.deepEqual(geometry.shownLabels(8, 12, 22), [0, 2, 4, 7])
  assert.deepEqual(geometry.shownLabels(1, 200, 22), [0])
  for (let count = 2; count < 200; count++) {
    const shown = geometry.shownLabels(count, 250 / (count - 1), 22)
    assert.ok(shown.at(-1) === count - 1 && shown.slice(1).every((at, i) => (at - shown[i]) * (250 / (count - 1)) >= 22), count)
  }
})

/** A graph as the editor holds it: `wires` are [from, to]; `steps` gives nodes that widget. */
function graphOf(wires, steps) {
  const graph = { links: new Map(), getNodeById: (id) => nodes[id] }
  const nodes = {}
  wires.forEach(([from, to], link) => {
    for (const id of [from, to]) nodes[id] ??= { graph, outputs: [{ links: [] }], widgets: id in steps ? [{ name: 'steps', value: steps[id] }] : [] }
    graph.links.set(link, { target_id: to })
    nodes[from].outputs[0].links.push(link)
  })
  return nodes
}

test('the steps are those of the sampler down the wire', () => {
  assert.equal(stepsDownstream(graphOf([['curve', 'sampler']], { sampler: 30 }).curve), 30)
  assert.equal(stepsDownstream(graphOf([['curve', 'a'], ['a', 'b'], ['b', 'sampler']], { sampler: 7 }).curve), 7)
  assert.equal(stepsDownstream(graphOf([['curve', 'a'], ['a', 'curve']], {}).curve), null)
  const nodes = graphOf([['curve', 'sampler']], { sampler: 30 })
  nodes.sampler.inputs = [{ widget: { name: 'steps' }, link: 4 }]
  assert.equal(stepsDownstream(nodes.curve), null)
})
