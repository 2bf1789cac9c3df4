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

const targets = (node) => node.outputs?.flatMap((output) => ends(node.graph, output.links)) ?? []

/** The nodes that links of a graph lead to, in and out of subgraphs; none for a node that is moved between two graphs. */
function ends(graph, links) {
  if (!graph) return []
  return (links ?? []).flatMap((id) => {
    const { target_id: target, target_slot: slot } = linkOf(graph, id) ?? {}
    if (target === undefined) return []
    if (target === graph.outputNode?.id) return hosts(graph).slice(0, 1).flatMap((host) => ends(host.graph, host.outputs[slot]?.links))
    const node = graph.getNodeById(target)
    const isHost = node?.subgraph && !node.widgets?.some((widget) => widget.name === 'steps')
    return isHost ? ends(node.subgraph, node.subgraph.inputs[slot]?.linkIds) : node ? [node] : []
  })
}

/** The nodes that a subgraph is shown as. */
function hosts(subgraph) {
  const { rootGraph } = subgraph
  return [rootGraph, ...rootGraph.subgraphs.values()].flatMap((graph) => graph.nodes).filter((node) => node.subgraph === subgraph)
}

const linkOf = (graph, id) => graph.links.get?.(id) ?? graph.links[id]
