import { z } from 'zod'
import { isObject } from '../std/is-object.ts'
import { parseAddress } from '../vocabulary/addresses.ts'
import { secretBytesMin } from '../vocabulary/handshake.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { joinBytesMax } from '../vocabulary/join.ts'
import type { JoinAnswer, JoinGrant, JoinRequest, SentJoinRequest } from '../vocabulary/join.ts'
import { errorCodes } from '../vocabulary/operating-error.ts'
import type { Malformed } from './frame.ts'
import { wireVersions } from './handshake-codec.ts'

/**
 * The join exchange as JSON texts. A request travels as a text of its own within its body, because the proof covers it as it
 * was sent; versions, token and cluster in it never move, so that any two versions can tell each other that they do not
 * understand each other. Fields that only a newer node knows are ignored. Bytes are base64url.
 */

const clusterId = z
  .string()
  .regex(/^[0-9a-f-]{1,64}$/)
  .transform((text) => text as ClusterId)
const nodeId = z.string().refine((text): text is NodeId => isNodeId(text))
const wallTime = z.int().nonnegative()
const bytes = (min: number, max: number): z.ZodType<Uint8Array, string> =>
  z
    .string()
    .max(Math.ceil((max * 4) / 3))
    .regex(/^[A-Za-z0-9_-]*$/)
    .transform((text) => new Uint8Array(Buffer.from(text, 'base64url')))
    .refine(({ length }) => length >= min && length <= max)

const body = z.object({ said: z.string().max(4096), proof: bytes(32, 32) })
const requestHead = z.object({
  versions: z.object({ min: z.int().nonnegative(), max: z.int().nonnegative() }).refine(({ min, max }) => min <= max),
  tokenId: z.string().regex(/^[0-9a-f]{16}$/),
  clusterId,
})
const requestRest = z.object({
  clusterName: z.string().refine(isNodeId).nullable(),
  node: nodeId,
  clock: wallTime,
  version: z.string().max(64),
  key: bytes(32, 32),
  nonce: bytes(32, 32),
})
const answer = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('welcome'), key: bytes(32, 32), sealed: bytes(1, 40_000), proof: bytes(32, 32) }),
  z.object({
    kind: z.literal('refuse'),
    // The code of a newer node that this one does not know yet is `internal` here, and no longer proven.
    code: z
      .string()
      .max(64)
      .transform((text) => errorCodes.find((code) => code === text) ?? 'internal'),
    message: z.string().max(1000),
    proof: bytes(0, 32),
  }),
])
const grant = z.object({
  clusterId,
  clusterName: z.string().refine(isNodeId),
  // In bytes, as where it is configured: a secret of few characters may have enough of them.
  secret: z.string().refine((secret) => Buffer.byteLength(secret) >= secretBytesMin),
  peers: z
    .array(
      z
        .string()
        .max(300)
        .refine((text) => (parseAddress(text)?.port ?? 0) !== 0),
    )
    .max(64),
})

/** The text that is proven. */
export function encodeJoinRequest(request: JoinRequest): Uint8Array {
  const { versions, tokenId, clusterName, node, clock, version } = request
  const [key, nonce] = [text(request.key), text(request.nonce)]
  const said = { versions, tokenId, clusterId: request.clusterId, clusterName, node, clock, version, key, nonce }
  return new Uint8Array(Buffer.from(JSON.stringify(said)))
}

export function encodeJoinBody(sent: { readonly bytes: Uint8Array; readonly proof: Uint8Array }): string {
  return JSON.stringify({ said: Buffer.from(sent.bytes).toString(), proof: text(sent.proof) })
}

export function decodeJoinBody(received: Uint8Array): SentJoinRequest | Malformed {
  const outer = body.safeParse(json(received))
  if (!outer.success) return malformed('body', outer.error)
  const { said, proof } = outer.data
  const inner = json(Buffer.from(said))
  const head = requestHead.safeParse(inner)
  if (!head.success) return malformed('request', head.error)
  const sent = { ...head.data, bytes: new Uint8Array(Buffer.from(said)), proof }
  const { min, max } = sent.versions
  if (Math.max(min, wireVersions.min) > Math.min(max, wireVersions.max)) return { ...sent, request: null }
  const rest = requestRest.safeParse(inner)
  return rest.success ? { ...sent, request: { ...head.data, ...rest.data } } : malformed('request', rest.error)
}

export function encodeJoinAnswer(given: JoinAnswer): string {
  const proof = text(given.proof)
  if (given.kind === 'refuse') return JSON.stringify({ ...given, proof })
  return JSON.stringify({ kind: given.kind, key: text(given.key), sealed: text(given.sealed), proof })
}

export function decodeJoinAnswer(received: Uint8Array): JoinAnswer | Malformed {
  const parsed = answer.safeParse(json(received))
  return parsed.success ? parsed.data : malformed('answer', parsed.error)
}

export function encodeJoinGrant({ clusterName, secret, peers, ...granted }: JoinGrant): Uint8Array {
  return new Uint8Array(Buffer.from(JSON.stringify({ clusterId: granted.clusterId, clusterName, secret, peers })))
}

export function decodeJoinGrant(received: Uint8Array): JoinGrant | Malformed {
  const parsed = grant.safeParse(json(received))
  return parsed.success ? parsed.data : malformed('grant', parsed.error)
}

function text(of: Uint8Array): string {
  return Buffer.from(of).toString('base64url')
}

/** Undefined when it is none, too large, or no UTF-8. */
function json(received: Uint8Array): unknown {
  if (received.length > joinBytesMax) return undefined
  try {
    const value: unknown = JSON.parse(utf8.decode(received))
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Names the field alone: the value may be a secret. */
function malformed(what: string, { issues }: z.ZodError): Malformed {
  const field = issues[0]?.path.join('.') ?? ''
  return { malformed: field === '' ? `${what} is no JSON object that holds what it should` : `${what}: field ${field}` }
}
