import { describe, expect, it } from 'vitest'
import { realClock } from '../../src/std/clock.ts'
import { Random } from '../../src/std/random.ts'
import { silentLog } from '../../src/log/log.ts'
import { MemoryNetwork } from '../../src/transport/memory-transport.ts'
import { WebSocketTransport } from '../../src/transport/websocket-transport.ts'
import { parseAddress } from '../../src/vocabulary/addresses.ts'
import { describeTransport } from '../conformance/transport.ts'
import { waitFor } from '../wait.ts'
import { helloOf, Recorder, testLanes, testSecret } from './rig.ts'

describeTransport('WebSocket', () => ({
  make: ({ hello, admit, address }) =>
    new WebSocketTransport({
      listen: parseAddress(address ?? '127.0.0.1:0') ?? { host: '127.0.0.1', port: 0 },
      kind: 'raft',
      lanes: testLanes,
      hello: () => hello,
      secret: testSecret,
      admit,
      log: silentLog,
      clock: realClock,
      random: new Random(7),
      backoff: { minMs: 5, maxMs: 50 },
      refusedRetryMs: 50,
      handshakeTimeoutMs: 3000,
      heartbeatMs: 100,
      livenessMs: 1000,
    }),
}))

let ports = 1000

describeTransport('memory', () => {
  const network = new MemoryNetwork(realClock)
  return {
    make: ({ hello, admit, address }) => {
      const listen = address ?? `memory:${(ports += 1)}`
      return network.transport({ address: listen, lanes: ['ctl', 'log'], hello: () => hello, admit })
    },
  }
})

describe('the memory network', () => {
  it('cuts a link with what is on its way, and heals it', async () => {
    const network = new MemoryNetwork(realClock, 2)
    const [a, b] = ['a', 'b'].map((node) => {
      const hello = helloOf(node)
      const address = `memory:${(ports += 1)}`
      const transport = network.transport({ address, lanes: ['ctl'], hello: () => hello, admit: () => null })
      return { node: hello.node, address, transport, said: new Recorder() }
    })
    if (a === undefined || b === undefined) throw new Error('two nodes')
    await a.transport.open(a.said)
    await b.transport.open(b.said)
    a.transport.dial(b.address)
    await waitFor('the link', () => b.said.opens.length === 1)
    a.transport.send(b.node, 'ctl', 16, Buffer.from('lost'))
    network.cut(a.node, b.node)
    expect(a.transport.send(b.node, 'ctl', 16, Buffer.from('refused'))).toBe(false)
    await waitFor('both to hear of it', () => a.said.closes.length === 1 && b.said.closes.length === 1)
    expect(b.said.frames).toEqual([])
    network.heal(a.node, b.node)
    await waitFor('the link again', () => b.said.opens.length === 2)
    expect([a.said.gones, b.said.gones]).toEqual([[], []])
    await a.transport.close()
    await b.transport.close()
  })
})
