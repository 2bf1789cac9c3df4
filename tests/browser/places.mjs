/* What the editor offers around the graph: the search for nodes, app mode, the side panel, tooltips. */

const settle = (page, time = 700) => page.waitForTimeout(time)

/** Adds a node, or a blueprint, by the search that a double click on free canvas opens; its title on the graph. */
export async function addBySearch(page, name) {
  const before = await page.evaluate(() => app.graph.nodes.length)
  const [x, y] = [600, 500]
  await page.evaluate(([x, y]) => {
    const { left, top } = app.canvas.canvas.getBoundingClientRect()
    const right = Math.max(0, ...app.graph.nodes.map(({ pos, size }) => pos[0] + size[0])) + 200
    Object.assign(app.canvas.ds, { scale: 1, offset: [x - left - right, y - top - 200] }) // free canvas under the mouse
    app.canvas.setDirty(true, true)
  }, [x, y])
  await settle(page)
  await page.mouse.dblclick(x, y)
  await settle(page)
  await page.keyboard.type(name)
  await settle(page, 1200)
  await page.keyboard.press('Enter')
  await page.waitForFunction((before) => app.graph.nodes.length > before, before)
  await settle(page)
  await page.mouse.click(x, y) // lets go of a node that hangs on the mouse
  await settle(page)
  return page.evaluate(() => app.graph.nodes.at(-1).title)
}

/** An empty graph with all that a blueprint takes: where each of its inputs comes from, by name, as [node, output]. */
export const sources = (page) =>
  page.evaluate(async () => {
    await app.loadGraphData({ nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4, last_node_id: 0, last_link_id: 0 })
    const add = (type, ...values) => {
      const node = LiteGraph.createNode(type)
      app.graph.add(node)
      node.pos = [0, 400 * (app.graph.nodes.length - 1)]
      values.forEach((value, i) => (node.widgets[i].value = value))
      return node
    }
    const model = add('DDIMLoadModel')
    const prompts = ['a large red sphere in the middle', 'a large blue cube in the middle'].map((prompt) => add('DDIMConditioning', prompt, ''))
    for (const node of prompts) model.connect(1, node, 0)
    const [image, mask, latent] = [add('DDIMExampleImage', 'red-sphere'), add('DDIMMask'), add('DDIMEmptyLatent', 64, 64, 1)]
    const from = {
      model: [model, 0], vae: [model, 2], positive: [prompts[0], 0], described_by: [prompts[0], 0], negative: [prompts[0], 1],
      edited_to: [prompts[1], 0], latent: [latent, 0], image: [image, 0], mask: [mask, 0],
    }
    return Object.fromEntries(Object.entries(from).map(([name, [node, output]]) => [name, [node.id, output]]))
  })

/** Wires the last node's inputs from `sources` by their names, and its images and latents into previews; how many. */
export const wireLast = (page, wires) =>
  page.evaluate((wires) => {
    const node = app.graph.nodes.at(-1)
    const connect = (name, to, input) => app.graph.getNodeById(wires[name][0]).connect(wires[name][1], to, input)
    node.inputs.forEach((input, place) => input.widget || connect(input.name, node, place))
    const add = (type, row) => {
      const made = LiteGraph.createNode(type)
      app.graph.add(made)
      made.pos = [node.pos[0] + node.size[0] + 100, node.pos[1] + 350 * row]
      return made
    }
    const shown = node.outputs.flatMap(({ type }, place) => (['IMAGE', 'LATENT'].includes(type) ? [[type, place]] : []))
    for (const [type, place] of shown) {
      const preview = add('PreviewImage', place)
      if (type === 'IMAGE') node.connect(place, preview, 0)
      else {
        const decode = add('DDIMDecode', place)
        node.connect(place, decode, 0)
        connect('vae', decode, 1)
        decode.connect(0, preview, 0)
      }
    }
    return shown.length
  }, wires)

/** Goes into app mode, past the welcome that some editors have, or out of it. */
async function toggleApp(page) {
  await page.evaluate(() => app.extensionManager.command.execute('Comfy.ToggleLinear'))
  await settle(page)
  const welcome = page.getByTestId('coach-landing')
  if (await welcome.count()) await welcome.getByRole('button', { name: 'Skip' }).click()
}

/** What app mode shows of the workflow that is open: each widget's label and height, and whether it can be run. */
export async function asApp(page) {
  await toggleApp(page)
  try {
    await page.getByTestId('app-mode-widget-item').first().waitFor()
    await settle(page)
    const widgets = await page.getByTestId('app-mode-widget-item').evaluateAll((items) =>
      items.map((item) => [item.querySelector('[data-testid="builder-widget-label"]').textContent, item.clientHeight]))
    return { widgets, runs: await page.getByTestId('linear-run-button').isEnabled() }
  } finally {
    await toggleApp(page)
  }
}

/** The tooltips over a node that is an element of the page: over its title, an input, an output, a widget. */
export async function tooltips(page, { type, input, output, widget }) {
  await page.evaluate(async (type) => {
    app.graph.clear()
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    Object.assign(app.canvas.ds, { scale: 1, offset: [500 - node.pos[0], 150 - node.pos[1]] })
    app.canvas.setDirty(true, true)
  }, type)
  const node = page.locator('[data-node-id]')
  const places = {
    title: node.getByTestId('node-title'),
    input: node.locator('.lg-slot--input').filter({ hasText: new RegExp(`^\\s*${input}\\s*$`) }),
    output: node.locator('.lg-slot--output').filter({ hasText: new RegExp(`^\\s*${output}\\s*$`) }),
    widget: node.locator('.lg-node-widgets').getByText(widget, { exact: true }),
  }
  const told = {}
  const tips = () => page.locator('.p-tooltip, [role=tooltip]')
  for (const [name, place] of Object.entries(places)) {
    await page.mouse.move(300, 650)
    await page.waitForFunction(() => !document.querySelector('.p-tooltip, [role=tooltip]'))
    await place.first().hover()
    await tips().first().waitFor()
    told[name] = await tips().last().textContent()
  }
  return told
}

/** The picture on a node, once it is there: its width, whether all of it is inside the node, and the node's height. */
export async function pictureOn(page, type) {
  const seen = await page.waitForFunction((type) => {
    const node = nodeOf(type)
    const element = document.querySelector(`[data-node-id="${node.id}"]`)
    const image = element ? element.querySelector('img') : node.imgs?.[0]
    const widget = node.widgets.find(({ name }) => name === '$$canvas-image-preview')
    if (!image?.naturalWidth || !(element || widget?.computedHeight)) return null
    if (!element) return { width: image.naturalWidth, inside: widget.y + widget.computedHeight <= node.size[1] + 1, height: node.size[1] }
    const [inner, outer] = [image, element].map((part) => part.getBoundingClientRect())
    const inside = inner.height > 1 && inner.top >= outer.top && inner.bottom <= outer.bottom && inner.left >= outer.left && inner.right <= outer.right
    return { width: image.naturalWidth, inside, height: outer.height / app.canvas.ds.scale }
  }, type)
  await settle(page)
  return seen.jsonValue()
}

/** How high a node is, by its element where it is one. */
export const heightOf = (page, type) =>
  page.evaluate((type) => {
    const { id, size } = nodeOf(type)
    const element = document.querySelector(`[data-node-id="${id}"]`)
    return element ? element.getBoundingClientRect().height / app.canvas.ds.scale : size[1]
  }, type)
