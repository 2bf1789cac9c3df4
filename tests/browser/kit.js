/* What the workflow builders in workflows.js are written with; runs in the front end's page. */
window.kit = {
  /** A new node; `widgets` sets values by name. */
  add(type, { widgets = {}, mode = 0, title, graph = app.graph } = {}) {
    const node = LiteGraph.createNode(type)
    if (!node) throw new Error(`no node type ${type}`)
    graph.add(node)
    node.pos = [240 * (node.id % 5), 180 * Math.floor(node.id / 5)]
    for (const [name, value] of Object.entries(widgets)) {
      const widget = node.widgets.find((w) => w.name === name)
      if (!widget) throw new Error(`${type} has no widget ${name}`)
      widget.value = value
    }
    node.mode = mode
    if (title) node.title = title
    return node
  },

  /** Joins output `out` (a number) with input `name` (its name, or a number). */
  link(from, out, to, name) {
    const slot = typeof name === 'number' ? name : to.inputs.findIndex((input) => input.name === name)
    if (slot < 0) throw new Error(`${to.type} has no input ${name}`)
    const made = from.connect(out, to, slot)
    if (!made) throw new Error(`can't join ${from.type} with ${to.type}.${name}`)
    return made
  },

  /** A new PrimitiveNode joined with the widget inputs [[node, name], ...], holding `value`. */
  primitive(value, targets, graph = app.graph) {
    const node = this.add('PrimitiveNode', { graph })
    for (const [to, name] of targets) this.link(node, 0, to, name)
    if (value !== undefined) node.widgets[0].value = value
    return node
  },

  /** Folds nodes into a subgraph; returns its host. */
  fold(...nodes) {
    const graph = nodes[0].graph
    return graph.convertToSubgraph(new Set(nodes)).node
  },

  /** Shows the widget of a node inside on the host; returns the host's widget. */
  promote(host, inner, name) {
    const input = inner.inputs.find((slot) => slot.name === name)
    const slot = host.subgraph.addInput(name, String(input.type))
    slot.connect(input, inner)
    return host.widgets[host.widgets.length - 1]
  },

  /** Shows a widget of a node inside on the host by the editor's own menu, if it isn't shown yet; the host's widget. */
  async show(host, node, name) {
    const outside = app.canvas.graph
    app.canvas.openSubgraph(host.subgraph, host)
    node.getWidgetOnPos = () => node.widgets.find((one) => one.name === name) // as if the pointer were on it
    const options = []
    options.push(...(node.getExtraMenuOptions(app.canvas, options) ?? []))
    const item = options.find((option) => option?.content?.includes('Promote Widget'))
    if (!item?.content.includes(name)) throw new Error(`the menu shows ${options.map((option) => option?.content)}`)
    delete node.getWidgetOnPos
    const isShown = item.content.startsWith('Un')
    if (!isShown) await item.callback()
    app.canvas.setGraph(outside)
    return isShown ? host.widgets.find((one) => one.name === name) : host.widgets[host.widgets.length - 1]
  },

  /** A second host of the same subgraph. */
  again(host) {
    const node = LiteGraph.createNode(host.subgraph.id)
    app.graph.add(node)
    node.pos = [600, 600]
    return node
  },

  inner(host, type, nth = 0) {
    return host.subgraph.nodes.filter((node) => node.type === type)[nth]
  },

  /** Mutes (Mute) or bypasses (Bypass) a node as the editor's menu does, with all that is inside it. */
  async stop(how, node) {
    app.canvas.deselectAll()
    app.canvas.select(node)
    await app.extensionManager.command.execute(`Comfy.Canvas.ToggleSelectedNodes.${how}`)
  },

  /** The graph as schema 1.0, by the name of the front end that made it. */
  asSchema1() {
    const saved = this.copy(app.graph.asSerialisable())
    saved.extra = { ...saved.extra, frontendVersion: this.version }
    return saved
  },

  version: window.__COMFYUI_FRONTEND_VERSION__,

  /** Whether this front end's menu shows widgets of subgraphs on their hosts, as inputs of theirs. */
  promotes: Number(window.__COMFYUI_FRONTEND_VERSION__?.split('.')[1]) >= 50,

  copy: (value) => JSON.parse(JSON.stringify(value)),

  /** What a file of this page holds, and what would be queued for it. */
  async export() {
    const { workflow, output } = await app.graphToPrompt()
    return this.copy({ workflow, prompt: output })
  },

  async open(workflow) {
    await app.loadGraphData(this.copy(workflow), true, false, null, { showMissingNodesDialog: false, showMissingModelsDialog: false })
    await new Promise((done) => setTimeout(done, 30))
  },

  /** Builds one workflow, saves it, opens the save, and tells what would be queued before and after. */
  async record(name) {
    await this.open({ nodes: [], links: [], version: 0.4, last_node_id: 0, last_link_id: 0 })
    const given = await WORKFLOWS[name]()
    if (given) {
      await this.open(given)
      const saved = await this.export()
      await this.open(saved.workflow)
      const { promotes } = this
      return { promotes, given: this.copy(given), saved: saved.workflow, built: saved.prompt, prompt: (await this.export()).prompt }
    }
    const saved = await this.export()
    await this.open(saved.workflow)
    return { saved: saved.workflow, built: saved.prompt, prompt: (await this.export()).prompt }
  },
}
