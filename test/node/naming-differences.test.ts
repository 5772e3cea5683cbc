import { expect, it } from 'vitest'
import type { KeyChange, MemberView } from '../../src/gossip/effects.ts'
import { NamingDifferences } from '../../src/node/naming-differences.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import type { Naming } from '../../src/vocabulary/naming.ts'
import { recordedLog } from '../upstream/upstreams-under-test.ts'

function start(ours: Naming) {
  const said = new Map<string, Map<string, string>>()
  const statuses = new Map<string, MemberView['status']>()
  const log = recordedLog()
  let tell: (change: KeyChange) => void = () => undefined
  const own = new Map<string, string>()
  const differences = new NamingDifferences({
    ours,
    gossip: {
      setState: (key, value) => void own.set(key, value),
      onChange: (listener) => (tell = listener),
      members: () => [...statuses].map(([node, status]) => ({ node: node as NodeId, status })),
      said: (node) => ({ state: said.get(node) ?? new Map<string, string>() }),
    },
    log,
  })
  const says = (
    node: string,
    naming: string | null,
    key = 'mcp.naming',
    status: MemberView['status'] = 'alive',
  ): void => {
    statuses.set(node, status)
    said.set(node, new Map(naming === null ? [] : [[key, naming]]))
    tell({ owner: node as NodeId, generation: 1, class: 'state', key, value: naming })
  }
  return { differences, own, log, says }
}

it('a node says its own, and has nothing to say of others that have the same or say nothing', () => {
  const { differences, own, log, says } = start('never')
  says('n2', 'never')
  says('n3', null)
  differences.start()
  expect([...own]).toEqual([['mcp.naming', 'never']])
  says('n4', 'never')
  expect(differences.warnings()).toEqual([])
  expect(log.lines).toEqual([])
})

it('who differs is told to operators as long as it is so, and logged once', () => {
  const { differences, log, says } = start('always')
  says('n3', 'never')
  differences.start()
  says('n2', 'conditional')
  says('n2', 'x', 'role')
  says('n2', 'conditional')
  expect(differences.warnings()).toEqual([
    'mcp.naming is always on this node, but conditional on node n2, never on node n3; set the same on every node, or clients see other names of tools and prompts there',
  ])
  expect(log.lines.map(({ event, fields }) => [event, fields['nodes']])).toEqual([
    ['mcp-naming-differs', [{ node: 'n3', naming: 'never' }]],
    [
      'mcp-naming-differs',
      [
        { node: 'n2', naming: 'conditional' },
        { node: 'n3', naming: 'never' },
      ],
    ],
  ])
  says('n2', 'always')
  says('n3', 'never', 'mcp.naming', 'dead')
  expect(differences.warnings()).toEqual([])
})
