import { describe, expect, it } from 'vitest'
import { RoundRobin } from '../../src/routing/choose.ts'
import { View } from '../../src/routing/view.ts'
import type { Member, Replica } from '../../src/state/command.ts'
import type { NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { member, replica } from './replicas.ts'

const server = 'files' as ServerName
const everyone = [member('n1'), member('n2'), member('n3')]
const three = ['n1', 'n2', 'n3'].map((node) => replica({ server: 'files', node }))

function viewFromN1(
  replicas: readonly Replica[],
  reachable: readonly string[] = ['n2', 'n3'],
  members = everyone,
  draining: readonly string[] = [],
): View {
  return new View({
    self: 'n1' as NodeId,
    state: { catalogVersion: 1, members: () => members, replicas: () => replicas },
    reachable: (node) => reachable.includes(node),
    draining: (node) => draining.includes(node),
  })
}

function nodes(view: View, roundRobin = new RoundRobin()): readonly string[] | string {
  const route = roundRobin.chooseReplicas(view, server, null)
  return route.kind === 'nodes' ? route.nodes : route.error.message
}

describe('the choice of a replica', () => {
  it('takes turns, and names the others as the next to try', () => {
    const roundRobin = new RoundRobin()
    const view = viewFromN1(three)
    expect(Array.from({ length: 4 }, () => nodes(view, roundRobin))).toEqual([
      ['n1', 'n2', 'n3'],
      ['n2', 'n3', 'n1'],
      ['n3', 'n1', 'n2'],
      ['n1', 'n2', 'n3'],
    ])
  })

  it('takes turns for each server of its own', () => {
    const roundRobin = new RoundRobin()
    const view = viewFromN1([...three, ...['n1', 'n2'].map((node) => replica({ server: 'sql', node }))])
    nodes(view, roundRobin)
    expect(roundRobin.chooseReplicas(view, 'sql' as ServerName, null)).toEqual({ kind: 'nodes', nodes: ['n1', 'n2'] })
  })

  it.each<[string, readonly string[], readonly string[][]]>([
    [
      'one drains',
      ['n2'],
      [
        ['n1', 'n3', 'n2'],
        ['n3', 'n1', 'n2'],
      ],
    ],
    [
      'this one drains',
      ['n1'],
      [
        ['n2', 'n3', 'n1'],
        ['n3', 'n2', 'n1'],
      ],
    ],
    [
      'all but one drain',
      ['n1', 'n3'],
      [
        ['n2', 'n1', 'n3'],
        ['n2', 'n3', 'n1'],
      ],
    ],
    [
      'all drain',
      ['n1', 'n2', 'n3'],
      [
        ['n1', 'n2', 'n3'],
        ['n2', 'n3', 'n1'],
        ['n3', 'n1', 'n2'],
      ],
    ],
    [
      'one drains that is out of reach or has it not',
      ['n9'],
      [
        ['n1', 'n2', 'n3'],
        ['n2', 'n3', 'n1'],
      ],
    ],
  ])('takes turns, with those that drain behind all others, when %s', (_, draining, turns) => {
    const roundRobin = new RoundRobin()
    const view = viewFromN1(three, ['n2', 'n3'], everyone, draining)
    expect(turns.map(() => nodes(view, roundRobin))).toEqual(turns)
  })

  it('takes one that drains where there is no other', () => {
    const only = three.filter((each) => each.node === 'n2')
    expect(nodes(viewFromN1(only, ['n2', 'n3'], everyone, ['n2']))).toEqual(['n2'])
    expect(nodes(viewFromN1(three.slice(1), ['n2'], everyone, ['n2']))).toEqual(['n2'])
  })

  it.each<[string, readonly Replica[], readonly string[], readonly Member[]]>([
    ['a node that can not be reached', three, ['n3'], everyone],
    [
      'a replica that is not ready',
      [...three.filter((each) => each.node !== 'n2'), replica({ server: 'files', node: 'n2', status: 'starting' })],
      ['n2', 'n3'],
      everyone,
    ],
    ['a replica of an older generation', three, ['n2', 'n3'], [member('n1'), member('n2', 2), member('n3')]],
    ['a node that is not in the directory', three, ['n2', 'n3'], [member('n1'), member('n3')]],
  ])('leaves out %s', (_, replicas, reachable, members) => {
    expect(nodes(viewFromN1(replicas, reachable, [...members]))).toEqual(['n1', 'n3'])
  })

  it.each<[string, readonly Replica[], string]>([
    ['nobody has it', [], 'server files is unknown or no running node offers it'],
    [
      'its nodes are out of reach',
      [replica({ server: 'files', node: 'n2' }), replica({ server: 'files', node: 'n3' })],
      'server files has no replica for the call: nodes n2, n3 can not be reached from node n1',
    ],
    [
      'it has failed',
      [replica({ server: 'files', node: 'n1', status: 'failed', reason: 'exit code 3' })],
      'server files has no replica for the call: on node n1 it has failed (exit code 3)',
    ],
    [
      'one is starting and one is out of reach',
      [replica({ server: 'files', node: 'n1', status: 'starting' }), replica({ server: 'files', node: 'n2' })],
      'server files has no replica for the call: node n2 can not be reached from node n1; on node n1 it is starting',
    ],
  ])('says why when %s', (_, replicas, sentence) => {
    expect(nodes(viewFromN1(replicas, []))).toBe(sentence)
  })

  it('follows the state by its catalog version', () => {
    const state = { catalogVersion: 1, members: () => everyone, replicas: (): readonly Replica[] => [] }
    const view = new View({ self: 'n1' as NodeId, state, reachable: () => true, draining: () => false })
    expect(view.replicasOf(server)).toEqual([])
    state.replicas = () => three
    expect(view.replicasOf(server)).toEqual([])
    state.catalogVersion = 2
    expect(view.replicasOf(server)).toEqual(three)
  })
})

describe('the choice of a replica for a session', () => {
  const chosen = (view: View, session: string, pin?: string): readonly string[] => {
    const route = new RoundRobin().chooseReplicas(view, server, {
      session: session as SessionId,
      pin: pin as NodeId | undefined,
    })
    return route.kind === 'nodes' ? route.nodes : []
  }
  const sessions = Array.from({ length: 300 }, (_, at) => `session-${at}`)

  it('is always the same, on every node', () => {
    const fromN3 = new View({
      self: 'n3' as NodeId,
      state: { catalogVersion: 1, members: () => everyone, replicas: () => three.toReversed() },
      reachable: () => true,
      draining: () => false,
    })
    for (const session of sessions) expect(chosen(viewFromN1(three), session)).toEqual(chosen(fromN3, session))
  })

  it('spreads sessions over the nodes, and moves only those of a node that goes', () => {
    const before = sessions.map((session) => chosen(viewFromN1(three), session)[0])
    const after = sessions.map((session) => chosen(viewFromN1(three, ['n3']), session)[0])
    for (const node of ['n1', 'n2', 'n3']) expect(before.filter((each) => each === node).length).toBeGreaterThan(70)
    for (const [at, node] of before.entries()) expect(after[at]).toBe(node === 'n2' ? after[at] : node)
    expect(after).not.toContain('n2')
  })

  it('is the pin, and another only when it can not take the call, or drains and another does not', () => {
    for (const session of sessions.slice(0, 20)) {
      expect(chosen(viewFromN1(three), session, 'n2')[0]).toBe('n2')
      expect(chosen(viewFromN1(three, ['n2', 'n3'], everyone, ['n2']), session, 'n2').at(-1)).toBe('n2')
      expect(chosen(viewFromN1(three, ['n2', 'n3'], everyone, ['n1', 'n2', 'n3']), session, 'n2')[0]).toBe('n2')
      expect(chosen(viewFromN1(three, ['n3']), session, 'n2')).not.toContain('n2')
      expect(chosen(viewFromN1(three.slice(0, 1)), session, 'n2')).toEqual(['n1'])
    }
  })

  it('passes over nodes that drain for a session without a pin', () => {
    for (const session of sessions.slice(0, 50)) {
      const nodesInOrder = chosen(viewFromN1(three, ['n2', 'n3'], everyone, ['n1', 'n2']), session)
      expect(nodesInOrder[0]).toBe('n3')
      expect(nodesInOrder).toHaveLength(3)
    }
  })
})
