/* Nodes of any class, made, set and saved in the front end's page: what oracle.py compares our conversion with. */
window.oracle = {
  /** Numbers between 0 and 1, the same for the same seed. */
  dice(seed) {
    let state = seed >>> 0
    return () => {
      state = (state + 0x6d2b79f5) >>> 0
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
    }
  },

  /** A legal value for a widget, other than its own where there is one; undefined where nobody sets it. */
  legal(widget, dice) {
    const { options = {}, type } = widget
    const pick = (values) => values[Math.floor(dice() * values.length)]
    const between = (low, high, step) => Number((low + Math.floor(dice() * Math.floor((high - low) / step + 1)) * step).toPrecision(12))
    if (type === 'combo') {
      const values = typeof options.values === 'function' ? options.values(widget) : options.values
      if (Array.isArray(widget.value)) return (values ?? []).slice(0, Math.floor(dice() * 3))
      return Array.isArray(values) && values.length ? pick(values) : undefined
    }
    if (type === 'toggle') return dice() < 0.5
    if (type === 'number' || type === 'slider' || type === 'knob' || type === 'gradientslider') {
      const step = options.step2 || 1
      const low = Math.max(options.min ?? 0, -1000)
      return between(low, Math.min(options.max ?? 100, low + 2000), step)
    }
    if (type === 'text' || type === 'customtext' || type === 'string') return pick(['', 'plain', 'two\nlines', '{one}', 'a "quoted" \\ word', '30'])
    if (type === 'color') return pick(['#000000', '#ff8800', '#12ab34'])
    if (type === 'colors') return pick([[], ['#123456'], ['#111111', '#222222']])
    if (type === 'curve') return { points: [[0, dice()], [0.5, dice()], [1, 1]], interpolation: pick(['linear', 'monotone_cubic']) }
    if (type === 'range') return { ...widget.value, min: 0.25, max: 0.5 }
    if (type === 'boundingbox' || type === 'imagecrop') return { x: 1, y: 2, width: between(1, 64, 1), height: 16 }
    return undefined
  },

  /** Sets every widget to a legal value; a dynamic combo's parts come while it goes on. */
  set(node, dice) {
    for (let i = 0; i < (node.widgets ?? []).length && i < 500; i++) {
      const widget = node.widgets[i]
      const value = this.legal(widget, dice)
      if (value !== undefined) widget.value = value
    }
  },

  /** A node of any class with an output of this type, or with an input of it, and the slot's number. */
  partner(type, side, defs) {
    const wanted = String(type).split(',')[0]
    this.partners ??= {}
    const key = `${side} ${wanted}`
    this.partners[key] ??= Object.values(defs).find((def) => (side === 'output'
      ? (def.output ?? []).includes(wanted)
      : Object.values(def.input?.required ?? {}).some(([kind]) => kind === wanted)) && !def.api_node)?.name ?? ''
    if (!this.partners[key]) return undefined
    const node = kit.add(this.partners[key])
    const slots = side === 'output' ? node.outputs : node.inputs
    const slot = slots.findIndex((one) => one.type === wanted)
    return slot < 0 ? undefined : { node, slot }
  },

  /** Links as many sockets of a node as there are partners for, and each output with something. */
  join(node, defs) {
    const given = node.inputs?.filter((one) => !one.widget && one.link == null) ?? []
    for (const input of given) {
      const from = this.partner(input.type, 'output', defs)
      const slot = node.inputs.indexOf(input)
      if (from && slot >= 0) from.node.connect(from.slot, node, slot)
    }
    for (const [slot, output] of (node.outputs ?? []).entries()) {
      const to = this.partner(output.type, 'input', defs)
      if (to) node.connect(slot, to.node, to.slot)
    }
  },

  ways: {
    defaults() {},
    random(node, dice) { oracle.set(node, dice) },
    joined(node, dice, defs) { oracle.set(node, dice); oracle.join(node, defs) },
    muted(node, dice, defs) { oracle.join(node, defs); node.mode = 2 },
    bypassed(node, dice, defs) { oracle.set(node, dice); oracle.join(node, defs); node.mode = 4 },
    converted(node, dice) {
      oracle.set(node, dice)
      const slots = node.inputs?.filter((one) => one.widget && one.link == null) ?? []
      for (const slot of slots.filter(() => dice() < 0.5)) {
        const primitive = kit.add('PrimitiveNode', { graph: node.graph })
        const value = oracle.legal(node.widgets.find((one) => one.name === slot.name), dice)
        if (primitive.connect(0, node, node.inputs.indexOf(slot)) && primitive.widgets?.[0] && value !== undefined) primitive.widgets[0].value = value
      }
    },
    promoted(node, dice) {
      oracle.set(node, dice)
      const names = (node.inputs ?? []).filter((one) => one.widget).map((one) => one.name)
      const host = kit.fold(node)
      const inside = host.subgraph.nodes[0]
      for (const name of names.filter(() => dice() < 0.6)) {
        if (!inside.inputs.some((one) => one.name === name)) continue
        const widget = kit.promote(host, inside, name)
        const value = widget && oracle.legal(widget, dice)
        if (value !== undefined && !(widget.options?.values && names.some((one) => one.startsWith(`${name}.`)))) widget.value = value
      }
    },
  },

  /** Nodes of these classes set in one way, saved, opened again and exported: {saved, prompt}. */
  async record(names, way, seed) {
    this.defs ??= await (await fetch('/object_info')).json()
    await kit.open({ nodes: [], links: [], version: 0.4, last_node_id: 0, last_link_id: 0, id: crypto.randomUUID() })
    const dice = this.dice(seed)
    this.last = (this.last ?? 0) + 1000 // widgets are remembered by the ids of nodes: none is given twice
    if (app.graph.state) app.graph.state.lastNodeId = this.last
    else app.graph.last_node_id = this.last
    for (const name of names) this.ways[way](kit.add(name), dice, this.defs)
    await new Promise((done) => setTimeout(done, 50))
    const { workflow } = await kit.export()
    await kit.open(workflow)
    const { prompt } = await kit.export()
    return { saved: workflow, prompt }
  },
}
