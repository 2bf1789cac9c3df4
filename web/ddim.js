/** What ComfyUI-DDIM adds to the editor: the picture of a curve on the nodes that make one; who decides a sampler's cfg. */

import { app } from '../../scripts/app.js'
import { formatCurve, guidanceCurve, parseCurve, stepValues } from './curve.js'
import { addStyle } from './dom.js'
import { CurveView } from './curve_view.js'
import { stepsDownstream } from './steps.js'
import { PAGE_STYLE, STYLE } from './style.js'
import { learn, say } from './words.js'

const STEPS = 20
const HEIGHT = 190
const [NARROW, WIDE, WIDEST] = [200, 300, 420]
const ARROWS = 120

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name)
const isWired = (node, name) => node.inputs?.some((input) => input.name === name && input.link != null) ?? false

/** How to read the curve from a node's widgets, and why it may not be the one that is used. */
const SOURCES = {
  DDIMCurve: {
    inputs: ['curve'],
    editable: true,
    read: (text) => parseCurve(text),
    notice: (node) => (isWired(node, 'values') ? say('valuesCount') : isWired(node, 'drawn') ? say('drawnCounts') : ''),
  },
  DDIMGuidanceSchedule: {
    inputs: ['shape', 'start', 'end', 'first', 'last'],
    editable: false,
    read: guidanceCurve,
    notice: () => '',
  },
}

/** Tells the editor that a change is complete, so that its undo goes back to before it. */
function remember() {
  app.canvas?.emitBeforeChange?.()
  app.canvas?.emitAfterChange?.()
}

/** Connects a node with its picture; `refresh` brings the picture up to date. */
class CurveWidget {
  constructor(node, source) {
    this.node = node
    this.source = source
    const text = widgetOf(node, 'curve')
    if (text?.options) text.options.getMaxHeight = () => 60
    const draw = (points) => this.write(formatCurve(points))
    const range = (low, high) => this.setRange(low, high)
    this.picture = new CurveView({ ...(source.editable && { draw }), range, done: remember })
    this.widget = node.addDOMWidget('picture', 'ddim_curve', this.picture.element, {
      getValue: () => '',
      setValue: () => {},
      getMinHeight: () => HEIGHT,
      hideOnZoom: true,
      hideInPanel: true,
      serialize: false,
    })
    this.widget.serialize = false
    // The editor's side panel gives each widget that it lists its own width, on the node too; the node's counts.
    Object.defineProperty(this.widget, 'width', { get: () => undefined, set: () => {} })
    node.properties.steps ??= STEPS
    letTheEditorPan(this.picture.element)
  }

  write(text) {
    const widget = widgetOf(this.node, 'curve')
    if (widget.value !== text) widget.value = text
    this.refresh()
    this.node.setDirtyCanvas(true, true)
  }

  setRange(low, high) {
    this.node.properties.low = low
    this.node.properties.high = high
    this.refresh()
  }

  /** Draws the picture again if what it shows has changed. */
  refresh() {
    const { node, source } = this
    this.takePlace()
    const values = source.inputs.map((name) => widgetOf(node, name)?.value)
    const { low = null, high = null } = node.properties
    const counted = stepsDownstream(node)
    const steps = counted ?? Math.round(Math.min(1000, Math.max(1, Number(node.properties.steps) || STEPS)))
    const wired = source.inputs.find((name) => isWired(node, name))
    const notice = source.notice(node) || (wired ? say('wired', { input: wired }) : '')
    const seen = JSON.stringify([values, low, high, steps, counted === null, notice])
    if (seen === this.seen) return
    this.seen = seen
    const foot = say(counted === null ? 'alone' : 'steps', { steps })
    this.picture.show({ ...this.curve(values, steps, notice), steps, low, high, foot, wired: Boolean(notice) })
  }

  /** Where nodes are elements of the page, undo makes the node anew but leaves the old one's picture standing. */
  takePlace() {
    const { element } = this.picture
    if (element.isConnected || this.node.graph !== app.canvas?.graph) return
    document.querySelector(`[data-node-id="${this.node.id}"] .ddim-curve`)?.replaceWith(element)
  }

  curve(values, steps, notice) {
    try {
      const curve = this.source.read(...values)
      stepValues(curve, steps) // throws where a formula has no value
      return { curve, notice }
    } catch (error) {
      return { curve: null, notice: notice || error.message }
    }
  }
}

/** Wheel and middle button go on to the canvas, as from the editor's own text boxes. */
function letTheEditorPan(element) {
  const middle = (event) => event.button === 1 || (event.buttons & 4) === 4
  const pass = (name, process, wanted) =>
    element.addEventListener(name, (event) => {
      if (!wanted(event)) return
      event.preventDefault()
      app.canvas[process](event)
    })
  pass('wheel', 'processMouseWheel', () => true)
  pass('pointerdown', 'processMouseDown', middle)
  pass('pointermove', 'processMouseMove', middle)
  pass('pointerup', 'processMouseUp', middle)
}

/** While a guider is connected a sampler's cfg has no effect: it is greyed out, and its label says so. */
class GuidedCfg {
  constructor(node) {
    this.node = node
    this.widget = widgetOf(node, 'cfg')
    this.label = this.widget.label
  }

  refresh() {
    const { node, widget, label } = this
    const guided = isWired(node, 'guider')
    if (guided === Boolean(widget.disabled)) return
    widget.disabled = guided
    widget.label = guided ? say('guider', { name: label ?? 'cfg' }) : label
    node.setDirtyCanvas(true, true)
  }
}

/** What is refreshed whenever the graph changes: a node isn't told of changes elsewhere, such as to a sampler's steps. */
const followers = new Set()

function refreshAll() {
  for (const follower of followers) follower.refresh()
}

function follow(node, follower) {
  followers.add(follower)
  const { onRemoved, onConnectionsChange } = node
  node.onRemoved = function (...rest) {
    followers.delete(follower)
    return onRemoved?.apply(this, rest)
  }
  node.onConnectionsChange = function (...rest) {
    const answer = onConnectionsChange?.apply(this, rest)
    queueMicrotask(refreshAll) // once the wire is there, or gone
    return answer
  }
  return follower
}

function addCurve(node, source) {
  const curve = follow(node, new CurveWidget(node, source))
  for (const name of source.inputs) {
    const widget = widgetOf(node, name)
    const before = widget.callback
    widget.callback = function (...rest) {
      const answer = before?.apply(this, rest)
      curve.refresh()
      return answer
    }
  }
  curve.refresh()
}

const pen = document.createElement('canvas').getContext('2d')
pen.font = `12px ${LiteGraph.NODE_FONT}`

/** The width of a choice with its name, value and arrows: file names are long. */
function choiceWidth({ name, label, value }) {
  return Math.min(WIDEST, pen.measureText(`${label ?? name}${value}`).width + ARROWS)
}

/** Makes a node as wide as its title and values need: the editor allows for less. */
function makeRoom(node) {
  const [width, height] = node.computeSize()
  const widgets = node.widgets ?? []
  const choices = widgets.filter((widget) => widget.type === 'combo').map(choiceWidth)
  const wanted = Math.max(width, widgets.length ? WIDE : NARROW, ...choices)
  node.setSize([Math.max(node.size[0], wanted), Math.max(node.size[1], height)])
}

addStyle(STYLE + PAGE_STYLE)

app.registerExtension({
  name: 'ComfyUI-DDIM.Curve',

  nodeCreated(node) {
    const source = SOURCES[node.comfyClass]
    if (source) addCurve(node, source)
    if (node.comfyClass === 'DDIMSampler') follow(node, new GuidedCfg(node))
    if (node.comfyClass?.startsWith('DDIM')) makeRoom(node)
  },

  loadedGraphNode(node) {
    if (node.comfyClass?.startsWith('DDIM')) queueMicrotask(refreshAll)
  },

  afterConfigureGraph() {
    // Now, and once more when nodes that are elements of the page stand there.
    refreshAll()
    setTimeout(refreshAll, 200)
  },

  async setup() {
    app.api.addEventListener('graphChanged', refreshAll)
    await learn(app.api, app.extensionManager.setting.get('Comfy.Locale'))
  },
})
