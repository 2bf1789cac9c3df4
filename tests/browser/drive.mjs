/*
 * node drive.mjs URL CHROMIUM: ComfyUI's editor at URL in a browser, driven by lines on standard input.
 *
 * Each line is [scene, given]: the function of that name in scenes.mjs or one of its neighbours is called with the page and
 * `given`. Its answer goes out as a line {"answer": ...}, or {"error": "..."}.
 */
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import * as curve from './curve.mjs'
import * as life from './graph.mjs'
import * as panels from './panels.mjs'
import * as places from './places.mjs'
import * as graph from './scenes.mjs'

const { chromium } = createRequire(import.meta.url)('playwright-core') // found through NODE_PATH
const [url, executablePath] = process.argv.slice(2)
const scenes = { ...graph, ...curve, ...life, ...panels, ...places }
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync']
const browser = await chromium.launch({ executablePath, headless: true, args: flags })
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 800 } })
  page.setDefaultTimeout(60_000)
  await page.route(({ hostname }) => hostname !== '127.0.0.1', (route) => route.abort()) // nobody is asked but ComfyUI
  await page.goto(url, { waitUntil: 'domcontentloaded', timeout: 240_000 })
  await scenes.arrive(page)
  for await (const line of createInterface({ input: process.stdin })) {
    const [scene, given] = JSON.parse(line)
    let told
    try {
      told = { answer: (await scenes[scene](page, given ?? undefined)) ?? null }
    } catch (error) {
      told = { error: String(error.stack ?? error).slice(0, 2000) }
    }
    process.stdout.write(JSON.stringify(told) + '\n')
  }
} finally {
  await browser.close()
}
