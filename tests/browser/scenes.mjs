/* What the tests of the editor do in its page, each as one function of the page. */

/** Waits until the editor is there with the pack's nodes, and listens. */
export async function arrive(page) {
  const ready = () => window.app?.vueAppReady && window.app.graph && window.LiteGraph?.registered_node_types.DDIMSampler &&
    app.extensionManager.workflow.activeWorkflow
  await page.waitForFunction(ready, null, { timeout: 240_000 })
  await listen(page)
}

/** Keeps what ComfyUI tells the page while prompts run, in `told`; `nodeOf` and `curveOf` find a node on the screen and its picture. */
const listen = (page) =>
  page.evaluate(() => {
    window.told = []
    window.nodesOf = (type) => app.canvas.graph.nodes.filter((node) => node.type === type)
    window.nodeOf = (type, nth = 0) => nodesOf(type)[nth]
    window.curveOf = (type, nth) => nodeOf(type, nth).widgets.find((widget) => widget.name === 'picture').element
    const { api } = app
    for (const kind of ['progress', 'executing', 'execution_error', 'execution_interrupted', 'execution_success', 'b_preview']) {
      api.addEventListener(kind, ({ detail }) => told.push({ kind, value: detail?.value, size: detail?.size, words: detail?.exception_message }))
    }
  })

/**
 * Whether nodes are elements of the page (true) or drawn on its canvas; false where this editor has no such choice.
 * Front end 1.27 has it, but shows no widget there that a pack brings.
 */
export async function drawNodes(page, asElements) {
  const known = await page.evaluate(async (asElements) => {
    const [major, minor] = window.__COMFYUI_FRONTEND_VERSION__.split('.').map(Number)
    const known = major > 1 || minor > 30
    if (known) await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', asElements)
    return known
  }, asElements)
  await page.waitForTimeout(500)
  return known
}

/** Opens a workflow as a file is opened; `view` is the place shown at the window's corner, at scale 1. */
export async function open(page, { workflow, view }) {
  await page.keyboard.press('Escape')
  await page.evaluate((w) => app.loadGraphData(JSON.parse(JSON.stringify(w)), true, true, null), workflow)
  await page.waitForTimeout(700)
  if (view) await look(page, view)
}

async function look(page, [x, y]) {
  await page.evaluate(([x, y]) => {
    Object.assign(app.canvas.ds, { scale: 1, offset: [200 - x, 250 - y] })
    app.canvas.setDirty(true, true)
  }, [x, y])
  await page.waitForTimeout(700)
}

/** Every node of the pack, added to an empty graph: its name, its title, and the box it needs and has. */
export const addEveryNode = (page) =>
  page.evaluate(async () => {
    await app.loadGraphData({ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4, last_node_id: 0, last_link_id: 0 })
    const names = Object.keys(LiteGraph.registered_node_types).filter((name) => name.startsWith('DDIM'))
    return names.map((name) => {
      const node = LiteGraph.createNode(name)
      app.graph.add(node)
      const { title, size, widgets = [], inputs, outputs } = node
      return { name, title, size: [...size], needs: [...node.computeSize()], widgets: widgets.length, slots: inputs.length + outputs.length }
    })
  })

/** What is wrong with the graph that is open: nodes without a class, lost wires, nodes on others (or nearly) or too small. */
export const inspect = (page) =>
  page.evaluate(() => {
    const { nodes } = app.graph
    const name = (node) => `${node.id} ${node.type}`
    const box = ({ pos, size }) => [pos[0], pos[1] - LiteGraph.NODE_TITLE_HEIGHT, pos[0] + size[0], pos[1] + size[1]]
    const air = 16
    const meet = (a, b) => [0, 1].every((side) => a[side] < b[side + 2] + air && b[side] < a[side + 2] + air)
    const pairs = nodes.flatMap((a, i) => nodes.slice(i + 1).map((b) => [a, b]))
    const needed = (node, name) => node.constructor.nodeData?.input?.required?.[name] && !node.widgets?.some((w) => w.name === name)
    return {
      nodes: nodes.length,
      wires: nodes.flatMap((node) => node.inputs ?? []).filter((input) => input.link != null).length,
      missing: nodes.filter((node) => !LiteGraph.registered_node_types[node.type] || node.has_errors).map(name),
      open: nodes.flatMap((node) => (node.inputs ?? []).filter((input) => input.link == null && needed(node, input.name)).map((input) => `${name(node)} ${input.name}`)),
      over: pairs.filter(([a, b]) => meet(box(a), box(b))).map(([a, b]) => `${name(a)} over ${name(b)}`),
      small: nodes.filter((node) => node.computeSize().some((size, i) => size > node.size[i] + 1)).map(name),
      dialogs: [...document.querySelectorAll('[role=dialog]')].map((dialog) => dialog.textContent.slice(0, 200)),
    }
  })

/** The colours of all dots at inputs and outputs, where nodes are elements. */
export async function dots(page) {
  await page.locator('.slot-dot').first().waitFor()
  return page.evaluate(() => [...document.querySelectorAll('.slot-dot')].map((dot) => getComputedStyle(dot).backgroundColor))
}

/** Queues what is open, as the button Run does: what was sent, and the server's answer. */
export async function run(page) {
  const sent = page.waitForResponse((response) => response.url().endsWith('/prompt') && response.request().method() === 'POST')
  await page.evaluate(() => {
    told.length = 0
    return app.extensionManager.command.execute('Comfy.QueuePrompt')
  })
  const response = await sent
  return { prompt: response.request().postDataJSON().prompt, answer: await response.json() }
}

/** Waits until `kind` has been told `count` times. */
export async function until(page, { kind, count = 1 }) {
  const seen = ([kind, count]) => told.filter((t) => t.kind === kind).length >= count
  await page.waitForFunction(seen, [kind, count], { timeout: 240_000, polling: 100 })
}

/** What the page has been told since it last queued. */
export const told = (page) => page.evaluate(() => window.told)

/** The progress and the picture that a node shows at this moment. */
export const shownOn = (page, type) =>
  page.evaluate((type) => {
    const node = nodeOf(type)
    const inPage = document.querySelector(`[data-node-id="${node.id}"] img`)
    return { progress: node.progress ?? null, picture: Boolean(node.imgs?.length || node.widgets?.some((w) => w.name === '$$canvas-image-preview') || inPage) }
  }, type)

/** Stops the run by the editor's own command: when that was answered, in milliseconds, and the last step told of. */
export async function interrupt(page) {
  const answered = page.waitForResponse((response) => response.url().endsWith('/interrupt')).then(() => Date.now())
  await page.evaluate(() => app.extensionManager.command.execute('Comfy.Interrupt'))
  const time = await answered
  await until(page, { kind: 'execution_interrupted' })
  return { answered: time, last: await page.evaluate(() => Math.max(...told.filter((t) => t.kind === 'progress').map((t) => t.value))) }
}

/** What the page says about an error: its dialogs, notes and, where it has one, panel of details; and which nodes it marks. */
export async function complaints(page) {
  await page.waitForTimeout(800)
  const details = page.getByTestId('error-overlay-see-errors')
  if (await details.count()) {
    await details.click()
    await page.locator('[data-testid^="error-group-"]').first().waitFor()
    const report = page.getByTestId('runtime-error-panel')
    if (await report.count()) await report.filter({ hasText: 'Exception Message' }).first().waitFor() // comes after the traceback
    const more = page.locator('[data-testid^="error-group-"] button[aria-controls][aria-expanded="false"]')
    while (await more.count()) await more.first().click() // the node's own words are behind an "i"
    await page.waitForTimeout(800)
  }
  const said = await page.evaluate(() => ({
    words: [...document.querySelectorAll('[role=dialog], .p-dialog, .p-toast, [data-testid^="error-group-"]')].map((part) => part.textContent).join('\n'),
    marked: app.graph.nodes.filter((node) => node.has_errors || app.lastNodeErrors?.[node.id] || app.lastExecutionError?.node_id == node.id).map((node) => node.type),
  }))
  for (let i = 0; i < 2; i++) await page.keyboard.press('Escape')
  return said
}

/** What a file of this page would hold, and what would be queued. */
export const save = (page) => page.evaluate(async () => JSON.parse(JSON.stringify(await app.graphToPrompt())))

/** A screenshot of the whole graph, in a window large enough to read it. */
export async function shot(page, path) {
  const usual = page.viewportSize()
  await page.setViewportSize({ width: 2400, height: 1400 })
  await page.evaluate(() => {
    const boxes = app.graph.nodes.map(({ pos, size }) => [pos[0], pos[1] - 40, pos[0] + size[0], pos[1] + size[1]])
    const [x0, y0, x1, y1] = [0, 1, 2, 3].map((side) => Math[side < 2 ? 'min' : 'max'](...boxes.map((box) => box[side])))
    const scale = Math.min((innerWidth - 180) / (x1 - x0), (innerHeight - 200) / (y1 - y0), 1)
    Object.assign(app.canvas.ds, { scale, offset: [90 / scale - x0, 110 / scale - y0] })
    app.canvas.setDirty(true, true)
  })
  await page.waitForTimeout(1500)
  await page.screenshot({ path })
  await page.setViewportSize(usual)
}

/** A picture of one node alone, as it is when it has been added. */
export async function portrait(page, { type, path }) {
  const clip = await page.evaluate(async (type) => {
    // Removed one by one: after a clear, the next node has the last one's number, and gets its widgets' values.
    for (const other of [...app.graph.nodes]) app.graph.remove(other)
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    Object.assign(app.canvas.ds, { scale: 1, offset: [300 - node.pos[0], 150 - node.pos[1]] })
    app.canvas.setDirty(true, true)
    await new Promise((done) => setTimeout(done, 800))
    const [air, title] = [8, LiteGraph.NODE_TITLE_HEIGHT]
    const { left, top } = app.canvas.canvas.getBoundingClientRect()
    return { x: left + 300 - air, y: top + 150 - title - air, width: node.size[0] + 2 * air, height: node.size[1] + title + 2 * air }
  }, type)
  await page.screenshot({ path, clip })
}
