/* What the tests look up around the graph: templates, languages, help. */

import { arrive } from './scenes.mjs'

// ---- templates

/** The workflows that the template browser is given for a pack, and how wide the thumbnails in view are, by name. */
export async function templates(page, pack) {
  await page.evaluate(() => app.extensionManager.command.execute('Comfy.BrowseTemplates'))
  await page.getByText(pack, { exact: true }).first().click()
  // Cards below the fold get their pictures only when somebody scrolls there.
  const seen = await page.waitForFunction(() => {
    const images = [...document.querySelectorAll('[data-testid^="template-workflow-"] img')]
    const found = images.filter((image) => image.complete && image.naturalWidth)
    return found.length > 1 ? found.map((image) => [image.alt, image.naturalWidth]) : null
  })
  const given = await page.evaluate(async () => (await fetch('/api/workflow_templates')).json())
  return [given[pack], await seen.jsonValue()]
}

/** Opens a workflow by a click on its card, once that shows its thumbnail; back when it has taken the graph's place. */
export async function openTemplate(page, { name }) {
  const card = page.getByTestId(`template-workflow-${name}`)
  await card.scrollIntoViewIfNeeded()
  await card.locator('img').first().waitFor()
  const before = await page.evaluateHandle(() => [...app.graph.nodes])
  await card.click()
  await page.waitForFunction((old) => app.graph.nodes.length && !app.graph.nodes.includes(old[0]), before)
  await page.waitForTimeout(1000)
}

// ---- languages

/** Opens the editor anew in a language. */
export async function language(page, locale) {
  await page.evaluate((locale) => app.extensionManager.setting.set('Comfy.Locale', locale), locale)
  await page.reload({ waitUntil: 'domcontentloaded' })
  await arrive(page)
  await page.waitForTimeout(1500)
}

/** The names of every node, its inputs and outputs, as the editor shows them, and the tooltip over a widget. */
export async function speak(page, { node, widget }) {
  const names = await page.evaluate(() => {
    const shown = (slot) => slot.label ?? slot.localized_name ?? slot.name
    const types = Object.keys(LiteGraph.registered_node_types).filter((type) => type.startsWith('DDIM'))
    return Object.fromEntries(types.map((type) => {
      const { title, inputs, outputs } = LiteGraph.createNode(type)
      return [type, { title, inputs: Object.fromEntries(inputs.map((slot) => [slot.name, shown(slot)])), outputs: outputs.map(shown) }]
    }))
  })
  const [x, y] = await page.evaluate(async ([type, name]) => {
    app.graph.clear()
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    Object.assign(app.canvas.ds, { scale: 1, offset: [300 - node.pos[0], 200 - node.pos[1]] })
    app.canvas.setDirty(true, true)
    await new Promise((done) => setTimeout(done, 500))
    const widget = node.widgets.find((widget) => widget.name === name)
    const { left, top } = app.canvas.canvas.getBoundingClientRect()
    return [left + 360, top + 200 + (widget.last_y ?? widget.y) + 10]
  }, [node, widget])
  await page.mouse.move(x - 5, y)
  await page.mouse.move(x, y)
  await page.locator('.node-tooltip', { hasText: /\S/ }).waitFor() // it stands there empty before
  return { names, tooltip: await page.locator('.node-tooltip').textContent() }
}

// ---- help

/**
 * A node's help as the button "info" of the toolbox over a selected node opens it: its headings, how many entries its
 * lists have, its pictures by name and width as loaded, its text but for code, and how many pixels lie beyond its edge.
 */
export async function help(page, name) {
  await page.evaluate((name) => {
    app.graph.clear()
    const node = LiteGraph.createNode(name)
    app.graph.add(node)
    Object.assign(app.canvas.ds, { scale: 1, offset: [600 - node.pos[0], 250 - node.pos[1]] })
    app.canvas.selectNode(node)
    app.canvas.setDirty(true, true)
  }, name)
  await page.getByTestId('info-button').click()
  const told = await page.waitForFunction((title) => {
    const help = document.querySelector('.node-help-content')
    const texts = (selector) => [...(help?.querySelectorAll(selector) ?? [])].map((part) => part.textContent.trim())
    const pictures = [...(help?.querySelectorAll('img') ?? [])]
    if (!texts('h1').includes(title) || !pictures.every((picture) => picture.complete)) return null
    const loaded = pictures.map((picture) => [picture.src.split('/').pop(), picture.naturalWidth])
    const prose = help.cloneNode(true)
    prose.querySelectorAll('code').forEach((code) => code.remove())
    const beyond = help.scrollWidth - help.clientWidth
    return { headings: texts('h1, h2'), entries: texts('li').length, pictures: loaded, prose: prose.textContent, beyond }
  }, await page.evaluate((name) => nodeOf(name).title, name))
  return told.jsonValue()
}

/** Leaves the help that is open. */
export const leaveHelp = (page) => page.getByTestId('info-button').click()
