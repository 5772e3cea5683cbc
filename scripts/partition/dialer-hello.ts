/**
 * Who dials: read from the first bytes of a connection between two nodes, which are a WebSocket upgrade and the hello of
 * the handshake, or a plain request to join. Nothing is proven here; it only tells which link the connection is on.
 */
import { createHash } from 'node:crypto'
import { decodeFrame } from '../../src/wire/frame.ts'
import { decodeHandshakeMessage } from '../../src/wire/handshake-codec.ts'
import { decodeJoinBody } from '../../src/wire/join-codec.ts'

export type Opening =
  /** `answer`: the acceptance of the upgrade, without which the dialer says no more; null while none is due. */
  | { readonly kind: 'waiting'; readonly answer: string | null }
  | { readonly kind: 'known'; readonly node: string; readonly isUpgrade: boolean }
  | { readonly kind: 'foreign'; readonly why: string }

const headBytesMax = 16 * 1024
const bodyBytesMax = 64 * 1024
const headEnd = '\r\n\r\n'
/** Of RFC 6455. */
const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** What can be told from all that has come so far. */
export function readOpening(bytes: Buffer): Opening {
  const end = bytes.indexOf(headEnd)
  if (end === -1) return bytes.length > headBytesMax ? foreign('no request') : { kind: 'waiting', answer: null }
  const head = bytes.toString('latin1', 0, end)
  const body = bytes.subarray(end + headEnd.length)
  const key = headerOf(head, 'sec-websocket-key')
  return key === null ? readRequest(head, body) : readUpgrade(key, body)
}

function readUpgrade(key: string, body: Buffer): Opening {
  const payload = firstFrame(body)
  if (payload === null)
    return body.length > bodyBytesMax ? foreign('no frame') : { kind: 'waiting', answer: accept(key) }
  const frame = decodeFrame(payload)
  if ('malformed' in frame) return foreign(frame.malformed)
  const message = decodeHandshakeMessage(frame.type, frame.payload)
  if ('malformed' in message) return foreign(message.malformed)
  if (message.kind !== 'dialer-hello' || message.hello.node === null) return foreign('no hello')
  return { kind: 'known', node: message.hello.node, isUpgrade: true }
}

function readRequest(head: string, body: Buffer): Opening {
  const length = Number(headerOf(head, 'content-length') ?? '0')
  if (!(length <= bodyBytesMax)) return foreign('request too long')
  if (body.length < length) return { kind: 'waiting', answer: null }
  const sent = decodeJoinBody(body.subarray(0, length))
  if ('malformed' in sent || sent.request === null) return foreign('no request to join')
  return { kind: 'known', node: sent.request.node, isUpgrade: false }
}

/** The payload of the first WebSocket frame, unmasked; null while it is not whole. */
function firstFrame(bytes: Buffer): Buffer | null {
  if (bytes.length < 2) return null
  const isMasked = (bytes.readUInt8(1) & 0x80) !== 0
  const short = bytes.readUInt8(1) & 0x7f
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
  const maskAt = 2 + lengthBytes
  const payloadAt = maskAt + (isMasked ? 4 : 0)
  if (bytes.length < payloadAt) return null
  const length =
    lengthBytes === 0 ? short : lengthBytes === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  if (bytes.length < payloadAt + length) return null
  const payload = Buffer.from(bytes.subarray(payloadAt, payloadAt + length))
  if (isMasked)
    for (let at = 0; at < length; at += 1)
      payload.writeUInt8(payload.readUInt8(at) ^ bytes.readUInt8(maskAt + (at % 4)), at)
  return payload
}

function accept(key: string): string {
  const proof = createHash('sha1')
    .update(key + acceptGuid)
    .digest('base64')
  const lines = ['HTTP/1.1 101 Switching Protocols', 'upgrade: websocket', 'connection: Upgrade']
  return `${[...lines, `sec-websocket-accept: ${proof}`].join('\r\n')}${headEnd}`
}

function headerOf(head: string, name: string): string | null {
  for (const line of head.split('\r\n').slice(1)) {
    const colon = line.indexOf(':')
    if (line.slice(0, colon).toLowerCase() === name) return line.slice(colon + 1).trim()
  }
  return null
}

function foreign(why: string): Opening {
  return { kind: 'foreign', why }
}
