/* node record.mjs URL CHROMIUM: what ComfyUI's front end at URL makes of every workflow in workflows.js, as JSON. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const { chromium } = createRequire(import.meta.url)('playwright-core') // found through NODE_PATH
const [url, executablePath, ...names] = process.argv.slice(2)
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync']
const browser = await chromium.launch({ executablePath, headless: true, args: flags })
try {
  const page = await browser.newPage()
  page.setDefaultTimeout(240_000)
  await page.goto(url, { waitUntil: 'domcontentloaded' })
  const ready = () => window.app?.vueAppReady && window.app.graph && window.LiteGraph?.registered_node_types.KSampler
  await page.waitForFunction(ready)
  for (const name of ['kit.js', 'workflows.js', 'promoted.js']) {
    await page.addScriptTag({ content: readFileSync(new URL(name, import.meta.url), 'utf8'), type: name === 'kit.js' ? '' : 'module' })
  }
  await page.waitForFunction(() => window.WORKFLOWS)
  const records = { version: await page.evaluate(() => kit.version) }
  for (const name of names.length ? names : await page.evaluate(() => Object.keys(WORKFLOWS))) {
    try {
      records[name] = await page.evaluate((n) => kit.record(n), name)
    } catch (error) {
      records[name] = { error: String(error).slice(0, 400) }
    }
  }
  process.stdout.write(JSON.stringify(records))
} finally {
  await browser.close()
}
