import { z } from 'zod'
import { unreachable } from '../std/assert.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { errorCodes } from '../vocabulary/operating-error.ts'
import type {
  ConnectionHello,
  HandshakeMessage,
  HandshakeRefusalCode,
  SentHello,
  WireVersions,
} from '../vocabulary/handshake.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { copyBytes, isIndex, isText, pack, unpack } from './pack.ts'

/**
 * The handshake's messages as bytes. A hello travels as a byte string of its own, because the proofs cover it as sent; its
 * first six fields never move, nor does the way the secret is proven, so that any two versions can tell each other that
 * they do not understand each other.
 */

/**
 * What this build speaks. Version 2: calls have an origin and their events a number. Version 1 is spoken no more, as its
 * nodes know no sessions in the replicated state.
 */
export const wireVersions: WireVersions = { min: 2, max: 2 }

const address = z.string().max(300)
const clusterId = z
  .string()
  .regex(/^[0-9a-f-]{1,64}$/)
  .transform((text) => text as ClusterId)
  .nullable()
const helloFields = z.tuple([
  z.instanceof(Uint8Array).refine((nonce) => nonce.length === 32),
  z.enum(['raft', 'peer']),
  z.string().min(1).max(32),
  z.string().refine((text): text is NodeId => isNodeId(text)),
  z.int().nonnegative(),
  z.string().min(1).max(64),
  z.string().min(1).max(128),
  clusterId,
  clusterId,
  address,
  address,
  address,
  z.string().max(64),
])

export function encodeHello(hello: ConnectionHello): SentHello {
  const { versions, nonce, kind, lane, peer } = hello
  const { http, peer: peerAddress, raft } = peer.addresses
  const bytes = pack([
    versions.min,
    versions.max,
    nonce,
    kind,
    lane,
    peer.node,
    peer.generation,
    peer.boot,
    peer.clusterName,
    peer.clusterId,
    peer.promised,
    http,
    peerAddress,
    raft,
    peer.version,
  ])
  return { versions, node: peer.node, hello, bytes: copyBytes(bytes) }
}

export function encodeHandshakeMessage(message: HandshakeMessage): { type: number; payload: Uint8Array } {
  const type = frameTypes[message.kind]
  switch (message.kind) {
    case 'dialer-hello':
      return { type, payload: pack([message.hello.bytes]) }
    case 'acceptor-hello':
      return { type, payload: pack([message.hello.bytes, message.proof]) }
    case 'dialer-proof':
      return { type, payload: pack([message.proof]) }
    case 'welcome':
      return { type, payload: pack([]) }
    case 'refuse':
      return { type, payload: pack([message.code, message.message, message.proof]) }
    default:
      return unreachable(message)
  }
}

export function decodeHandshakeMessage(type: number, payload: Uint8Array): HandshakeMessage | Malformed {
  const fields = unpack(payload)
  if ('malformed' in fields) return fields
  const [first, second, third] = fields
  switch (type) {
    case frameTypes['dialer-hello']: {
      const hello = decodeHello(first)
      return 'malformed' in hello ? hello : { kind: 'dialer-hello', hello }
    }
    case frameTypes['acceptor-hello']: {
      const hello = decodeHello(first)
      if ('malformed' in hello) return hello
      return isProof(second)
        ? { kind: 'acceptor-hello', hello, proof: copyBytes(second) }
        : { malformed: 'acceptor-hello' }
    }
    case frameTypes['dialer-proof']:
      return isProof(first) ? { kind: 'dialer-proof', proof: copyBytes(first) } : { malformed: 'dialer-proof' }
    case frameTypes.welcome:
      return { kind: 'welcome' }
    case frameTypes.refuse:
      if (!isText(first, 64) || !isText(second, 1000) || !isProof(third)) return { malformed: 'refuse' }
      return { kind: 'refuse', code: refusalCode(first), message: second, proof: copyBytes(third) }
    default:
      return { malformed: `frame type ${type} is no part of the handshake` }
  }
}

function decodeHello(value: unknown): SentHello | Malformed {
  if (!(value instanceof Uint8Array)) return { malformed: 'hello' }
  const bytes = copyBytes(value)
  const fields = unpack(bytes)
  if ('malformed' in fields) return fields
  const [min, max, ...rest] = fields
  if (!isIndex(min) || !isIndex(max) || min > max) return { malformed: 'hello: version range' }
  const versions = { min, max }
  if (Math.max(min, wireVersions.min) > Math.min(max, wireVersions.max)) {
    const id = rest[3]
    return { versions, node: typeof id === 'string' && isNodeId(id) ? id : null, hello: null, bytes }
  }
  const parsed = helloFields.safeParse(rest.slice(0, helloFieldCount))
  if (!parsed.success) return { malformed: `hello: field ${parsed.error.issues[0]?.path.join('.') ?? ''}` }
  const [nonce, kind, lane, node, generation, boot, clusterName, id, promised, http, peer, raft, version] = parsed.data
  const addresses = { http, peer, raft }
  const hello: ConnectionHello = {
    versions,
    nonce: copyBytes(nonce),
    kind,
    lane,
    peer: { node, generation, boot, clusterName, clusterId: id, promised, addresses, version },
  }
  return { versions, node, hello, bytes }
}

const helloFieldCount = 13

function isProof(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.length <= 64
}

/** The code of a newer node that this one does not know yet is `internal` here; the message still says what it is. */
function refusalCode(text: string): HandshakeRefusalCode {
  if (text === 'already-connected') return text
  return errorCodes.find((code) => code === text) ?? 'internal'
}
