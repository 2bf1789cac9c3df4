/* The workflows that the front end itself turns into prompts: each builds one with the kit, or returns a file to open. */
const { add, link, fold, again, inner } = kit
const promote = kit.promote.bind(kit)
const primitive = kit.primitive.bind(kit)
const stop = kit.stop.bind(kit)

const MUTED = 2
const BYPASSED = 4

/** source -> `middle` -> save, the shape most of the mode workflows have. */
function chain(type, mode, { out = 3, into = 'image', back = 0 } = {}) {
  const source = add('ReadingSource')
  const middle = add(type, { mode })
  const save = add('ReadingSave')
  link(source, out, middle, into)
  link(middle, back, save, 'images')
  return { source, middle, save }
}

/** A host around source -> optional -> any, the save outside. */
function simpleSubgraph() {
  const source = add('ReadingSource')
  const a = add('ReadingOptional', { widgets: { strength: 0.25 } })
  const b = add('ReadingOptional', { widgets: { strength: 0.75 } })
  const save = add('ReadingSave')
  link(source, 3, a, 'image')
  link(a, 0, b, 'image')
  link(b, 0, save, 'images')
  return { source, host: fold(a, b), save }
}

function promotedSubgraph() {
  const { source, host, save } = simpleSubgraph()
  const first = promote(host, inner(host, 'ReadingOptional', 0), 'strength')
  const second = promote(host, inner(host, 'ReadingOptional', 1), 'note')
  first.value = 0.125
  second.value = 'promoted'
  return { source, host, save }
}

/** A browser-saved file written by hand, of `nodes` and `links`. */
function file(nodes, links, more = {}) {
  return {
    last_node_id: 50, last_link_id: 50, groups: [], config: {}, extra: {}, version: 0.4, links,
    nodes: nodes.map((node, order) => ({
      pos: [200 * order, 0], size: [180, 100], flags: {}, order, mode: 0, inputs: [], outputs: [], properties: {}, ...node,
    })),
    ...more,
  }
}

const save = (id, linkId) => ({
  id, type: 'ReadingSave', inputs: [{ name: 'images', type: 'IMAGE', link: linkId }], widgets_values: ['out'],
})

function sourceNode(id, out, links) {
  const outputs = ['INT', 'FLOAT', 'STRING', 'IMAGE', 'MASK', 'BOOLEAN'].map((type, i) => ({
    name: type, type, links: i === out ? links : null,
  }))
  return { id, type: 'ReadingSource', outputs, widgets_values: [11] }
}

/** A file with one group node "workflow>pair": ReadingSource -> ReadingOptional, and a save outside. */
function grouped({ separator = '>', values = [21, 0.5, 'n', 'beta'], inside = {}, config } = {}) {
  const group = {
    nodes: [
      { ...sourceNode(-1, 3, []), index: 0, pos: [0, 0], size: [180, 100], flags: {}, order: 0, mode: 0 },
      {
        id: -1, type: 'ReadingOptional', index: 1, pos: [300, 0], size: [180, 100], flags: {}, order: 1, mode: 0,
        inputs: [{ name: 'image', type: 'IMAGE', link: null }, { name: 'mask', type: 'MASK', link: null },
          { name: 'image2', type: 'IMAGE', link: null }],
        outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [] }, { name: 'MASK', type: 'MASK', links: null }],
        widgets_values: [0.5, 'n', 'beta'], ...inside,
      },
    ],
    links: [[0, 3, 1, 0, 1, 'IMAGE']],
    external: [[1, 0, 'IMAGE']],
  }
  if (config) group.config = config
  const host = {
    id: 5, type: `workflow${separator}pair`,
    inputs: [{ name: 'mask', type: 'MASK', link: null }, { name: 'image2', type: 'IMAGE', link: null }],
    outputs: [
      { name: 'INT', type: 'INT', links: null }, { name: 'FLOAT', type: 'FLOAT', links: null },
      { name: 'STRING', type: 'STRING', links: null }, { name: 'MASK', type: 'MASK', links: null },
      { name: 'BOOLEAN', type: 'BOOLEAN', links: null },
      { name: 'ReadingOptional IMAGE', type: 'IMAGE', links: [1] }, { name: 'ReadingOptional MASK', type: 'MASK', links: null },
    ],
    widgets_values: values,
  }
  return file([host, save(6, 1)], [[1, 5, 5, 6, 0, 'IMAGE']], { extra: { groupNodes: { pair: group } } })
}

/** A file with the single group node "workflow>some" of these nodes. */
function groupOf(nodes, links, values) {
  const group = {
    nodes: nodes.map((node, index) => ({
      pos: [300 * index, 0], size: [180, 100], flags: {}, order: index, mode: 0, inputs: [], outputs: [], ...node, id: -1, index,
    })),
    links, external: [],
  }
  return file([{ id: 5, type: 'workflow>some', widgets_values: values }], [], { extra: { groupNodes: { some: group } } })
}

window.WORKFLOWS = {
  async default_text_to_image() { await app.loadGraphData() },
  widgets() { add('ReadingWidgets', { widgets: { number: 42, real: 0.125, text: 'x "y"', lines: 'a\n\nb', flag: false, choice: 'gamma' } }) },
  widget_defaults() { add('ReadingWidgets'); add('ReadingDefaults'); add('ReadingComboV2') },
  widget_lists() { add('ReadingComboV2', { widgets: { many: ['r', 'p'], numbers: 3 } }) },
  seeds() { add('ReadingSeeds', { widgets: { seed: 123456789012345, other: 4, noise_seed: 6, choice: 'y' } }) },
  seeds_fixed() {
    const node = add('ReadingSeeds')
    for (const widget of node.widgets) if (widget.name === 'control_after_generate') widget.value = 'fixed'
  },
  converted_widget() {
    const source = add('ReadingSource')
    const node = add('ReadingWidgets', { widgets: { number: 1, text: 'kept' } })
    link(source, 0, node, 'number')
    link(source, 5, node, 'flag')
  },
  converted_seed() { link(add('ReadingSource'), 0, add('ReadingSeeds', { widgets: { seed: 9, other: 8 } }), 'seed') },
  converted_combo() { link(add('ReadingComboV2'), 0, add('ReadingWidgets'), 'choice') },
  force_input() {
    const source = add('ReadingSource')
    const node = add('ReadingForced', { widgets: { first: 2, text: 'u', last: true } })
    link(source, 1, node, 'forced')
    link(source, 2, node, 'forced_text')
  },
  force_input_unlinked() { add('ReadingForced') },
  primitive_number() {
    const a = add('ReadingWidgets')
    const b = add('ReadingForced')
    primitive(33, [[a, 'number'], [b, 'first']])
  },
  primitive_text() { primitive('from a primitive', [[add('ReadingWidgets'), 'text']]) },
  primitive_choice() { primitive('beta', [[add('ReadingWidgets'), 'choice']]) },
  primitive_seed() { primitive(777, [[add('ReadingSeeds'), 'seed']]) },
  primitive_muted() { primitive(44, [[add('ReadingWidgets'), 'number']]).mode = MUTED },
  primitive_bypassed() { primitive(45, [[add('ReadingWidgets'), 'number']]).mode = BYPASSED },
  primitive_alone() { add('PrimitiveNode'); add('ReadingWidgets') },
  reroute() {
    const source = add('ReadingSource')
    const a = add('Reroute')
    const b = add('Reroute')
    const one = add('ReadingSave')
    const two = add('ReadingOptional')
    link(source, 3, a, 0)
    link(a, 0, b, 0)
    link(b, 0, one, 'images')
    link(a, 0, two, 'image')
  },
  reroute_unfed() { link(add('Reroute'), 0, add('ReadingSave'), 'images') },
  reroute_muted() {
    const source = add('ReadingSource')
    const reroute = add('Reroute', { mode: MUTED })
    link(source, 3, reroute, 0)
    link(reroute, 0, add('ReadingSave'), 'images')
  },
  reroute_bypassed() {
    const source = add('ReadingSource')
    const reroute = add('Reroute', { mode: BYPASSED })
    link(source, 3, reroute, 0)
    link(reroute, 0, add('ReadingSave'), 'images')
  },
  reroute_from_muted() {
    const source = add('ReadingSource', { mode: MUTED })
    const reroute = add('Reroute')
    link(source, 3, reroute, 0)
    link(reroute, 0, add('ReadingSave'), 'images')
  },
  native_reroutes() {
    const made = link(add('ReadingSource'), 3, add('ReadingSave'), 'images')
    const reroute = app.graph.createReroute([100, 100], made)
    app.graph.createReroute([150, 120], made)
    const link2 = app.graph.nodes[0].connect(3, add('ReadingOptional'), 0, reroute.id)
    if (!link2) throw new Error('no link')
  },
  notes() {
    add('Note', { widgets: { text: 'remember' } })
    add('MarkdownNote', { widgets: { text: '# remember' } })
    chain('ReadingOptional', 0)
  },
  muted() { chain('ReadingOptional', MUTED) },
  muted_widget_source() { link(add('ReadingSource', { mode: MUTED }), 0, add('ReadingWidgets', { widgets: { number: 5 } }), 'number') },
  muted_output() { chain('ReadingOptional', 0).save.mode = MUTED },
  bypassed() { chain('ReadingOptional', BYPASSED) },
  bypassed_unfed() { chain('ReadingOptional', BYPASSED, { out: 4, into: 'mask' }) },
  bypassed_twice() {
    const { middle, save } = chain('ReadingOptional', BYPASSED)
    const second = add('ReadingOptional', { mode: BYPASSED })
    link(middle, 0, second, 'image')
    link(second, 0, save, 'images')
  },
  bypassed_second_output() {
    const { source, middle } = chain('ReadingOptional', BYPASSED)
    link(source, 4, middle, 'mask')
    link(middle, 1, add('ReadingMixed'), 'mask')
  },
  bypassed_without_match() {
    const { middle } = chain('ReadingMixed', BYPASSED)
    link(middle, 3, add('VAEDecode'), 'samples')
  },
  bypassed_mixed() {
    const source = add('ReadingSource')
    const middle = add('ReadingMixed', { mode: BYPASSED })
    const end = add('ReadingMixed')
    link(source, 3, middle, 'image')
    link(source, 4, middle, 'mask')
    link(source, 3, middle, 'either')
    link(middle, 0, end, 'image')
    link(middle, 1, end, 'mask')
    link(middle, 2, end, 'either')
    link(middle, 4, end, 'scale')
  },
  bypassed_any() {
    const source = add('ReadingSource')
    const middle = add('ReadingAny', { mode: BYPASSED })
    link(source, 3, middle, 'value')
    link(source, 4, middle, 'other')
    link(middle, 0, add('ReadingSave'), 'images')
    const any = add('ReadingAny')
    link(middle, 0, any, 'value')
    link(middle, 1, any, 'other')
  },
  bypassed_into_any() {
    const source = add('ReadingSource')
    const middle = add('ReadingOptional', { mode: BYPASSED })
    link(source, 3, middle, 'image')
    link(source, 4, middle, 'mask')
    link(middle, 1, add('ReadingAny'), 'value')
  },
  bypassed_widget() {
    const source = add('ReadingSource')
    const middle = add('ReadingWidgets', { mode: BYPASSED })
    link(source, 0, middle, 'number')
    link(middle, 0, add('ReadingForced'), 'first')
    link(middle, 1, add('ReadingForced'), 'forced_text')
  },
  bypassed_through_reroute() {
    const { middle, save } = chain('ReadingOptional', BYPASSED)
    const reroute = add('Reroute')
    link(middle, 0, reroute, 0)
    link(reroute, 0, save, 'images')
  },
  optional_inputs() {
    const source = add('ReadingSource')
    const node = add('ReadingOptional')
    link(source, 3, node, 'image')
    link(source, 3, node, 'image2')
    link(source, 2, node, 'note')
  },
  custom_type() { link(add('ReadingCustomType'), 0, add('ReadingCustomType', { widgets: { after: 9 } }), 'thing') },
  titles() { add('ReadingWidgets', { title: 'My own title' }); add('ReadingSource') },
  text_comments() {
    add('ReadingDynamic', { widgets: { text: 'a /* gone */ cat // gone too\nsits \\{here\\}', plain: 'a /* kept */ {x|y}' } })
  },
  text_of_one_choice() { add('ReadingDynamic', { widgets: { text: 'a {red} cat { on | on } {a {mat}}' } }) },
  text_replacement() {
    const node = add('ReadingWidgets', { widgets: { number: 12, text: 'in/side' }, title: 'Named node' })
    node.properties['Node name for S&R'] = 'W'
    const source = add('ReadingSource')
    const image = add('SaveImage', { widgets: { filename_prefix: '%W.number%_%Named node.real%_%W.text%_%Nobody.x%' } })
    link(source, 3, image, 'images')
  },
  text_primitive_into_dynamic() { primitive('a /* gone */ b', [[add('ReadingDynamic'), 'text']]) },
  upload_button() {
    const load = add('LoadImage')
    link(load, 0, add('SaveImage'), 'images')
    add('LoadImageMask', { widgets: { channel: 'red' } })
  },
  video_and_audio() { add('LoadVideo'); add('LoadAudio'); add('PreviewAudio') },
  browser_outputs() { add('SaveGLB'); add('Preview3D') },
  fan_out() {
    const source = add('ReadingSource')
    for (let i = 0; i < 6; i++) link(source, 3, add('ReadingSave', { widgets: { filename_prefix: `p${i}` } }), 'images')
  },
  floating_link() {
    const { middle } = chain('ReadingOptional', 0)
    const made = app.graph.getLink(middle.inputs[0].link)
    app.graph.createReroute([90, 90], made)
    app.graph.remove(app.graph.nodes[0])
  },

  subgraph() { simpleSubgraph() },
  async subgraph_muted() { await stop('Mute', simpleSubgraph().host) },
  async subgraph_bypassed() { await stop('Bypass', simpleSubgraph().host) },
  async subgraph_promoted_bypassed() { await stop('Bypass', promotedSubgraph().host) },
  subgraph_inner_muted() { inner(simpleSubgraph().host, 'ReadingOptional', 1).mode = MUTED },
  subgraph_inner_bypassed() { inner(simpleSubgraph().host, 'ReadingOptional', 0).mode = BYPASSED },
  subgraph_all_inside_bypassed() { for (const node of simpleSubgraph().host.subgraph.nodes) node.mode = BYPASSED },
  subgraph_unfed() { const { source } = simpleSubgraph(); app.graph.remove(source) },
  subgraph_source_muted() { simpleSubgraph().source.mode = MUTED },
  subgraph_twice() {
    const { host, source, save } = simpleSubgraph()
    const second = again(host)
    link(host, 0, second, 0)
    link(second, 0, save, 'images')
  },
  subgraph_promoted() { promotedSubgraph() },
  subgraph_promoted_twice() {
    const { host } = promotedSubgraph()
    const second = again(host)
    link(host, 0, second, 0)
    second.widgets[0].value = 0.875
    second.widgets[1].value = 'second'
    link(second, 0, add('ReadingSave'), 'images')
  },
  subgraph_promoted_linked() {
    const { source, host } = promotedSubgraph()
    link(source, 1, host, 'strength')
  },
  subgraph_promoted_from_muted() {
    const { host } = promotedSubgraph()
    link(add('ReadingSource', { mode: MUTED }), 1, host, 'strength')
  },
  subgraph_promoted_seed() {
    const seeds = add('ReadingSeeds', { widgets: { seed: 5 } })
    const other = add('ReadingWidgets')
    const host = fold(seeds, other)
    promote(host, inner(host, 'ReadingSeeds'), 'seed').value = 4321
    promote(host, inner(host, 'ReadingWidgets'), 'text').value = 'outside'
    promote(host, inner(host, 'ReadingWidgets'), 'choice').value = 'beta'
    promote(host, inner(host, 'ReadingWidgets'), 'flag').value = false
  },
  subgraph_promoted_before_socket() {
    const { source, host } = simpleSubgraph()
    promote(host, inner(host, 'ReadingOptional', 0), 'strength').value = 0.3
    const mask = inner(host, 'ReadingOptional', 0).inputs.find((slot) => slot.name === 'mask')
    host.subgraph.addInput('mask', 'MASK').connect(mask, inner(host, 'ReadingOptional', 0))
    link(source, 4, host, 'mask')
  },
  subgraph_one_input_two_widgets() {
    const a = add('ReadingWidgets')
    const b = add('ReadingForced')
    const host = fold(a, b)
    const slot = host.subgraph.addInput('number', 'INT')
    slot.connect(inner(host, 'ReadingWidgets').inputs.find((s) => s.name === 'number'), inner(host, 'ReadingWidgets'))
    slot.connect(inner(host, 'ReadingForced').inputs.find((s) => s.name === 'first'), inner(host, 'ReadingForced'))
    host.widgets[0].value = 66
  },
  subgraph_nested() {
    const { source, host, save } = promotedSubgraph()
    const after = add('ReadingOptional')
    link(host, 0, after, 'image')
    link(after, 0, save, 'images')
    fold(host, after)
  },
  subgraph_nested_three() {
    const { host, save } = simpleSubgraph()
    const second = fold(host)
    const after = add('ReadingOptional')
    link(second, 0, after, 'image')
    link(after, 0, save, 'images')
    fold(second, after)
  },
  subgraph_nested_promoted() {
    const { host } = promotedSubgraph()
    const outer = fold(host)
    const nested = outer.subgraph.nodes.find((node) => node.isSubgraphNode())
    promote(outer, nested, 'strength').value = 0.4375
  },
  async subgraph_nested_inner_host_bypassed() {
    const { host, save } = simpleSubgraph()
    const after = add('ReadingOptional')
    link(host, 0, after, 'image')
    link(after, 0, save, 'images')
    const outer = fold(host, after)
    const nested = outer.subgraph.nodes.find((node) => node.isSubgraphNode())
    for (const node of [nested, ...nested.subgraph.nodes]) node.mode = BYPASSED
  },
  async subgraph_nested_inner_host_muted() {
    const { host, save } = simpleSubgraph()
    const after = add('ReadingOptional')
    link(host, 0, after, 'image')
    link(after, 0, save, 'images')
    const outer = fold(host, after)
    const nested = outer.subgraph.nodes.find((node) => node.isSubgraphNode())
    for (const node of [nested, ...nested.subgraph.nodes]) node.mode = MUTED
  },
  subgraph_with_reroute() {
    const source = add('ReadingSource')
    const reroute = add('Reroute')
    const node = add('ReadingOptional')
    const save = add('ReadingSave')
    link(source, 3, reroute, 0)
    link(reroute, 0, node, 'image')
    link(node, 0, save, 'images')
    fold(reroute, node)
  },
  subgraph_with_output_inside() {
    const { source, middle, save } = chain('ReadingOptional', 0)
    fold(middle, save)
  },
  subgraph_many_outputs() {
    const source = add('ReadingSource')
    const host = fold(source)
    host.subgraph.addOutput('image', 'IMAGE').connect(host.subgraph.nodes[0].outputs[3], host.subgraph.nodes[0])
    host.subgraph.addOutput('number', 'INT').connect(host.subgraph.nodes[0].outputs[0], host.subgraph.nodes[0])
    link(host, 0, add('ReadingSave'), 'images')
    link(host, 1, add('ReadingWidgets'), 'number')
  },
  subgraph_unused_output() {
    const { host } = simpleSubgraph()
    host.subgraph.addOutput('nothing', 'MASK')
    link(host, 1, add('ReadingMixed'), 'mask')
  },
  subgraph_native_reroutes() {
    const { host } = simpleSubgraph()
    const made = host.subgraph.getLink(inner(host, 'ReadingOptional', 1).inputs[0].link)
    host.subgraph.createReroute([50, 50], made)
  },
  subgraph_renamed_input() {
    const { host } = promotedSubgraph()
    host.subgraph.renameInput(host.subgraph.inputs[1], 'a better name')
    host.widgets[0].value = 0.9
  },

  schema_1() {
    const { host } = promotedSubgraph()
    const widgets = add('ReadingWidgets')
    primitive(21, [[widgets, 'number']])
    const made = link(add('ReadingSource'), 3, add('ReadingSave'), 'images')
    app.graph.createReroute([100, 100], made)
    return kit.asSchema1()
  },
  schema_1_flat() {
    const { source } = chain('ReadingOptional', BYPASSED)
    link(source, 0, add('ReadingSeeds'), 'seed')
    return kit.asSchema1()
  },

  group_node() { return grouped() },
  group_node_old_separator() { return grouped({ separator: '/' }) },
  group_node_inner_muted() { return grouped({ inside: { mode: MUTED } }) },
  group_node_few_values() { return grouped({ values: [22] }) },
  group_node_hidden_input() {
    return grouped({ values: [23, 0.5, 'beta'], config: { 1: { input: { note: { visible: false } } } } })
  },
  group_node_renamed_input() {
    return grouped({ config: { 1: { input: { note: { name: 'remark' } } } } })
  },

  group_node_seeds() {
    return groupOf([
      { type: 'ReadingSeeds', widgets_values: [1, 'fixed', 2, 'increment', 3, 'x', 'fixed', '', 'in'] },
      { type: 'ReadingWidgets', widgets_values: [4, 0.5, 't', 'l', true, 'alpha'] },
    ], [], [101, 'randomize', 102, 'fixed', 103, 'z', 'fixed', '', 'outside', 104, 0.25, 'u', 'm', false, 'gamma'])
  },
  group_node_primitive() {
    return groupOf([
      { type: 'PrimitiveNode', title: 'Amount', outputs: [{ name: 'INT', type: 'INT', links: [], widget: { name: 'number' } }], widgets_values: [7, 'fixed'] },
      {
        type: 'ReadingWidgets', widgets_values: [4, 0.5, 't', 'l', true, 'alpha'],
        inputs: [{ name: 'number', type: 'INT', link: null, widget: { name: 'number' } }],
      },
    ], [[0, 0, 1, 0, 1, 'INT']], [88, 'fixed', 0.75, 'v', 'n', false, 'beta'])
  },
  group_node_linked_inside() {
    return groupOf([
      { ...sourceNode(-1, 0, []) },
      { type: 'ReadingWidgets', widgets_values: [4, 0.5, 't', 'l', true, 'alpha'],
        inputs: [{ name: 'number', type: 'INT', link: null, widget: { name: 'number' } }] },
    ], [[0, 0, 1, 0, 1, 'INT']], [61, 0.25, 'u', 'm', false, 'gamma'])
  },
  group_node_upload() {
    return groupOf([
      { type: 'LoadImage', widgets_values: ['example.png', 'image'], outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [] }] },
      { type: 'ReadingSave', inputs: [{ name: 'images', type: 'IMAGE', link: null }], widgets_values: ['x'] },
    ], [[0, 0, 1, 0, 1, 'IMAGE']], ['example.png', 'image', 'named'])
  },

  old_boolean_controls() {
    return file([
      { id: 1, type: 'KSampler', widgets_values: [5, true, 20, 8, 'sample_euler', 'normal', 1] },
      { id: 2, type: 'KSampler', widgets_values: [6, false, 21, 7, 'ddim', 'simple', 0.5] },
    ], [])
  },
  old_forced_values() {
    return file([{ id: 1, type: 'ReadingForced', widgets_values: [3, 1.0, 'text', '', true] }], [])
  },
  old_inputs_in_another_order() {
    return file([
      sourceNode(1, 3, [1]),
      {
        id: 2, type: 'ReadingOptional', widgets_values: [0.5, 'x', 'beta'],
        inputs: [{ name: 'image2', type: 'IMAGE', link: null }, { name: 'strength', type: 'FLOAT', link: null, widget: { name: 'strength' } },
          { name: 'image', type: 'IMAGE', link: 1 }],
        outputs: [{ name: 'IMAGE', type: 'IMAGE', links: null }, { name: 'MASK', type: 'MASK', links: null }],
      },
    ], [[1, 1, 3, 2, 2, 'IMAGE']])
  },
  few_values() { return file([{ id: 1, type: 'ReadingWidgets', widgets_values: [3] }], []) },
  no_values() { return file([{ id: 1, type: 'ReadingWidgets' }, { id: 2, type: 'ReadingSeeds', widgets_values: null }], []) },
  many_values() { return file([{ id: 1, type: 'ReadingWidgets', widgets_values: [3, 0.1, 't', 'l', true, 'beta', 'extra', 9] }], []) },
  null_values() { return file([{ id: 1, type: 'ReadingWidgets', widgets_values: [null, null, null, null, null, null] }], []) },
  odd_values() {
    return file([{ id: 1, type: 'ReadingWidgets', widgets_values: ['12', 7.25, 5, true, 'yes', 'no such choice'] },
      { id: 2, type: 'ReadingWidgets', widgets_values: [1000, -3, '', '', 0, 'alpha'] }], [])
  },
  extra_inputs() {
    return file([
      sourceNode(1, 3, [1, 2]),
      {
        id: 2, type: 'ReadingAny', inputs: [{ name: 'value', type: '*', link: 1 }, { name: 'value_2', type: 'IMAGE', link: 2 }],
        outputs: [{ name: '*', type: '*', links: null }, { name: 'IMAGE', type: 'IMAGE', links: null }],
      },
    ], [[1, 1, 3, 2, 0, 'IMAGE'], [2, 1, 3, 2, 1, 'IMAGE']])
  },
  link_slots_out_of_date() {
    return file([sourceNode(1, 3, [1]), save(2, 1)], [[1, 1, 3, 2, 5, 'IMAGE']])
  },
  text_ids() {
    return file([{ ...sourceNode('a', 3, [1]) }, save('b:c', 1)], [[1, 'a', 3, 'b:c', 0, 'IMAGE']])
  },
  modes_on_event_and_trigger() {
    return file([{ ...sourceNode(1, 3, [1]), mode: 1 }, { ...save(2, 1), mode: 3 }], [[1, 1, 3, 2, 0, 'IMAGE']])
  },
  primitive_given_values() {
    return file([
      { id: 1, type: 'PrimitiveNode', outputs: [{ name: 'INT', type: 'INT', links: [1], widget: { name: 'number' } }], widgets_values: [64, 'fixed'] },
      { id: 2, type: 'ReadingWidgets', inputs: [{ name: 'number', type: 'INT', link: 1, widget: { name: 'number' } }], widgets_values: [1, 0.5, 't', 'l', true, 'alpha'] },
    ], [[1, 1, 0, 2, 0, 'INT']])
  },
  primitive_without_value() {
    return file([
      { id: 1, type: 'PrimitiveNode', outputs: [{ name: 'INT', type: 'INT', links: [1], widget: { name: 'number' } }] },
      { id: 2, type: 'ReadingWidgets', inputs: [{ name: 'number', type: 'INT', link: 1, widget: { name: 'number' } }], widgets_values: [19, 0.5, 't', 'l', true, 'alpha'] },
    ], [[1, 1, 0, 2, 0, 'INT']])
  },

  ...Object.fromEntries(Object.keys(LiteGraph.registered_node_types).filter((type) => type.startsWith('ReadingType_')).map(
    (type) => [type.replace('ReadingType_', 'type_'), () => { add(type) }],
  )),
  type_compare() { add('ReadingCompare', { widgets: { before: 5 } }) },
  type_COLOR_set() { add('ReadingType_COLOR', { widgets: { thing: '#abcdef', given: '' } }) },
  type_CURVE_set() { add('ReadingType_CURVE', { widgets: { thing: { points: [[0, 1], [1, 0]], interpolation: 'linear' } } }) },
  union() { add('ReadingUnion', { widgets: { either: 2, painted: 'painter/a.png [input]' } }) },
  recordings() { add('ReadingRecordings', { widgets: { tail: 4 } }) },
  dynamic_none() { add('ReadingDynamicCombo', { widgets: { after: 4 } }) },
  dynamic_size() { add('ReadingDynamicCombo', { widgets: { mode: 'size', 'mode.width': 77, after: 5 } }) },
  dynamic_text() { add('ReadingDynamicCombo', { widgets: { mode: 'text', 'mode.text': 'a\n{b|c}', 'mode.seed': 12 } }) },
  dynamic_deep() {
    for (const kind of ['a', 'b', 'c']) add('ReadingDynamicCombo', { widgets: { mode: 'deep', 'mode.kind': kind, 'mode.flag': false, after: 6 } })
  },
  dynamic_deep_values() {
    add('ReadingDynamicCombo', { widgets: { mode: 'deep', 'mode.kind': 'b', 'mode.kind.height': 3, 'mode.flag': false } })
  },
  dynamic_changed() {
    const node = add('ReadingDynamicCombo', { widgets: { mode: 'size', 'mode.width': 77 } })
    node.widgets.find((one) => one.name === 'mode').value = 'deep'
    node.widgets.find((one) => one.name === 'mode.flag').value = false
    node.widgets.find((one) => one.name === 'mode').value = 'text'
  },
  dynamic_sockets() {
    const source = add('ReadingSource')
    for (const mode of ['one', 'two', 'many']) {
      const node = add('ReadingDynamicSockets', { widgets: { mode } })
      link(source, 3, node, 'image')
      link(source, 3, node, mode === 'many' ? 'mode.images.image0' : 'mode.image')
      if (mode === 'two') link(source, 4, node, 'mode.mask')
      else link(source, 1, node, mode === 'one' ? 'mode.scale' : 'second.scale')
    }
  },
  dynamic_sockets_bypassed() {
    const source = add('ReadingSource')
    for (const mode of ['one', 'two', 'many']) {
      const node = add('ReadingDynamicSockets', { widgets: { mode }, mode: BYPASSED })
      link(source, 3, node, mode === 'many' ? 'mode.images.image0' : 'mode.image')
      link(source, 4, node, mode === 'two' ? 'mode.mask' : 'mask')
      const end = add('ReadingMixed')
      link(node, 0, end, 'image')
      link(node, 1, end, 'mask')
    }
  },
  dynamic_part_linked() {
    const source = add('ReadingSource')
    const node = add('ReadingDynamicCombo', { widgets: { mode: 'size', 'mode.height': 9 } })
    link(source, 0, node, 'mode.width')
  },
  dynamic_linked() {
    const source = add('ReadingComboV2')
    const node = add('ReadingDynamicCombo', { widgets: { mode: 'size', 'mode.height': 9 } })
    const made = source.connect(0, node, node.inputs.findIndex((input) => input.name === 'mode'))
    if (!made) node.widgets[0].value = 1
  },
  dynamic_muted() { add('ReadingDynamicCombo', { widgets: { mode: 'size' }, mode: MUTED }) },
  dynamic_in_subgraph() {
    const host = fold(add('ReadingDynamicCombo', { widgets: { mode: 'size', 'mode.width': 8 } }))
    promote(host, inner(host, 'ReadingDynamicCombo'), 'mode.width').value = 41
    promote(host, inner(host, 'ReadingDynamicCombo'), 'after').value = 42
  },
  dynamic_promoted() {
    const host = fold(add('ReadingDynamicCombo', { widgets: { mode: 'size', 'mode.width': 8 } }))
    promote(host, inner(host, 'ReadingDynamicCombo'), 'mode')
    promote(host, inner(host, 'ReadingDynamicCombo'), 'after').value = 42
  },
  dynamic_promoted_and_changed() {
    const host = fold(add('ReadingDynamicCombo', { widgets: { mode: 'size', 'mode.width': 8 } }))
    promote(host, inner(host, 'ReadingDynamicCombo'), 'mode').value = 'deep'
  },
  dynamic_odd_choice() {
    return file([{ id: 1, type: 'ReadingDynamicCombo', widgets_values: [1, 'nowhere', 2] }, { id: 2, type: 'ReadingDynamicCombo', widgets_values: [1] },
      { id: 3, type: 'ReadingDynamicCombo', widgets_values: [1, 'size'] }, { id: 4, type: 'ReadingDynamicCombo', widgets_values: [1, null, 2] },
      { id: 5, type: 'ReadingDynamicCombo', widgets_values: [1, 'size', 2, 3, 4, 5, 6] }], [])
  },
  async autogrow() {
    const source = add('ReadingSource')
    const node = add('ReadingAutogrow', { widgets: { tail: 8 } })
    const shows = (i) => node.inputs.some((one) => one.name === `images.image${i}`)
    for (const i of [0, 2, 3]) {
      // Older editors show the next input only once the one before it is linked, and a little later.
      for (let j = 0; j < i && !shows(i); j++) {
        if (shows(j)) link(source, 3, node, `images.image${j}`)
        await new Promise((done) => setTimeout(done, 50))
      }
      if (shows(i)) link(source, 3, node, `images.image${i}`)
    }
    link(source, 1, node, 'named.a')
    if (node.inputs.some((one) => one.name === 'forced.f0')) link(source, 1, node, 'forced.f0')
    link(node, 0, add('ReadingSave'), 'images')
  },
  autogrow_bypassed() {
    const source = add('ReadingSource')
    const node = add('ReadingAutogrow', { mode: BYPASSED })
    link(source, 3, node, 'images.image1')
    link(node, 0, add('ReadingSave'), 'images')
  },
  autogrow_rows() { add('ReadingRows', { widgets: { before: 5, 'numbers.n0': 11, 'mode.width': 12, tail: 13 } }) },
  async autogrow_rows_linked() {
    const source = add('ReadingSource')
    const node = add('ReadingRows', { widgets: { before: 5, tail: 13 } })
    for (const i of [0, 1]) {
      const name = `numbers.n${i}`
      if (node.inputs.some((one) => one.name === name)) link(source, 0, node, name)
      await new Promise((done) => setTimeout(done, 50))
    }
    const next = node.widgets.find((one) => one.name === 'numbers.n2')
    if (next) next.value = 9
  },
  autogrow_rows_bypassed() {
    const sources = [0, 1, 2].map(() => add('ReadingSource'))
    const node = add('ReadingRows', { mode: BYPASSED })
    link(sources[0], 3, node, 'images.image0')
    if (node.inputs.some((one) => one.name === 'images.image1')) link(sources[1], 3, node, 'images.image1')
    link(sources[2], 3, node, 'late')
    for (const i of [1, 2, 3, 4]) link(node, i, add('ReadingSave'), 'images')
    link(node, 0, add('ReadingWidgets'), 'number')
  },
  autogrow_values() { return file([{ id: 1, type: 'ReadingAutogrow', widgets_values: [11, 12, 13] }, { id: 2, type: 'ReadingAutogrow', widgets_values: [14] }], []) },

  subgraph_text_on_host() {
    const text = add('ReadingDynamic', { widgets: { text: 'plain' } })
    const save = add('SaveImage')
    link(add('ReadingSource'), 3, save, 'images')
    const host = fold(text, save)
    promote(host, inner(host, 'ReadingDynamic'), 'text').value = '{"a": "b"} // c'
    promote(host, inner(host, 'ReadingDynamic'), 'plain').value = '{"c"}'
    promote(host, inner(host, 'SaveImage'), 'filename_prefix').value = '%date:yyyy%_%Nobody.x%'
  },
  subgraph_text_inside() {
    const host = fold(add('ReadingDynamic', { widgets: { text: '{"a"} // c' } }))
    promote(host, inner(host, 'ReadingDynamic'), 'plain').value = 'x'
  },
  subgraph_text_untouched_on_host() {
    const host = fold(add('ReadingDynamic', { widgets: { text: '{"a"} // c' } }))
    promote(host, inner(host, 'ReadingDynamic'), 'text')
  },
  subgraph_value_to_socket() {
    const a = add('ReadingForced', { widgets: { first: 5 } })
    const host = fold(a)
    const slot = host.subgraph.addInput('number', 'INT')
    const node = inner(host, 'ReadingForced')
    slot.connect(node.inputs.find((one) => one.name === 'first'), node)
    slot.connect(node.inputs.find((one) => one.name === 'forced'), node)
  },
  subgraph_null_on_host() {
    return file([{ id: 5, type: 'sub', inputs: [{ name: 'number', type: 'INT', link: null, widget: { name: 'number' } }, { name: 'text', type: 'STRING', link: null, widget: { name: 'text' } }], widgets_values: [null, 'outside'] }], [], {
      definitions: { subgraphs: [{
        id: 'sub', version: 1, revision: 0, name: 'sub', state: { lastNodeId: 50, lastLinkId: 50, lastGroupId: 0, lastRerouteId: 0 }, config: {},
        inputNode: { id: -10, bounding: [0, 0, 100, 100] }, outputNode: { id: -20, bounding: [500, 0, 100, 100] }, groups: [], widgets: [], outputs: [],
        inputs: [{ id: 'a', name: 'number', type: 'INT', linkIds: [7] }, { id: 'b', name: 'text', type: 'STRING', linkIds: [8] }],
        nodes: [{ id: 2, type: 'ReadingWidgets', pos: [0, 0], size: [100, 100], flags: {}, order: 0, mode: 0, properties: {}, outputs: [], widgets_values: [31, 0.5, 'inside', 'l', true, 'alpha'],
          inputs: [{ name: 'number', type: 'INT', link: 7, widget: { name: 'number' } }, { name: 'text', type: 'STRING', link: 8, widget: { name: 'text' } }] }],
        links: [{ id: 7, origin_id: -10, origin_slot: 0, target_id: 2, target_slot: 0, type: 'INT' }, { id: 8, origin_id: -10, origin_slot: 1, target_id: 2, target_slot: 1, type: 'STRING' }],
      }] },
    })
  },
  subgraph_nested_host_bypassed() {
    const { host, save } = simpleSubgraph()
    const after = add('ReadingOptional')
    link(host, 0, after, 'image')
    link(after, 0, save, 'images')
    const outer = fold(host, after)
    outer.subgraph.nodes.find((node) => node.isSubgraphNode()).mode = BYPASSED
  },
  subgraph_nested_host_muted() {
    const { host, save } = simpleSubgraph()
    const after = add('ReadingOptional')
    link(host, 0, after, 'image')
    link(after, 0, save, 'images')
    const outer = fold(host, after)
    outer.subgraph.nodes.find((node) => node.isSubgraphNode()).mode = MUTED
  },
  subgraph_host_bypassed() { simpleSubgraph().host.mode = BYPASSED },
  subgraph_host_muted() { simpleSubgraph().host.mode = MUTED },
  primitive_through_reroute() {
    return file([
      { id: 1, type: 'PrimitiveNode', outputs: [{ name: 'INT', type: 'INT', links: [1], widget: { name: 'number' } }], widgets_values: [64, 'fixed'] },
      { id: 3, type: 'Reroute', inputs: [{ name: '', type: '*', link: 1, widget: { name: 'value' } }], outputs: [{ name: '', type: 'INT', links: [2] }] },
      { id: 2, type: 'ReadingWidgets', inputs: [{ name: 'number', type: 'INT', link: 2, widget: { name: 'number' } }], widgets_values: [1, 0.5, 't', 'l', true, 'alpha'] },
    ], [[1, 1, 0, 3, 0, 'INT'], [2, 3, 0, 2, 0, 'INT']])
  },
  reroute_muted_old_file() {
    return file([sourceNode(1, 3, [1]), { id: 3, type: 'Reroute', mode: MUTED, inputs: [{ name: '', type: '*', link: 1 }], outputs: [{ name: '', type: 'IMAGE', links: [2] }] }, save(2, 2)],
      [[1, 1, 3, 3, 0, 'IMAGE'], [2, 3, 0, 2, 0, 'IMAGE']])
  },
  links_doubled() {
    return file([sourceNode(1, 3, [1]), save(2, 1), { ...sourceNode(3, 3, [1]) }, save(4, 1)], [[1, 1, 3, 2, 0, 'IMAGE'], [1, 3, 3, 4, 0, 'IMAGE']])
  },
  links_doubled_alike() { return file([sourceNode(1, 3, [1]), save(2, 1)], [[1, 1, 3, 2, 0, 'IMAGE'], [1, 1, 3, 2, 0, 'IMAGE']]) },
  renamed_types() {
    return file([{ id: 1, type: 'T2IAdapterLoader', widgets_values: ['t2i.safetensors'] }, { id: 2, type: 'ConditioningAverage ', widgets_values: [0.25] },
      { id: 3, type: 'SDV_img2vid_Conditioning', widgets_values: [1024, 576, 14, 127, 6, 0] }], [])
  },
  long_type() {
    return file([
      { id: 1, type: 'PrimitiveNode', outputs: [{ name: 'COMBO', type: 'a,'.repeat(1500), links: [1], widget: { name: 'choice' } }], widgets_values: ['beta', 'fixed'] },
      { id: 2, type: 'ReadingWidgets', inputs: [{ name: 'choice', type: 'a,'.repeat(1500), link: 1, widget: { name: 'choice' } }], widgets_values: [1, 0.5, 't', 'l', true, 'alpha'] },
    ], [[1, 1, 0, 2, 0, 'a,'.repeat(1500)]])
  },
  group_node_external_node() {
    const built = grouped()
    const group = built.extra.groupNodes.pair
    group.external = [[group.nodes[1], 0, 'IMAGE']]
    return built
  },
  custom_combo() {
    if (!LiteGraph.registered_node_types.CustomCombo) return add('ReadingSource') && undefined
    const node = add('CustomCombo')
    node.widgets.find((one) => one.name === 'option1').value = '16:9'
    node.widgets.find((one) => one.name === 'option2').value = '9:16'
    node.widgets[0].value = '9:16'
  },
}

// What needs a class or widget types that this ComfyUI doesn't have is left out.
if (LiteGraph.registered_node_types.ResizeImageMaskNode) {
  WORKFLOWS.match_bypassed = () => {
    for (const [slot, kind, name] of [[3, 'ReadingSave', 'images'], [4, 'ReadingMixed', 'mask']]) {
      const node = add('ResizeImageMaskNode', { mode: BYPASSED })
      link(add('ReadingSource'), slot, node, 'input')
      link(node, 0, add(kind), name)
    }
  }
}
for (const [type, names] of Object.entries({ COMFY_DYNAMICCOMBO_V3: /^(dynamic|autogrow)/, COLORS: /^(type|union|recordings|custom_combo)/ })) {
  if (type in app.widgets) continue
  for (const name of Object.keys(WORKFLOWS).filter((one) => names.test(one))) delete WORKFLOWS[name]
}
