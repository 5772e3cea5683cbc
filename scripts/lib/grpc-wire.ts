/**
 * The cheapest gRPC client for etcd's KV service: HTTP/2 on one socket, calls already encoded, many at once. A call is
 * taken for done when its stream ends, and for failed when no message came before that: a server that refuses sends
 * trailers only. What a server may ask of the connection (settings, pings, windows) is answered.
 */
import { connect, type Socket } from 'node:net'
import type { WireConnection } from './kv-wire.ts'

const frame = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const
const flags = { ack: 1, endStream: 1, endHeaders: 4 } as const
const headerBytes = 9
/** Windows so large that they are hardly ever opened again. */
const windowBytes = 2 ** 30
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

type Call = { readonly done: (failure: string | null) => void; hasAnswer: boolean }

export class GrpcConnection implements WireConnection {
  readonly #socket: Socket
  readonly #calls = new Map<number, Call>()
  #unread: Buffer = Buffer.alloc(0)
  #nextStream = 1
  #taken = 0
  #isCorked = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', (error) => this.#fail(error.message))
    socket.on('close', () => this.#fail('the connection closed'))
    const window = Buffer.alloc(6)
    window.writeUInt16BE(4, 0)
    window.writeUInt32BE(windowBytes, 2)
    socket.write(preface)
    this.#write(frame.settings, 0, window)
    this.#openWindow(windowBytes)
  }

  static open(host: string, port: number): Promise<GrpcConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, noDelay: true }, () => resolve(new GrpcConnection(socket)))
      socket.once('error', reject)
    })
  }

  /** `request`: both frames of a call (`encodeCall`); gets its stream here. */
  send(request: Buffer, done: (failure: string | null) => void): void {
    const stream = this.#nextStream
    this.#nextStream += 2
    this.#calls.set(stream, { done, hasAnswer: false })
    const bytes = Buffer.from(request)
    bytes.writeUInt32BE(stream, 5)
    bytes.writeUInt32BE(stream, headerBytes + bytes.readUIntBE(0, 3) + 5)
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
      process.nextTick(() => {
        this.#isCorked = false
        this.#socket.uncork()
      })
    }
    this.#socket.write(bytes)
  }

  close(): void {
    this.#socket.destroy()
  }

  #receive(bytes: Buffer): void {
    let unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes])
    while (unread.length >= headerBytes) {
      const end = headerBytes + unread.readUIntBE(0, 3)
      if (unread.length < end) break
      this.#take(unread.readUInt8(3), unread.readUInt8(4), unread.readUInt32BE(5), unread.subarray(headerBytes, end))
      unread = unread.subarray(end)
    }
    this.#unread = unread
  }

  #take(type: number, flag: number, stream: number, payload: Buffer): void {
    const call = this.#calls.get(stream)
    if (type === frame.data) {
      this.#taken += payload.length
      if (this.#taken > windowBytes / 2) this.#openWindow(this.#taken)
      if (call !== undefined) call.hasAnswer = true
    } else if (type === frame.settings && flag !== flags.ack) {
      this.#write(frame.settings, flags.ack, Buffer.alloc(0))
    } else if (type === frame.ping && flag !== flags.ack) {
      this.#write(frame.ping, flags.ack, payload)
    } else if (type === frame.goAway) {
      this.#fail('the server said goodbye')
    } else if (type === frame.reset) {
      this.#settle(stream, 'the server reset the call')
    }
    const ends = type === frame.headers && (flag & flags.endStream) !== 0
    if (ends && call !== undefined) this.#settle(stream, call.hasAnswer ? null : 'the call was refused')
  }

  #settle(stream: number, failure: string | null): void {
    const call = this.#calls.get(stream)
    this.#calls.delete(stream)
    call?.done(failure)
  }

  #fail(failure: string): void {
    for (const stream of this.#calls.keys()) this.#settle(stream, failure)
  }

  #openWindow(bytes: number): void {
    this.#taken = 0
    const increment = Buffer.alloc(4)
    increment.writeUInt32BE(bytes)
    this.#write(frame.windowUpdate, 0, increment)
  }

  /** Of the connection, which is stream 0. */
  #write(type: number, flag: number, payload: Buffer): void {
    this.#socket.write(encodeFrame({ type, flag, payload }))
  }
}

/** A unary call: headers that use no dynamic table, then the message. */
export function encodeCall(options: { authority: string; path: string; message: Buffer }): Buffer {
  const { authority, path, message } = options
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
  const block = Buffer.concat([
    Buffer.from([0x83, 0x86, 0x04]),
    text(path),
    Buffer.from([0x01]),
    text(authority),
    Buffer.from([0x0f, 0x10]),
    text('application/grpc'),
    Buffer.from([0x00]),
    text('te'),
    text('trailers'),
  ])
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([
    encodeFrame({ type: frame.headers, flag: flags.endHeaders, payload: block }),
    encodeFrame({
      type: frame.data,
      flag: flags.endStream,
      payload: Buffer.concat([prefix, message]),
    }),
  ])
}

/** Field numbers with their bytes as a protobuf message; `true` is the number 1. */
export function encodeMessage(fields: readonly (readonly [number, Buffer | true])[]): Buffer {
  return Buffer.concat(
    fields.map(([number, value]) => {
      if (value === true) return Buffer.from([number << 3, 1])
      const length = value.length < 128 ? [value.length] : [(value.length & 0x7f) | 0x80, value.length >> 7]
      return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), value])
    }),
  )
}

/** On stream 0. */
function encodeFrame(options: { type: number; flag: number; payload: Buffer }): Buffer {
  const { type, flag, payload } = options
  const bytes = Buffer.alloc(headerBytes + payload.length)
  bytes.writeUIntBE(payload.length, 0, 3)
  bytes.writeUInt8(type, 3)
  bytes.writeUInt8(flag, 4)
  payload.copy(bytes, headerBytes)
  return bytes
}
