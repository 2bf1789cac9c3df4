/**
 * Small formulas in u, read as arithmetic and nothing else: what nodes/expression.py reads, to the same numbers.
 * Python's own precedence: -2 ** 2 is -4, and ** binds to the right.
 */

const FUNCTIONS = {
  sin: [Math.sin, 1, 1],
  cos: [Math.cos, 1, 1],
  tan: [Math.tan, 1, 1],
  exp: [Math.exp, 1, 1],
  log: [(x, base) => (base === undefined ? Math.log(x) : divide(Math.log(x), known(Math.log(base), base))), 1, 2],
  sqrt: [Math.sqrt, 1, 1],
  floor: [Math.floor, 1, 1],
  ceil: [Math.ceil, 1, 1],
  abs: [Math.abs, 1, 1],
  min: [Math.min, 2, Infinity],
  max: [Math.max, 2, Infinity],
}
const CONSTANTS = { pi: Math.PI, e: Math.E }
const LONGEST = 500
const DIGITS = String.raw`\d(?:_?\d)*`
const NUMBER = new RegExp(
  String.raw`^(?:(?:${DIGITS}\.(?:${DIGITS})?|\.${DIGITS})(?:[eE][+-]?${DIGITS})?|${DIGITS}[eE][+-]?${DIGITS}|0(?:_?0)*|[1-9](?:_?\d)*)`,
)
const TOKEN = /^(?:\*\*|[-+*/(),]|[A-Za-z_]\w*)/

/** `result`, or a RangeError where Python would raise one: it is no number, or infinite though nothing given is. */
function known(result, ...given) {
  if (Number.isNaN(result) || (!Number.isFinite(result) && given.every(Number.isFinite))) throw new RangeError('no value')
  return result
}

const divide = (a, b) => {
  if (b === 0) throw new RangeError('division by zero')
  return a / b
}

const BINARY = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': divide,
  '**': (a, b) => known(a ** b, a, b),
}

/** A function of `variable` from a formula. Throws an Error on what is none, and in the function where it has no value. */
export function compileFormula(written, variable = 'u') {
  if ([...written].length > LONGEST) throw new Error(`a formula has at most ${LONGEST} characters`)
  const tokens = split(written.trim())
  let next = 0
  const peek = () => tokens[next]
  const take = (token) => peek() === token && (next++, true)
  const unreadable = () => new Error(`not a formula in ${variable}`)

  function joined(operators, part) {
    let left = part()
    while (operators.includes(peek())) {
      const [before, apply, right] = [left, BINARY[tokens[next++]], part()]
      left = (u) => apply(before(u), right(u))
    }
    return left
  }
  const sum = () => joined(['+', '-'], product)
  const product = () => joined(['*', '/'], signed)

  function signed() {
    if (take('+')) return signed()
    if (!take('-')) return power()
    const of = signed()
    return (u) => -of(u)
  }

  function power() {
    const base = atom()
    if (!take('**')) return base
    const exponent = signed()
    return (u) => BINARY['**'](base(u), exponent(u))
  }

  function atom() {
    const token = tokens[next++]
    if (typeof token === 'number') return () => token
    if (token === '(') {
      const inner = sum()
      if (!take(')')) throw unreadable()
      return inner
    }
    if (Object.hasOwn(FUNCTIONS, token) && take('(')) return call(token)
    if (token === variable) return (u) => u
    if (Object.hasOwn(CONSTANTS, token)) return () => CONSTANTS[token]
    throw token === undefined || !/^\w/.test(token) ? unreadable() : new Error(`not known in a formula: ${token}`)
  }

  function call(name) {
    const [apply, fewest, most] = FUNCTIONS[name]
    const parts = []
    while (!take(')')) {
      parts.push(sum())
      if (!take(',') && peek() !== ')') throw unreadable()
    }
    return (u) => {
      if (parts.length < fewest || parts.length > most) throw new RangeError(`arguments of ${name}`)
      const values = parts.map((part) => part(u))
      return known(apply(...values), ...values)
    }
  }

  const formula = sum()
  if (next !== tokens.length) throw unreadable()
  return (u) => {
    try {
      return known(formula(u))
    } catch {
      throw new Error(`no value at ${variable} = ${u}`)
    }
  }
}

/** Numbers, names and signs, in order; a line may only break inside brackets, as in Python. */
function split(written) {
  const tokens = []
  let depth = 0
  for (let rest = written; rest; ) {
    const space = /^[ \t\f]+/.exec(rest) ?? (depth > 0 && /^[\r\n]+/.exec(rest))
    const found = space || NUMBER.exec(rest) || TOKEN.exec(rest)
    if (!found) throw new Error(`not known in a formula: ${rest[0]}`)
    const [text] = found
    rest = rest.slice(text.length)
    if (space) continue
    if (/^[\d.]/.test(text) && /^\w/.test(rest)) throw new Error(`not a number: ${text}${rest[0]}`)
    depth += (text === '(') - (text === ')')
    tokens.push(/^[\d.]/.test(text) ? Number(text.replaceAll('_', '')) : text)
  }
  return tokens
}
