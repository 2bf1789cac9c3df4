/* Reads [[text, [u, ...]], ...] from standard input; prints the values of each curve, null for one that has none. */
import { readFileSync } from 'node:fs'
import { parseCurve } from '../../web/curve.js'

const read = (text, us) => {
  try {
    const { at } = parseCurve(text)
    return us.map((u) => at(u))
  } catch {
    return null
  }
}
process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0)).map(([text, us]) => read(text, us))))
