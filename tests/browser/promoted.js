/* Widgets from inside subgraphs that the editor's own menu shows on the hosts: where `kit.promotes`. */
const { add, link, fold, again, inner } = kit
const show = kit.show.bind(kit)
const stop = kit.stop.bind(kit)

const MUTED = 2
const BYPASSED = 4

/** source -> host of two ReadingOptional -> save, with the strength of the first and the note of the second shown. */
async function shown({ values = true } = {}) {
  const source = add('ReadingSource')
  const a = add('ReadingOptional', { widgets: { strength: 0.25 } })
  const b = add('ReadingOptional', { widgets: { strength: 0.75 } })
  const save = add('ReadingSave')
  link(source, 3, a, 'image')
  link(a, 0, b, 'image')
  link(b, 0, save, 'images')
  const host = fold(a, b)
  const strength = await show(host, inner(host, 'ReadingOptional', 0), 'strength')
  const note = await show(host, inner(host, 'ReadingOptional', 1), 'note')
  if (values) {
    strength.value = 0.125
    note.value = 'shown'
  }
  return { source, host, save }
}

if (kit.promotes) Object.assign(WORKFLOWS, {
  async promoted() { await shown() },
  async promoted_unchanged() { await shown({ values: false }) },
  async promoted_every_kind() {
    const host = fold(add('ReadingWidgets'), add('ReadingSeeds'))
    const values = { text: 'shown', number: 42, real: 0.75, lines: 'a\nb\nc', flag: false, choice: 'gamma' }
    for (const [name, value] of Object.entries(values)) (await show(host, inner(host, 'ReadingWidgets'), name)).value = value
    const seeds = { seed: 4321, other: 17, noise_seed: 18, choice: 'z', tail: 'end' }
    for (const [name, value] of Object.entries(seeds)) (await show(host, inner(host, 'ReadingSeeds'), name)).value = value
  },
  async promoted_twice() {
    const { host, save } = await shown()
    const second = again(host)
    link(host, 0, second, 0)
    link(second, 0, save, 'images')
    const [strength, note] = second.widgets
    strength.value = 0.875
    note.value = 'second'
  },
  async promoted_same_names() {
    const host = fold(add('ReadingWidgets'), add('ReadingWidgets'))
    for (const nth of [0, 1]) {
      for (const name of ['text', 'number']) {
        (await show(host, inner(host, 'ReadingWidgets', nth), name)).value = name === 'text' ? `text ${nth}` : 10 + nth
      }
    }
  },
  async promoted_and_input() {
    const { host } = await shown()
    kit.promote(host, inner(host, 'ReadingOptional', 1), 'strength').value = 0.625
    const kind = await show(host, inner(host, 'ReadingOptional', 1), 'kind')
    kind.value = 'gamma'
  },
  async promoted_and_linked_input() {
    const { source, host } = await shown()
    kit.promote(host, inner(host, 'ReadingOptional', 1), 'strength').value = 0.625
    link(source, 1, host, 'strength')
  },
  async promoted_nested() {
    const { host, save } = await shown()
    const after = add('ReadingOptional')
    link(host, 0, after, 'image')
    link(after, 0, save, 'images')
    fold(host, after)
  },
  async promoted_nested_shown() {
    const { host } = await shown()
    const outer = fold(host)
    const nested = outer.subgraph.nodes.find((node) => node.isSubgraphNode())
    const widget = await show(outer, nested, 'strength')
    widget.value = 0.4375
  },
  async promoted_nested_three() {
    const { host } = await shown()
    const middle = fold(host)
    const nested = middle.subgraph.nodes.find((node) => node.isSubgraphNode())
    await show(middle, nested, 'note')
    const outer = fold(middle)
    const inside = outer.subgraph.nodes.find((node) => node.isSubgraphNode())
    const widget = await show(outer, inside, 'note')
    widget.value = 'from far out'
  },
  async promoted_muted() { await stop('Mute', (await shown()).host) },
  async promoted_bypassed() { await stop('Bypass', (await shown()).host) },
  async promoted_inner_muted() { inner((await shown()).host, 'ReadingOptional', 1).mode = MUTED },
  async promoted_inner_bypassed() { inner((await shown()).host, 'ReadingOptional', 0).mode = BYPASSED },
  async promoted_upload() {
    const load = add('LoadImage')
    const save = add('ReadingSave')
    link(load, 0, save, 'images')
    const host = fold(load, save)
    await show(host, inner(host, 'LoadImage'), 'image')
    ;(await show(host, inner(host, 'ReadingSave'), 'filename_prefix')).value = 'shown'
  },
  async promoted_schema_1() {
    await shown()
    return kit.asSchema1()
  },
})
