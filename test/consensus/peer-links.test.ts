import { expect, it } from 'vitest'
import { PeerLinks } from '../../src/consensus/peer-links.ts'
import { newCounters } from '../../src/consensus/status-report.ts'
import { MemoryNetwork } from '../../src/transport/memory-transport.ts'
import { raftLanes } from '../../src/wire/limits.ts'
import { helloOf } from '../transport/rig.ts'
import { ManualClock } from './manual-clock.ts'

const lanes = Object.keys(raftLanes)
const peer = helloOf('b')

it('a peer is reached by any of its lanes, so that one that is missing for a moment tells of no death', () => {
  const links = openLinks()
  const seen = (): unknown[] => [links.reached(), links.connected()]
  expect(seen()).toEqual([[], []])
  for (const lane of lanes) {
    links.opened(peer, lane, 1)
    expect(links.reached()).toEqual([peer.node])
  }
  expect(seen()).toEqual([[peer.node], [peer.node]])
  for (const lane of lanes) {
    links.closed(peer.node, lane)
    expect(seen()).toEqual([[peer.node], []])
    links.opened(peer, lane, 1)
  }
  for (const lane of lanes) links.closed(peer.node, lane)
  expect(seen()).toEqual([[], []])
})

function openLinks(): PeerLinks {
  const clock = new ManualClock()
  const hello = helloOf('a')
  const transport = new MemoryNetwork(clock).transport({
    address: '127.0.0.1:1',
    lanes,
    hello: () => hello,
    admit: () => null,
  })
  const nothing = (): void => undefined
  return new PeerLinks(transport, {
    self: hello.node,
    clock,
    counters: newCounters(),
    log: nothing,
    opened: nothing,
    closed: nothing,
    message: nothing,
    formingMessage: nothing,
    snapshotMessage: nothing,
    gone: nothing,
    denied: nothing,
    fatal: nothing,
  })
}
