/** What the pack's scripts say, in the editor's language: English here, others in locales/LANGUAGE/main.json. */

export const ENGLISH = {
  constant: 'constant',
  ramp: 'ramp',
  cosine: 'cosine',
  interval: 'interval',
  draw: 'Draw: [preset]',
  axis: 'The end of the axis. Type a number, or leave it empty to fit the values.',
  low: 'low end of the axis',
  high: 'high end of the axis',
  steps: '[steps] steps',
  alone: '[steps] steps (no sampler connected)',
  values: 'Values of the [steps] steps: [values]',
  step: 'step [step] of [steps]: [value]',
  point: 'progress [u]: [value]',
  release: 'let go to remove',
  valuesCount: 'The connected values are used, not this curve.',
  drawnCounts: 'The connected curve is used, not this one.',
  wired: "'[input]' is connected: its value is known once the workflow runs.",
  guider: '[name] (the guider decides)',
}

let own = ENGLISH

/** Reads the words of a language from what the server has of every pack's locales. */
export async function learn(api, language) {
  try {
    own = { ...ENGLISH, ...(await api.getCustomNodesI18n())[language]?.ddimCurve }
  } catch {
    own = ENGLISH // a server without them
  }
}

/** One of `ENGLISH` in the editor's language, its [names] filled in. */
export const say = (key, given = {}) => own[key].replace(/\[(\w+)\]/g, (whole, name) => given[name] ?? whole)
