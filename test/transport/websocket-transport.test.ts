import { randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { ClusterSecret } from '../../src/identity/secret.ts'
import { encodeFrame } from '../../src/wire/frame.ts'
import { wireVersions } from '../../src/wire/handshake-codec.ts'
import type { ClusterId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import { closeStations, helloOf, linked, station, testLanes } from './rig.ts'
import type { Station } from './rig.ts'
import { RawClient, RawPeer, rawTcp, Relay } from './strangers.ts'

afterEach(closeStations)

const opens = (at: Station, lane = 'ctl'): number => at.said.opens.filter((each) => each.lane === lane).length

describe('two nodes that do not belong together', () => {
  it('with different secrets refuse each other, once, and neither secret is logged', async () => {
    const text = 'another secret that is certainly long enough'
    const a = await station('a', {}, { secret: ClusterSecret.from(text) })
    const b = await station('b')
    a.transport.dial(b.address)
    await waitFor('both refusals', () => a.said.refusals.length > 0 && b.said.refusals.length > 0)
    const framesBefore = b.transport.counters.framesIn
    await waitFor('a slow retry', () => b.transport.counters.framesIn > framesBefore + 4)
    expect(a.said.refusals).toMatchObject([{ code: 'wrong-secret', address: b.address, fatal: false }])
    expect(b.said.refusals).toMatchObject([{ code: 'wrong-secret', fatal: false }])
    expect(JSON.stringify([a.said, b.said, a.logged, b.logged])).not.toContain(text)
  })

  it('with different cluster names refuse each other and name both', async () => {
    const a = await station('a', { clusterName: 'alpha' })
    const b = await station('b', { clusterName: 'beta' })
    a.transport.dial(b.address)
    await waitFor('both refusals', () => a.said.refusals.length > 0 && b.said.refusals.length > 0)
    for (const { said } of [a, b]) {
      expect(said.refusals[0]).toMatchObject({ code: 'wrong-cluster', fatal: false })
      expect(said.refusals[0]?.message).toMatch(/alpha.*beta|beta.*alpha/)
    }
  })

  it('with different cluster ids refuse each other', async () => {
    const a = await station('a', { clusterId: 'aaaa' as ClusterId })
    const b = await station('b', { clusterId: 'bbbb' as ClusterId })
    a.transport.dial(b.address)
    await waitFor('both refusals', () => a.said.refusals.length > 0 && b.said.refusals.length > 0)
    expect(a.said.refusals[0]?.code).toBe('wrong-cluster')
    expect(b.said.refusals[0]?.code).toBe('wrong-cluster')
  })

  it('are retried soon by who took a node for wiped that was about to form its cluster', async () => {
    let wiped = true
    const admit = () => (wiped ? new OperatingError('wiped-node', 'it came with an empty data directory') : null)
    const a = await station('a', {}, { admit, refusedRetryMs: 60_000 })
    const b = await station('b')
    a.transport.dial(b.address)
    await waitFor('the refusal', () => a.said.refusals.length > 0)
    wiped = false
    await linked(a, b)
  })

  it('are retried slowly', async () => {
    const a = await station('a', { clusterName: 'other' }, { refusedRetryMs: 60_000 })
    const b = await station('b')
    const c = await station('c', { clusterName: 'other' })
    a.transport.dial(b.address)
    await waitFor('the refusal', () => a.said.refusals.length > 0)
    await waitFor('both lanes to be refused', () => b.transport.counters.framesIn === 4)
    a.transport.dial(c.address)
    await linked(a, c)
    expect(b.transport.counters.framesIn).toBe(4)
  })

  it('without a common wire version: the other is told both ranges', async () => {
    const a = await station('a')
    const peer = new RawPeer(a.address, helloOf('b'), { versions: { min: 7, max: 9 } })
    expect(await peer.shakeHands()).toBe('incompatible-version')
    await waitFor('the report', () => a.said.refusals.length === 1)
    expect(a.said.refusals[0]).toMatchObject({ code: 'incompatible-version', peer: 'b', fatal: false })
    expect(a.said.refusals[0]?.message).toContain('7 to 9')
  })

  it('but have a common wire version are told the highest one', async () => {
    const a = await station('a')
    const peer = new RawPeer(a.address, helloOf('b'), { versions: { min: 1, max: 9 } })
    expect(await peer.shakeHands()).toBe('open')
    await waitFor('the opening', () => opens(a) === 1)
    expect(a.said.opens).toMatchObject([{ node: 'b', version: wireVersions.max }])
    peer.socket.terminate()
  })

  it('on listeners of two kinds get a clear failure', async () => {
    const a = await station('a')
    const b = await station('b', {}, { kind: 'peer' })
    a.transport.dial(b.address)
    const line = await waitFor('a log line', () => a.logged.find((each) => each.event === 'connection-failed'))
    expect((line.fields['error'] as Error).message).toContain('404')
  })

  it('at an address that is none are not dialled', async () => {
    const a = await station('a')
    for (const address of ['nonsense', '127.0.0.1', '127.0.0.1:0', '127.0.0.1:99999']) a.transport.dial(address)
    expect(a.logged.map((each) => each.event)).toEqual(Array.from({ length: 4 }, () => 'dial-address-invalid'))
  })
})

describe('a second process with the same node id', () => {
  it('is refused while the first one lives, and told that it must stop', async () => {
    const a = await station('a')
    const first = await station('twin', { generation: 3 })
    first.transport.dial(a.address)
    await linked(a, first)
    const second = await station('twin', { generation: 1 })
    second.transport.dial(a.address)
    await waitFor('the refusal', () => second.said.refusals.length > 0)
    expect(second.said.refusals).toMatchObject([{ code: 'duplicate-node', peer: 'a', fatal: true }])
    await waitFor('the report', () => a.said.refusals.length > 0)
    expect(a.said.refusals).toMatchObject([{ code: 'duplicate-node', peer: 'twin', fatal: false }])
    expect([a.said.closes, first.said.closes]).toEqual([[], []])
    expect(a.transport.isOpen(first.node, 'ctl')).toBe(true)
  })

  it('is refused in the other direction, too', async () => {
    const a = await station('a')
    const first = await station('twin')
    first.transport.dial(a.address)
    await linked(a, first)
    const second = await station('twin')
    a.transport.dial(second.address)
    await waitFor('the refusal', () => second.said.refusals.length > 0)
    expect(second.said.refusals).toMatchObject([{ code: 'duplicate-node', peer: 'a', fatal: true }])
  })

  it('takes its place when the first one does not answer any more', async () => {
    const a = await station('a', {}, { livenessMs: 400 })
    const dead = new RawPeer(a.address, helloOf('twin'), { autoPong: false })
    expect(await dead.shakeHands()).toBe('open')
    const living = await station('twin', { generation: 2 })
    living.transport.dial(a.address)
    await linked(a, living)
    await dead.closed()
    expect(living.said.refusals).toEqual([])
    expect(a.said.closes).toEqual([{ node: 'twin', lane: 'ctl' }])
  })

  it('is found when both meet; the one that belongs to no cluster must stop', async () => {
    const member = await station('twin', { clusterId: 'cccc' as ClusterId })
    const newcomer = await station('twin')
    member.transport.dial(newcomer.address)
    await waitFor('both refusals', () => member.said.refusals.length > 0 && newcomer.said.refusals.length > 0)
    expect(member.said.refusals).toMatchObject([{ code: 'duplicate-node', fatal: false }])
    expect(newcomer.said.refusals).toMatchObject([{ code: 'duplicate-node', fatal: true }])
  })
})

describe('two nodes that dial each other', () => {
  it('end up with one connection a lane, and close none that the other keeps', { timeout: 60_000 }, async () => {
    for (let round = 0; round < 50; round += 1) {
      const [a, b] = await Promise.all([station('a'), station('b')])
      // In turn: both at once, and one a little earlier than the other.
      a.transport.dial(b.address)
      for (let turn = 0; turn < round % 10; turn += 1) await new Promise((resolve) => setImmediate(resolve))
      b.transport.dial(a.address)
      await linked(a, b)
      a.transport.send(b.node, 'ctl', 16, Buffer.from('there'))
      b.transport.send(a.node, 'ctl', 16, Buffer.from('back'))
      await waitFor('frames in both directions', () => a.said.frames.length === 1 && b.said.frames.length === 1)
      expect([opens(a), opens(b), opens(a, 'log'), opens(b, 'log')], `round ${round}`).toEqual([1, 1, 1, 1])
      expect([a.said.closes, b.said.closes, a.said.refusals, b.said.refusals], `round ${round}`).toEqual([
        [],
        [],
        [],
        [],
      ])
      await closeStations()
    }
  })

  it('reach each other by two addresses without a second connection', async () => {
    const a = await station('a')
    const b = await station('b')
    a.transport.dial(b.address)
    a.transport.dial(b.address.replace('127.0.0.1', 'localhost'))
    await linked(a, b)
    const c = await station('c')
    a.transport.dial(c.address)
    await linked(a, c)
    expect([opens(b), opens(b, 'log')]).toEqual([1, 1])
    expect(b.said.closes).toEqual([])
  })

  it('find each other again when one restarts with the same id', async () => {
    const a = await station('a')
    const b = await station('b')
    a.transport.dial(b.address)
    b.transport.dial(a.address)
    await linked(a, b)
    await b.transport.close()
    await waitFor('the lanes to close', () => a.said.closes.length === 2)
    const again = await station('b', { generation: 2 })
    again.transport.dial(a.address)
    await linked(a, again)
    expect(again.said.refusals).toEqual([])
  })
})

describe('a connection on which nothing comes any more', () => {
  it('is ended by both sides, and made again when the way is good', async () => {
    const a = await station('a', {}, { handshakeTimeoutMs: 300 })
    const b = await station('b')
    const { relay, address } = await Relay.to(b.address)
    try {
      a.transport.dial(address)
      await linked(a, b)
      relay.swallow(true)
      await waitFor('both to notice', () => a.said.closes.length === 2 && b.said.closes.length === 2)
      expect(a.transport.send(b.node, 'ctl', 16, new Uint8Array(1))).toBe(false)
      // Silence says nothing about its process.
      expect([a.said.gones, b.said.gones]).toEqual([[], []])
      relay.swallow(false)
      await linked(a, b)
    } finally {
      await relay.close()
    }
  })

  it('takes no more than its send buffer', async () => {
    const a = await station('a', {}, { livenessMs: 10_000 })
    const b = await station('b', {}, { livenessMs: 10_000 })
    const { relay, address } = await Relay.to(b.address)
    try {
      a.transport.dial(address)
      await linked(a, b)
      const frame = Buffer.alloc(200 * 1024)
      let taken = 0
      while (taken < 100 && a.transport.send(b.node, 'ctl', 16, frame)) taken += 1
      expect(taken).toBeGreaterThan(1)
      expect(taken).toBeLessThan(100)
      await waitFor('what was taken to arrive', () => b.said.frames.length === taken)
      expect(a.transport.send(b.node, 'ctl', 16, frame)).toBe(true)
    } finally {
      await relay.close()
    }
  })
})

describe('the listener', () => {
  async function survives(at: Station): Promise<void> {
    const friend = await station('friend')
    friend.transport.dial(at.address)
    await linked(at, friend)
  }

  it('answers a plain HTTP request with 426', async () => {
    const a = await station('a')
    const response = await fetch(`http://${a.address}/`)
    expect([response.status, response.headers.get('upgrade')]).toEqual([426, 'websocket'])
    await response.text()
    await survives(a)
  })

  it.each([
    ['an unknown path', 'GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n', '404'],
    [
      'an upgrade to something else',
      'GET /raft/ctl HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
      '400',
    ],
    ['random bytes', randomBytes(500), ''],
    ['a header without end', `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`, ''],
  ])('answers a TCP client that sends %s', async (_, bytes, status) => {
    const a = await station('a')
    expect(await rawTcp(a.address, bytes)).toContain(status)
    await survives(a)
  })

  it.each([
    ['nothing', ''],
    ['half a request', 'GET /raft/ctl HTTP/1.1\r\nHost: x\r\n'],
  ])('closes a TCP client that sends %s within the time of a handshake', async (_, bytes) => {
    const a = await station('a', {}, { handshakeTimeoutMs: 100 })
    expect(await rawTcp(a.address, bytes)).toBe('')
    await survives(a)
  })

  it('closes a WebSocket client that says nothing within the time of a handshake', async () => {
    const a = await station('a', {}, { handshakeTimeoutMs: 100 })
    const client = await new RawClient(a.address).open()
    expect(await client.closed()).toBe(1006)
  })

  it.each([
    ['random bytes', randomBytes(300), 1002],
    ['a text frame', 'hello', 1003],
    ['an empty frame', new Uint8Array(0), 1002],
    ['a frame out of order', encodeFrame({ type: 1, seq: 5, payload: new Uint8Array(0) }), 1002],
    ['a frame of an unknown type', encodeFrame({ type: 99, seq: 0, payload: Uint8Array.of(0x90) }), 1002],
    ['a cut hello', encodeFrame({ type: 1, seq: 0, payload: Uint8Array.of(0x91, 0xc4, 40, 1, 2) }), 1002],
    ['a welcome out of turn', encodeFrame({ type: 4, seq: 0, payload: Uint8Array.of(0x90) }), 1002],
  ])('closes a stranger that sends %s, and counts it', async (_, bytes, code) => {
    const a = await station('a')
    const client = await new RawClient(a.address).open()
    client.socket.send(bytes)
    expect(await client.closed()).toBe(code)
    expect(a.transport.counters.framesRejected).toBe(1)
    expect(a.logged.map((each) => each.event)).toContain('frame-rejected')
    expect(a.said.opens).toEqual([])
    await survives(a)
  })

  it('does not let a stranger fill the memory: 64 KiB before the proof, a lane frame never more', async () => {
    const a = await station('a')
    const client = await new RawClient(a.address).open()
    client.socket.send(randomBytes(200 * 1024))
    expect(await client.closed()).toBe(1006)
    await survives(a)
  })

  it('takes 320 strangers at most at a time, and nodes again when they are gone', async () => {
    const a = await station('a', {}, { handshakeTimeoutMs: 3000 })
    const strangers = Array.from({ length: 320 }, () => new RawClient(a.address))
    await Promise.all(strangers.map((stranger) => stranger.open()))
    const late = new RawClient(a.address)
    await late.closed()
    await new RawClient(a.address).closed()
    expect(a.logged).toMatchObject([{ event: 'strangers-turned-away', fields: { limit: 320 } }])
    expect(strangers.every((stranger) => stranger.closedWith === null)).toBe(true)
    await Promise.all(strangers.map((stranger) => stranger.closed()))
    await survives(a)
  })

  it.each([
    ['random bytes', (peer: RawPeer) => peer.socket.send(randomBytes(300)), 1002],
    ['a text frame', (peer: RawPeer) => peer.socket.send('hello'), 1003],
    [
      'a cut frame',
      (peer: RawPeer) =>
        peer.socket.send(encodeFrame({ type: 16, seq: peer.seq, payload: new Uint8Array(99) }).subarray(0, 50)),
      1002,
    ],
    ['a frame twice', (peer: RawPeer) => ((peer.seq -= 1), peer.sendFrame(16, new Uint8Array(1))), 1002],
    ['a frame too large', (peer: RawPeer) => peer.sendFrame(16, new Uint8Array(testLanes.ctl.frameBytesMax)), 1009],
  ])('closes a proven peer that sends %s, and takes it again', async (_, misbehave, code) => {
    const a = await station('a')
    const hello = helloOf('b')
    const peer = new RawPeer(a.address, hello)
    expect(await peer.shakeHands()).toBe('open')
    await waitFor('the opening', () => opens(a) === 1)
    misbehave(peer)
    expect(await peer.closed()).toBe(code)
    await waitFor('the lane to be closed here', () => a.said.closes.length > 0)
    expect(a.said.closes).toEqual([{ node: 'b', lane: 'ctl' }])
    expect(a.said.frames).toEqual([])
    expect(a.transport.counters.framesRejected).toBe(1)
    const again = new RawPeer(a.address, hello)
    expect(await again.shakeHands()).toBe('open')
    again.socket.terminate()
  })

  it('survives random bytes after the upgrade', async () => {
    const a = await station('a')
    const upgrade = [
      'GET /raft/ctl HTTP/1.1',
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ]
    for (let round = 0; round < 10; round += 1) {
      const bytes = Buffer.concat([Buffer.from(`${upgrade.join('\r\n')}\r\n\r\n`), randomBytes(200)])
      expect(await rawTcp(a.address, bytes, true)).toContain('101 Switching Protocols')
    }
    await survives(a)
  })

  it('says false to a frame that no peer would take', async () => {
    const a = await station('a')
    const b = await station('b')
    a.transport.dial(b.address)
    await linked(a, b)
    expect(a.transport.send(b.node, 'ctl', 16, new Uint8Array(testLanes.ctl.frameBytesMax))).toBe(false)
    expect(a.logged.map((each) => each.event)).toEqual(['frame-too-large'])
    expect(a.transport.isOpen(b.node, 'ctl')).toBe(true)
  })
})

describe('after close', () => {
  it('no timer and no socket is left, whatever was under way', async () => {
    const resources = (): string[] => process.getActiveResourcesInfo().filter((name) => /Timeout|TCP/.test(name))
    const before = resources().length
    const a = await station('a')
    const b = await station('b')
    const nobody = await station('nobody')
    await nobody.transport.close()
    a.transport.dial(b.address)
    a.transport.dial(nobody.address)
    await linked(a, b)
    const stranger = await new RawClient(a.address).open()
    const c = await station('c')
    a.transport.dial(c.address)
    await closeStations()
    await stranger.closed()
    await waitFor('the resources to be gone', () => resources().length <= before)
    await expect(fetch(`http://${a.address}/`)).rejects.toThrowError('fetch failed')
    expect(a.said.closes.length).toBe(a.said.opens.length)
  })
})
