import { readFile, rm, mkdtemp } from 'node:fs/promises'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freePorts } from '../../scripts/lib/free-ports.ts'
import { Random } from '../../src/std/random.ts'
import { encodeFrame } from '../../src/wire/frame.ts'
import { encodeHandshakeMessage, encodeHello } from '../../src/wire/handshake-codec.ts'
import { helloOf } from '../transport/rig.ts'
import { RawClient } from '../transport/strangers.ts'
import { waitFor } from '../wait.ts'
import { mutate } from '../wire/mutate.ts'
import { putUntilDone, request } from './http-json.ts'
import { startProcess } from './one-process.ts'
import type { OneProcess } from './one-process.ts'

// A real node whose two listeners for other nodes are reached by who is none: whatever comes, every connection is ended,
// the node serves, its memory is bounded, and what was no frame is counted.
const random = new Random(Number(process.env['FUZZ_SEED'] ?? 1))
let dir: string
let node: OneProcess
const ports = { raft: 0, peer: 0 }

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-strangers-'))
  const [raft = 0, peer = 0] = await freePorts(2)
  Object.assign(ports, { raft, peer })
  node = await startProcess(dir, {
    cluster: { secret: 'a secret of the end-to-end tests, long enough' },
    node: { id: 'n1', dataDir: path.join(dir, 'data') },
    listen: { raft: `127.0.0.1:${raft}`, peer: `127.0.0.1:${peer}` },
  })
  await node.waitReady()
})

afterAll(async () => {
  await node.end()
  await rm(dir, { recursive: true, force: true })
})

describe.each(['raft', 'peer'] as const)('the %s listener', (kind) => {
  const lane = kind === 'raft' ? 'ctl' : 'calls'
  const upgrade = Buffer.from(
    [
      `GET /${kind}/${lane} HTTP/1.1`,
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      '\r\n',
    ].join('\r\n'),
  )
  const after = (...frames: readonly Uint8Array[]): Uint8Array => Buffer.concat([upgrade, ...frames])
  const times = (count: number, make: (at: number) => Uint8Array): Uint8Array[] =>
    Array.from({ length: count }, (_, at) => make(at))

  it('ends whoever sends what is no WebSocket, and goes on', async () => {
    const before = await residentBytes()
    await offend(kind, [
      ...times(60, () => bytes(1 + random.below(5000))),
      ...times(40, () => mutate(random, upgrade, bytes(200))),
      Buffer.concat([Buffer.from('GET / HTTP/1.1\r\n'), ...times(2000, (at) => Buffer.from(`X-${at}: y\r\n`))]),
    ])
    await expectWell(kind, lane, before)
  })

  it('ends whoever breaks the WebSocket, and counts it', async () => {
    const before = await residentBytes()
    const countedBefore = await rejected(kind)
    await offend(kind, [
      after(webSocketFrame({ declared: 2n ** 63n - 1n })),
      after(webSocketFrame({ declared: 2n ** 32n })),
      after(webSocketFrame({ declared: 20n * 1024n * 1024n })),
      after(webSocketFrame({ masked: false, payload: bytes(20) })),
      ...[0x40, 0x20, 0x10].map((reserved) => after(webSocketFrame({ reserved, payload: bytes(20) }))),
      ...[0x3, 0x7, 0xb, 0xf].map((opcode) => after(webSocketFrame({ opcode, payload: bytes(20) }))),
      after(webSocketFrame({ opcode: 0x0, payload: bytes(20) })),
      after(webSocketFrame({ opcode: 0x9, declared: 126n, payload: bytes(126) })),
      after(webSocketFrame({ opcode: 0x9, isFinal: false, payload: bytes(2) })),
      after(webSocketFrame({ opcode: 0x8, payload: bytes(1) })),
      after(webSocketFrame({ opcode: 0x1, payload: Buffer.from('text') })),
      after(webSocketFrame({ opcode: 0x1, payload: Buffer.from([0xff, 0xfe]) })),
      after(webSocketFrame({ isFinal: false, payload: bytes(2) }), webSocketFrame({ payload: bytes(2) })),
      ...times(60, () => after(bytes(1 + random.below(500)))),
    ])
    // At the least what is no frame of WebSocket by its first bytes.
    expect(await rejected(kind)).toBeGreaterThan(countedBefore + 10)
    await expectWell(kind, lane, before)
  })

  it('ends whoever floods it before the proof, with fragments, pings, or one frame that never ends', async () => {
    const before = await residentBytes()
    const head = webSocketFrame({ isFinal: false, payload: bytes(1) })
    await offend(kind, [
      after(head, ...times(20_000, () => webSocketFrame({ opcode: 0x0, isFinal: false, payload: bytes(1) }))),
      after(head, ...times(20_000, () => webSocketFrame({ opcode: 0x0, isFinal: false, payload: bytes(0) }))),
      after(...times(2000, () => webSocketFrame({ opcode: 0x9, payload: bytes(125) }))),
      after(...times(20_000, () => webSocketFrame({ opcode: 0x9, payload: bytes(0) }))),
      after(...times(2000, () => webSocketFrame({ opcode: 0xa, payload: bytes(125) }))),
      after(webSocketFrame({ declared: 3n * 1024n * 1024n, payload: bytes(3 * 1024 * 1024 - 1) })),
    ])
    await expectWell(kind, lane, before)
  })

  it('ends whoever sends half a handshake, or one that was changed', async () => {
    const before = await residentBytes()
    const countedBefore = await rejected(kind)
    const hello = dialerHello(kind, lane)
    await offend(kind, [
      ...times(150, () => after(webSocketFrame({ payload: mutate(random, hello, bytes(50)) }))),
      ...times(50, () =>
        after(webSocketFrame({ payload: framed(mutate(random, helloPayload(kind, lane), bytes(50))) })),
      ),
      after(webSocketFrame({ payload: hello }), webSocketFrame({ payload: hello })),
      after(webSocketFrame({ payload: hello }), webSocketFrame({ payload: framed(bytes(64), 3, 1) })),
    ])
    expect(await rejected(kind)).toBeGreaterThan(countedBefore + 100)
    await expectWell(kind, lane, before)
  })

  it('ends whoever posts what is no request to join, too much of it, or never all of it', async () => {
    const before = await residentBytes()
    const post = (header: string, body: Uint8Array): Uint8Array =>
      Buffer.concat([Buffer.from(`POST /join HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n`), body])
    const whole = (body: Uint8Array): Uint8Array => post(`Content-Length: ${body.length}`, body)
    const chunk = Buffer.concat([Buffer.from('1000\r\n'), bytes(0x1000), Buffer.from('\r\n')])
    await offend(kind, [
      ...times(40, () => whole(bytes(1 + random.below(20_000)))),
      ...times(40, () => whole(mutate(random, Buffer.from('{"said":"{}","proof":"AAAA"}'), bytes(50)))),
      ...times(12, () => post('Content-Length: 100', bytes(10))),
      ...times(12, () => post('Transfer-Encoding: chunked', Buffer.concat(times(20, () => chunk)))),
      post('Transfer-Encoding: chunked', Buffer.from('fffffffff\r\n')),
      post('Content-Length: 99999999999', bytes(100_000)),
    ])
    await expectWell(kind, lane, before)
  })

  it('ends thousands that say nothing, and those that close their half', async () => {
    const before = await residentBytes()
    const idle = times(3000, (at) => (at % 2 === 0 ? new Uint8Array(0) : upgrade))
    await Promise.all([offend(kind, idle, connectingMax), offense(kind, upgrade, true)])
    await expectWell(kind, lane, before)
  })
})

/** Beyond the backlog of a listener (511) the kernel forgets connections that their clients believe to have. */
const connectingMax = 400

/** Sends each on a connection of its own, fewer at a time than may be unproven; settles when the node has ended them all. */
async function offend(kind: 'raft' | 'peer', offenses: readonly Uint8Array[], atOnce = 48): Promise<void> {
  const left = [...offenses]
  const worker = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) await offense(kind, next)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

/** The node ends the connection, by itself or at the time of a handshake; `half`: after we closed our half. */
async function offense(kind: 'raft' | 'peer', sent: Uint8Array, half = false): Promise<void> {
  let isClosed = false
  const socket: Socket = connect({ host: '127.0.0.1', port: ports[kind], allowHalfOpen: true })
  socket.on('data', () => undefined)
  socket.on('error', () => undefined)
  socket.on('end', () => socket.destroy())
  socket.on('close', () => (isClosed = true))
  socket.write(sent)
  if (half) socket.end()
  await waitFor(
    () => `the ${kind} listener to end who sent ${Buffer.from(sent.subarray(0, 300)).toString('hex')}`,
    () => isClosed,
    20_000,
  )
}

/** It answers its clients and a node's hello, and has kept nothing. */
async function expectWell(kind: 'raft' | 'peer', lane: string, residentBefore: number): Promise<void> {
  expect((await request(`${node.url}/readyz`)).status).toBe(200)
  expect((await putUntilDone(`${node.url}/v1/kv/still`, 'writable')).status).toBe(200)
  const friend = await new RawClient(`127.0.0.1:${ports[kind]}`, `/${kind}/${lane}`).open()
  friend.socket.send(dialerHello(kind, lane))
  const frame = await waitFor('an answer to a hello', () => friend.received[0])
  expect(frame[2]).toBe(2)
  friend.socket.terminate()
  expect(node.said()).not.toMatch(/InvariantError|TypeError|RangeError/)
  // Garbage that was not collected yet and the allocator's own; what is let in before a proof is 4 MiB at most.
  expect((await residentBytes()) - residentBefore).toBeLessThan(128 * 1024 * 1024)
}

async function residentBytes(): Promise<number> {
  const [, kib] = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${node.pid}/status`, 'utf8')) ?? []
  return Number(kib) * 1024
}

async function rejected(kind: 'raft' | 'peer'): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text()
  const [, count] = new RegExp(`quorate_${kind}_frames_total\\{direction="rejected"\\} (\\d+)`).exec(text) ?? []
  return Number(count)
}

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256))
}

type WebSocketFrame = {
  readonly isFinal?: boolean
  readonly reserved?: number
  readonly opcode?: number
  readonly masked?: boolean
  /** Another length than the payload's. */
  readonly declared?: bigint
  readonly payload?: Uint8Array
}

function webSocketFrame(frame: WebSocketFrame): Uint8Array {
  const { isFinal = true, reserved = 0, opcode = 0x2, masked = true, payload = new Uint8Array(0) } = frame
  const length = frame.declared ?? BigInt(payload.length)
  const head = Buffer.alloc(10)
  head[0] = (isFinal ? 0x80 : 0) | reserved | opcode
  const size = length < 126n ? 2 : length < 65_536n ? 4 : 10
  head[1] = (masked ? 0x80 : 0) | (size === 2 ? Number(length) : size === 4 ? 126 : 127)
  if (size === 4) head.writeUInt16BE(Number(length), 2)
  if (size === 10) head.writeBigUInt64BE(length, 2)
  // A mask of zeros leaves the payload as it is.
  return Buffer.concat([head.subarray(0, size), new Uint8Array(masked ? 4 : 0), payload])
}

function helloPayload(kind: 'raft' | 'peer', lane: string): Uint8Array {
  const versions = { min: 2, max: 2 }
  const hello = encodeHello({ versions, nonce: bytes(32), kind, lane, peer: helloOf('n2') })
  return encodeHandshakeMessage({ kind: 'dialer-hello', hello }).payload
}

function dialerHello(kind: 'raft' | 'peer', lane: string): Uint8Array {
  return framed(helloPayload(kind, lane))
}

function framed(payload: Uint8Array, type = 1, seq = 0): Uint8Array {
  return encodeFrame({ type, seq, payload })
}
