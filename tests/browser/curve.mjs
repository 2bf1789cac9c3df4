/* What the tests do to a curve's picture and to widgets, each as one function of the page. */

const part = async (page, selector) =>
  (await page.evaluateHandle((selector) => curveOf('DDIMCurve').querySelector(selector), selector)).asElement()

/** The curve as the page has it: its text, its points and lines on the screen, and what it says; `nth` of several. */
export const curve = (page, type = 'DDIMCurve') => nthCurve(page, { type, nth: 0 })

export const nthCurve = (page, { type = 'DDIMCurve', nth }) =>
  page.evaluate(([type, nth]) => {
    const element = curveOf(type, nth)
    const middle = (shape) => shape.getBoundingClientRect()
    const [plot, node] = [element.querySelector('svg'), nodeOf(type, nth)]
    return {
      text: node.widgets.find((widget) => widget.name === 'curve')?.value ?? null,
      points: [...plot.querySelectorAll('.point')].map(middle).map((box) => [box.x + box.width / 2, box.y + box.height / 2]),
      drawn: plot.querySelector('.line')?.getAttribute('d') ?? null,
      said: plot.getAttribute('aria-label'),
      notice: element.querySelector('.ddim-curve-notice').textContent,
      foot: plot.querySelector('.foot').textContent,
      box: plot.getBoundingClientRect().toJSON(),
      inside: [plot.getBoundingClientRect(), element.parentElement.getBoundingClientRect()].map((box) => box.toJSON()),
      shown: element.isConnected && element.checkVisibility(),
      steps: plot.querySelectorAll('.step').length,
    }
  }, [type, nth])

/** Drags from one place on the screen to another. */
export async function drag(page, { from, to, button = 'left' }) {
  await page.mouse.move(...from)
  await page.mouse.down({ button })
  for (const share of [0.3, 0.7, 1]) await page.mouse.move(...from.map((at, i) => at + (to[i] - at) * share))
  await page.mouse.up({ button })
  await page.waitForTimeout(100)
}

export const click = (page, { at, button = 'left', times = 1 }) => page.mouse.click(...at, { button, clickCount: times })

/** Presses keys, one after the other. */
export async function press(page, keys) {
  for (const key of keys) await page.keyboard.press(key)
  await page.waitForTimeout(keys.some((key) => key.startsWith('Control')) ? 1500 : 100)
}

export const preset = async (page, name) => (await part(page, `button[name="${name}"]`)).click()

/** Clicks on a preset that may not be clickable. */
export const tryPreset = async (page, name) => (await part(page, `button[name="${name}"]`)).click({ force: true })

/** Types a number in at the end of the axis. */
export async function axis(page, { end, value }) {
  const input = await part(page, `.ddim-curve-${end}`)
  await input.fill(value)
  await input.press('Enter')
}

/** Sets a widget as typing in it does. */
export async function set(page, { type, widget, value }) {
  await page.evaluate(([type, name, value]) => {
    const widget = nodeOf(type).widgets.find((widget) => widget.name === name)
    widget.value = value
    widget.callback?.(value)
    app.canvas.setDirty(true, true)
    const { changeTracker } = app.extensionManager.workflow.activeWorkflow
    ;(changeTracker.captureCanvasState ?? changeTracker.checkState).call(changeTracker) // as when the mouse lets go
  }, [type, widget, value])
  await page.waitForTimeout(600)
}
