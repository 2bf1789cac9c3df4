/* What people do with a node and its graph, each as one function of the page: copy, fold, wire, zoom, touch, themes. */

const settle = (page, time = 700) => page.waitForTimeout(time)

/** The front end's version, [major, minor]. */
export const frontEnd = (page) => page.evaluate(() => window.__COMFYUI_FRONTEND_VERSION__.split('.').slice(0, 2).map(Number))

/** Selects the node and moves the mouse onto free canvas, where the editor's keys then count. */
export async function select(page, type = 'DDIMCurve') {
  await page.evaluate((type) => {
    document.activeElement?.blur()
    app.canvas.deselectAll()
    app.canvas.select(nodeOf(type))
    app.canvas.canvas.focus()
  }, type)
  await settle(page, 200)
}

/** Runs one of the editor's commands by its name. */
export async function command(page, name) {
  await page.evaluate((name) => app.extensionManager.command.execute(name), name)
  await settle(page)
}

/** How many nodes of a type the graph on the screen has. */
export const count = (page, type = 'DDIMCurve') => page.evaluate((type) => nodesOf(type).length, type)

/** Puts a node somewhere and makes the editor keep that, as a drag of its title does. */
export async function move(page, { type = 'DDIMCurve', nth = 0, to }) {
  await page.evaluate(([type, nth, to]) => {
    nodesOf(type)[nth].pos = to
    app.canvas.setDirty(true, true)
  }, [type, nth, to])
  await settle(page)
}

/** Folds nodes into a subgraph by the menu's own way, and shows it at the corner. */
export async function fold(page, types) {
  await page.evaluate((types) => {
    app.graph.convertToSubgraph(new Set(types.map((type) => nodeOf(type))))
  }, types)
  await settle(page)
}

/** Goes into the only subgraph, or (given false) out of it. */
export async function enter(page, inside = true) {
  await page.evaluate((inside) => {
    const host = app.graph.nodes.find((node) => node.subgraph)
    if (inside) app.canvas.openSubgraph(host.subgraph, host)
    else app.canvas.setGraph(app.graph)
  }, inside)
  await settle(page)
  await page.evaluate(() => {
    const [x, y] = (app.canvas.graph.nodes.find((node) => node.type === 'DDIMCurve') ?? app.canvas.graph.nodes[0]).pos
    Object.assign(app.canvas.ds, { scale: 1, offset: [300 - x, 250 - y] })
    app.canvas.setDirty(true, true)
  })
  await settle(page)
}

/** Shows a widget of the node inside on its host; the host's widget of that name, or null. */
export const promote = (page, name) =>
  page.evaluate((name) => {
    const host = app.graph.nodes.find((node) => node.subgraph)
    const inner = host.subgraph.nodes.find((node) => node.type === 'DDIMCurve')
    const input = inner.inputs.find((slot) => slot.name === name)
    host.subgraph.addInput(name, String(input.type)).connect(input, inner)
    return host.widgets.find((widget) => widget.name === name)?.value ?? null
  }, name)

/** Gives the widget of that name on the only host a value, as typing in it does. */
export const setOnHost = (page, { name, value }) =>
  page.evaluate(([name, value]) => {
    const widget = app.graph.nodes.find((node) => node.subgraph).widgets.find((widget) => widget.name === name)
    widget.value = value
    widget.callback?.(value)
  }, [name, value])

/** Wires a text into an input of the node, or takes the wire away (text null). */
export async function wireText(page, { input, text }) {
  await page.evaluate(([name, text]) => {
    const node = nodeOf('DDIMCurve')
    const slot = node.inputs.findIndex((input) => input.name === name)
    if (text === null) return node.disconnectInput(slot)
    const from = LiteGraph.createNode('PrimitiveString')
    app.canvas.graph.add(from)
    from.pos = [node.pos[0], node.pos[1] + 500]
    from.widgets[0].value = text
    from.connect(0, node, slot)
  }, [input, text])
  await settle(page)
}

/** Wires ComfyUI's Curve Editor into Curve (DDIM), with a curve through `points`, whose ends are the values of `range`. */
export async function drawInCurveEditor(page, { points, range }) {
  await page.evaluate(([points, range]) => {
    const [to, from] = [nodeOf('DDIMCurve'), LiteGraph.createNode('CurveEditor')]
    app.canvas.graph.add(from)
    from.pos = [to.pos[0] + to.size[0] + 100, to.pos[1]]
    const drawn = from.widgets.find((widget) => widget.name === 'curve')
    drawn.value = { points, interpolation: 'monotone_cubic' }
    to.widgets.find((widget) => widget.name === 'drawn_range').value = range
    from.connect(0, to, to.inputs.findIndex((input) => input.name === 'drawn'))
  }, [points, range])
  await settle(page)
}

/** The editor's own zoom, with the curve still in view. */
export async function zoom(page, scale) {
  await page.evaluate((scale) => {
    const [x, y] = nodeOf('DDIMCurve').pos
    Object.assign(app.canvas.ds, { scale, offset: [150 / scale - x, 150 / scale - y] })
    app.canvas.setDirty(true, true)
  }, scale)
  await settle(page)
}

/** The browser's zoom: fewer and larger pixels for the page in a window of the same size; 1 is as usual. */
export async function pageZoom(page, factor) {
  const session = await page.context().newCDPSession(page)
  const { width, height } = page.viewportSize()
  const size = { width: Math.round(width / factor), height: Math.round(height / factor) }
  if (factor === 1) await session.send('Emulation.clearDeviceMetricsOverride')
  else await session.send('Emulation.setDeviceMetricsOverride', { ...size, deviceScaleFactor: factor, mobile: false })
  await settle(page)
}

/** Drags by one finger, which may rest at the start for some milliseconds. */
export async function touchDrag(page, { from, to, rest = 0 }) {
  const session = await page.context().newCDPSession(page)
  await session.send('Emulation.setTouchEmulationEnabled', { enabled: true, maxTouchPoints: 1 })
  const touch = (type, ...at) => session.send('Input.dispatchTouchEvent', { type, touchPoints: at.map(([x, y]) => ({ x, y })) })
  await touch('touchStart', from)
  await settle(page, rest)
  for (const share of [0.2, 0.4, 0.6, 0.8, 1]) await touch('touchMove', from.map((at, i) => at + (to[i] - at) * share))
  await touch('touchEnd')
  await session.send('Emulation.setTouchEmulationEnabled', { enabled: false })
  await settle(page, 200)
}

/** Chooses a colour theme; how the curve's parts stand out from what is behind them, as contrasts of 1 to 21. */
export async function contrasts(page, theme) {
  await page.evaluate((theme) => app.extensionManager.setting.set('Comfy.ColorPalette', theme), theme)
  await settle(page)
  return page.evaluate(() => {
    const pen = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true })
    const light = (colour) => {
      pen.clearRect(0, 0, 1, 1)
      pen.fillStyle = colour
      pen.fillRect(0, 0, 1, 1)
      const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
      return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const element = curveOf('DDIMCurve')
    const behind = light(getComputedStyle(element.querySelector('.ddim-curve-box')).backgroundColor)
    const seen = (selector, property) => {
      const own = light(getComputedStyle(element.querySelector(selector))[property])
      return (Math.max(own, behind) + 0.05) / (Math.min(own, behind) + 0.05)
    }
    return {
      behind,
      line: seen('.line', 'stroke'), point: seen('.point', 'stroke'), step: seen('.step', 'fill'), value: seen('.value', 'fill'),
      foot: seen('.foot', 'fill'), axis: seen('.ddim-curve-high', 'color'), button: seen('button', 'color'),
    }
  })
}

/** Goes to another, new file and back, by the editor's own commands. */
export async function otherTabAndBack(page) {
  await command(page, 'Comfy.NewBlankWorkflow')
  await command(page, 'Workspace.PreviousOpenedWorkflow')
  await settle(page, 1000)
}
