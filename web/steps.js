/** How many steps the run has that a curve is wired into. Knows the editor's graph, but not the page. */

const FARTHEST = 50

/** The value of the first `steps` widget that the outputs of `node` lead to, or null. */
export function stepsDownstream(node) {
  const [waiting, seen] = [[node], new Set([node])]
  while (waiting.length && seen.size < FARTHEST) {
    for (const next of targets(waiting.shift())) {
      if (seen.has(next)) continue
      const steps = next.widgets?.find((widget) => widget.name === 'steps')
      if (steps) return isLinked(next, 'steps') || !(steps.value >= 1) ? null : Math.round(steps.value)
      seen.add(next)
      waiting.push(next)
    }
  }
  return null
}

const isLinked = (node, name) => node.inputs?.some((input) => input.widget?.name === name && input.link != null) ?? false

function targets(node) {
  const links = node.outputs?.flatMap((output) => output.links ?? []) ?? []
  return links.map((id) => linkOf(node.graph, id)?.target_id).map((id) => node.graph.getNodeById(id)).filter(Boolean)
}

const linkOf = (graph, id) => graph.links.get?.(id) ?? graph.links[id]
