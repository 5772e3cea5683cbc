import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { freePorts } from '../../scripts/lib/free-ports.ts'
import { Links } from '../../scripts/partition/links.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import type { JoinRequest } from '../../src/vocabulary/join.ts'
import { encodeFrame } from '../../src/wire/frame.ts'
import { encodeHandshakeMessage, encodeHello, wireVersions } from '../../src/wire/handshake-codec.ts'
import { encodeJoinBody, encodeJoinRequest } from '../../src/wire/join-codec.ts'
import { waitFor } from '../wait.ts'

// Node b listens behind its proxy; a and c dial it. The first message of each connection is the dialer's hello.
let links: Links
let front: number
let server: ReturnType<typeof createServer>
let accepted: Accepted[]
let dialled: Dialled[]

class Accepted {
  readonly socket: WebSocket
  readonly texts: string[] = []
  isClosed = false

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer, isBinary) =>
      this.texts.push(isBinary ? `${data.length} bytes` : data.toString()),
    )
    socket.on('close', () => (this.isClosed = true))
    socket.on('error', () => undefined)
  }
}

class Dialled {
  readonly socket: WebSocket
  readonly texts: string[] = []
  isClosed = false

  constructor(node: string) {
    dialled.push(this)
    this.socket = new WebSocket(`ws://127.0.0.1:${front}/peer/calls`, { perMessageDeflate: false })
    this.socket.on('open', () => this.socket.send(helloOf(node)))
    this.socket.on('message', (data: Buffer) => this.texts.push(data.toString()))
    this.socket.on('close', () => (this.isClosed = true))
    this.socket.on('error', () => undefined)
  }
}

function helloOf(node: string): Uint8Array {
  const peer = {
    node: node as NodeId,
    generation: 1,
    boot: 'boot',
    clusterName: 'test',
    clusterId: null,
    promised: null,
    addresses: { http: '', peer: '', raft: '' },
    version: '1.0.0',
  }
  const hello = encodeHello({ versions: wireVersions, nonce: new Uint8Array(32), kind: 'peer', lane: 'calls', peer })
  return encodeFrame({ ...encodeHandshakeMessage({ kind: 'dialer-hello', hello }), seq: 0 })
}

/** A connection whose hello has arrived. */
async function connected(node = 'a'): Promise<{ dialer: Dialled; listener: Accepted }> {
  const before = accepted.length
  const dialer = new Dialled(node)
  const listener = await waitFor('the hello', () => accepted[before]?.texts[0] !== undefined && accepted[before])
  expect(listener.texts.splice(0)).toEqual([`${helloOf(node).length} bytes`])
  return { dialer, listener }
}

/** Settles when whatever was sent before on a link that works has arrived there and back. */
async function roundTrip(node: string): Promise<void> {
  const { dialer, listener } = await connected(node)
  listener.socket.send('there')
  await waitFor('the answer', () => dialer.texts.includes('there'))
}

beforeEach(async () => {
  accepted = []
  dialled = []
  const [port = 0, bound = 0] = await freePorts(2)
  front = port
  server = createServer()
  const upgrades = new WebSocketServer({ server, perMessageDeflate: false })
  upgrades.on('connection', (socket) => accepted.push(new Accepted(socket)))
  server.listen(bound, '127.0.0.1')
  await once(server, 'listening')
  links = new Links(1)
  await links.add('b', [{ port, bound }])
})

afterEach(async () => {
  for (const { socket } of [...dialled, ...accepted]) socket.terminate()
  await links.close()
  await new Promise((resolve) => server.close(resolve))
})

describe('a link', () => {
  it('passes on what is said, both ways, when it has no fault', async () => {
    const { dialer, listener } = await connected()
    dialer.socket.send('one')
    dialer.socket.send('two')
    listener.socket.send('three')
    await waitFor('all', () => listener.texts.length === 2 && dialer.texts.length === 1)
    listener.socket.send('four')
    await waitFor('the last', () => dialer.texts.includes('four'))
    expect([listener.texts, dialer.texts]).toEqual([
      ['one', 'two'],
      ['three', 'four'],
    ])
    dialer.socket.close()
    await waitFor('the end on both sides', () => dialer.isClosed && listener.isClosed)
  })

  it('that is cut one way lets nothing through that way and everything the other way', async () => {
    const { dialer, listener } = await connected()
    links.change('a', 'b', { isCut: true })
    dialer.socket.send('lost')
    listener.socket.send('heard')
    await waitFor('the other direction', () => dialer.texts.includes('heard'))
    await roundTrip('c')
    expect(listener.texts).toEqual([])
    expect(dialer.isClosed || listener.isClosed).toBe(false)
  })

  it('that is cut the other way lets the listener hear and not answer', async () => {
    const { dialer, listener } = await connected()
    links.change('b', 'a', { isCut: true })
    listener.socket.send('lost')
    dialer.socket.send('heard')
    await waitFor('the other direction', () => listener.texts.includes('heard'))
    await roundTrip('c')
    expect(dialer.texts).toEqual([])
  })

  it('that is cut and healed delivers what was said meanwhile, in order', async () => {
    const { dialer, listener } = await connected()
    links.change('a', 'b', { isCut: true })
    for (const text of ['one', 'two', 'three']) dialer.socket.send(text)
    await roundTrip('c')
    links.heal()
    await waitFor('all', () => listener.texts.length === 3)
    expect(listener.texts).toEqual(['one', 'two', 'three'])
  })

  it('that is cut does not tell of the end of a connection either, until it is healed', async () => {
    const { dialer, listener } = await connected()
    links.change('a', 'b', { isCut: true })
    dialer.socket.terminate()
    await waitFor('the end here', () => dialer.isClosed)
    await roundTrip('c')
    expect(listener.isClosed).toBe(false)
    links.heal()
    await waitFor('the end there', () => listener.isClosed)
  })

  it('that is cut lets the listener hear nothing of new connections, and lets them through when healed', async () => {
    links.change('a', 'b', { isCut: true })
    const dialer = new Dialled('a')
    await once(dialer.socket, 'open')
    dialer.socket.send('patience')
    await roundTrip('c')
    expect(accepted.length).toBe(1)
    links.heal()
    await waitFor('the connection', () => accepted[1]?.texts.includes('patience'))
  })

  it('that is cut reads no more from a sender whose buffer is full', async () => {
    const { dialer, listener } = await connected()
    links.change('a', 'b', { isCut: true })
    let taken = 0
    const sendNext = (): void => {
      dialer.socket.send(Buffer.alloc(1024 * 1024), () => {
        taken += 1
        if (taken < 64) sendNext()
      })
    }
    sendNext()
    let before = -1
    await waitFor('nothing to move any more', async () => {
      await roundTrip('c')
      const isStill = taken === before
      before = taken
      return isStill
    })
    expect(taken).toBeLessThan(32)
    links.heal()
    await waitFor('all', () => listener.texts.length === 64, 20_000)
  })

  it('with a delay delivers later, and in order though the delay varies', async () => {
    const { dialer, listener } = await connected()
    links.change('a', 'b', { delayMs: 150, jitterMs: 100 })
    const sentAt = performance.now()
    const texts = Array.from({ length: 20 }, (_, at) => String(at))
    for (const text of texts) {
      dialer.socket.send(text)
      // Each a chunk of its own.
      await new Promise((resolve) => setImmediate(resolve))
    }
    await waitFor('the first', () => listener.texts.length > 0)
    expect(performance.now() - sentAt).toBeGreaterThan(45)
    await waitFor('all', () => listener.texts.length === 20)
    expect(performance.now() - sentAt).toBeGreaterThan(150)
    expect(listener.texts).toEqual(texts)
  })

  it('that loses some chunks delivers all of them, in order, the lost ones after a retransmission', async () => {
    const { dialer, listener } = await connected()
    links.change('a', 'b', { loss: 0.3 })
    const sentAt = performance.now()
    const texts = Array.from({ length: 20 }, (_, at) => String(at))
    for (const text of texts) {
      dialer.socket.send(text)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await waitFor('all', () => listener.texts.length === 20)
    expect(performance.now() - sentAt).toBeGreaterThan(200)
    expect(listener.texts).toEqual(texts)
  })

  it('that loses everything breaks the connection', async () => {
    const { dialer, listener } = await connected()
    links.change('a', 'b', { loss: 1 })
    dialer.socket.send('lost')
    await waitFor('the end on both sides', () => dialer.isClosed && listener.isClosed)
    expect(listener.texts).toEqual([])
  })

  it('with little bandwidth takes its time, which connections of the link share', async () => {
    const big = await connected()
    const small = await connected()
    const bytesPerSecond = 50 * 1024
    links.change('a', 'b', { bytesPerSecond })
    const sentAt = performance.now()
    big.dialer.socket.send(Buffer.alloc(2 * bytesPerSecond))
    small.dialer.socket.send('heartbeat')
    await waitFor('the small one', () => small.listener.texts.length === 1)
    expect(big.listener.texts).toEqual([])
    // Not behind all of the big one that was read at once.
    expect(performance.now() - sentAt).toBeLessThan(800)
    await waitFor('the big one', () => big.listener.texts.length === 1)
    const tookMs = performance.now() - sentAt
    expect(tookMs).toBeGreaterThan(1900)
    expect(tookMs).toBeLessThan(5000)
  })

  it('to a node that does not run is refused, and hangs while the node is cut off', async () => {
    await links.setRunning('b', false)
    const refused = new Dialled('a')
    const [error] = (await once(refused.socket, 'error')) as [NodeJS.ErrnoException]
    expect(error.code).toBe('ECONNREFUSED')
    links.change('a', 'b', { isCut: true })
    await waitFor('a connection that hangs', async () => {
      const hanging = new Dialled('a')
      await once(hanging.socket, 'open').catch(() => undefined)
      return hanging.socket.readyState === WebSocket.OPEN
    })
    expect(accepted).toEqual([])
    links.heal()
    await links.setRunning('b', true)
    await connected()
  })

  it('to a node whose port another has is a failure that is told, and is there as soon as the port is free', async () => {
    await links.setRunning('b', false)
    const other = createServer().listen(front, '127.0.0.1')
    await once(other, 'listening')
    links.change('a', 'b', { isCut: true })
    links.heal()
    await links.setRunning('b', true)
    expect(links.failures).toEqual([expect.stringMatching(/^the links of b: .*EADDRINUSE/)])
    await new Promise((resolve) => other.close(resolve))
    links.heal()
    await links.setRunning('b', true)
    await connected()
  })

  it('takes a request to join for its joiner', async () => {
    let asked: string | null = null
    server.on('request', (incoming: IncomingMessage, outgoing) => {
      asked = incoming.url ?? ''
      incoming.resume()
      outgoing.end('welcome')
    })
    const join = (node: string): Promise<Response> => {
      const request: JoinRequest = {
        versions: wireVersions,
        tokenId: '0123456789abcdef',
        clusterId: 'c0ffee' as JoinRequest['clusterId'],
        clusterName: 'test',
        node: node as NodeId,
        clock: 1,
        version: '1.0.0',
        key: new Uint8Array(32),
        nonce: new Uint8Array(32),
      }
      const body = encodeJoinBody({ bytes: encodeJoinRequest(request), proof: new Uint8Array(32) })
      return fetch(`http://127.0.0.1:${front}/join`, { method: 'POST', body, signal: AbortSignal.timeout(1000) })
    }
    links.change('a', 'b', { isCut: true })
    await expect(join('a')).rejects.toThrow(/aborted due to timeout/)
    expect(asked).toBeNull()
    expect(await (await join('d')).text()).toBe('welcome')
    expect(asked).toBe('/join')
  })

  it('ends the connection of a dialer that is no node', async () => {
    const dialer = new Dialled('a')
    dialer.socket.removeAllListeners('open')
    await once(dialer.socket, 'open')
    dialer.socket.send('hello?')
    await waitFor('the end', () => dialer.isClosed)
    expect([links.foreign, accepted.length]).toEqual([1, 0])
  })
})
