import { describe, expect, it } from 'vitest'
import { SubscriptionPins } from '../../src/node/subscription-pins.ts'
import { View } from '../../src/routing/view.ts'
import type { Member, Replica, SessionRecord } from '../../src/state/command.ts'
import type { StateReader } from '../../src/state/reader.ts'
import type { NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'

const [n1, n2, n3] = ['n1', 'n2', 'n3'] as [NodeId, NodeId, NodeId]
const files = 'files' as ServerName

/** A leader that sees three nodes with the server, and a session with a subscription that the first keeps. */
function leader(options: { isLeader?: boolean; subscriptions?: string[] } = {}) {
  const replicas = [n1, n2, n3].map((node) => ({ node, generation: 1, server: files, status: 'ready' }) as Replica)
  const members = replicas.map(({ node, generation }) => ({ node, generation }) as Member)
  const subscriptions = (options.subscriptions ?? ['a:']).map((uri) => ({ server: files, uri }))
  const session = { id: 's' as SessionId, subscriptions } as unknown as SessionRecord
  const unreachable = new Set<NodeId>()
  const pins: NodeId[] = [n1]
  let look: () => void = () => undefined
  const state: Partial<StateReader> = {
    clientSessions: () => [session],
    catalogVersion: 1,
    replicas: () => replicas,
    members: () => members,
  }
  const driver = new SubscriptionPins({
    state: state as StateReader,
    view: new View({
      self: 'n4' as NodeId,
      state: state as StateReader,
      reachable: (node) => !unreachable.has(node),
      draining: () => false,
    }),
    sessions: { pinOf: () => pins.at(-1), pin: (_session, _server, node) => void pins.push(node) },
    isLeader: () => options.isLeader ?? true,
    clock: {
      after(_ms, fire) {
        look = fire
        return { cancel: () => undefined }
      },
    },
  })
  driver.start()
  return { pins, unreachable, look: () => look() }
}

describe('subscriptions that a node keeps', () => {
  it('stay where they are as long as that node can take calls', () => {
    const { pins, look } = leader()
    for (let times = 0; times < 3; times += 1) look()
    expect(pins).toEqual([n1])
  })

  it('are pinned to another node when theirs can take no call, look after look, and then once', () => {
    const { pins, unreachable, look } = leader()
    unreachable.add(n1)
    look()
    expect(pins).toEqual([n1])
    for (let times = 0; times < 3; times += 1) look()
    expect(pins).toHaveLength(2)
    expect([n2, n3]).toContain(pins[1])
  })

  it('stay when their node can take calls again by the next look', () => {
    const { pins, unreachable, look } = leader()
    for (const isAway of [true, false, true, false]) {
      if (isAway) unreachable.add(n1)
      else unreachable.delete(n1)
      look()
    }
    expect(pins).toEqual([n1])
  })

  it('stay when no node can take them', () => {
    const { pins, unreachable, look } = leader()
    for (const node of [n1, n2, n3]) unreachable.add(node)
    for (let times = 0; times < 3; times += 1) look()
    expect(pins).toEqual([n1])
  })

  it.each([
    ['a node that does not lead', { isLeader: false }],
    ['a session without subscriptions', { subscriptions: [] }],
  ])('are not seen to by, or for, %s', (_what, options) => {
    const { pins, unreachable, look } = leader(options)
    unreachable.add(n1)
    for (let times = 0; times < 3; times += 1) look()
    expect(pins).toEqual([n1])
  })
})
