/*
 * node oracle.mjs URL CHROMIUM: the front end at URL, asked by lines on standard input.
 *
 * A line is {"names": [...], "way": "...", "seed": 1}, nodes to make there, or {"workflow": {...}}, a file to open. Its
 * answer goes out as a line {"saved", "prompt"} or {"error"}.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const { chromium } = createRequire(import.meta.url)('playwright-core') // found through NODE_PATH
const [url, executablePath] = process.argv.slice(2)
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync']
const browser = await chromium.launch({ executablePath, headless: true, args: flags })

async function arrive() {
  const page = await browser.newPage()
  page.setDefaultTimeout(240_000)
  await page.route(({ hostname }) => hostname !== '127.0.0.1', (route) => route.abort()) // nobody is asked but ComfyUI
  await page.goto(url, { waitUntil: 'domcontentloaded' })
  await page.waitForFunction(() => window.app?.vueAppReady && window.app.graph && window.LiteGraph?.registered_node_types.KSampler)
  for (const name of ['kit.js', 'oracle.js']) await page.addScriptTag({ content: readFileSync(new URL(name, import.meta.url), 'utf8') })
  return page
}

try {
  const page = await arrive()
  const about = await page.evaluate(() => ({ version: kit.version, widgets: Object.keys(app.widgets) }))
  process.stdout.write(JSON.stringify(about) + '\n')
  for await (const line of createInterface({ input: process.stdin })) {
    let told
    try {
      told = await page.evaluate(async ({ names, way, seed, workflow }) => {
        if (!workflow) return oracle.record(names, way, seed)
        await kit.open(workflow)
        await kit.export()
        return { saved: workflow, prompt: (await kit.export()).prompt }
      }, JSON.parse(line))
    } catch (error) {
      told = { error: String(error).slice(0, 400) }
    }
    process.stdout.write(JSON.stringify(told) + '\n')
  }
} finally {
  await browser.close()
}
