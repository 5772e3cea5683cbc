import { unreachable } from '../std/assert.ts'
import { compareIds, isNodeId } from '../vocabulary/ids.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import type { FormingMessage } from './forming.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { cutText, isText, pack, unpack } from './pack.ts'

/** The forming messages as bytes. What decodes is well-formed: voters are sorted ids without doubles, texts are bounded. */
export function encodeFormingMessage(message: FormingMessage): { type: number; payload: Uint8Array } {
  const type = frameTypes[message.kind]
  switch (message.kind) {
    case 'form-propose':
      return { type, payload: pack([message.clusterId, message.voters]) }
    case 'form-promised':
    case 'formed':
      return { type, payload: pack([message.clusterId]) }
    case 'form-refused':
      return { type, payload: pack([cutText(message.why, whyCharsMax)]) }
    default:
      return unreachable(message)
  }
}

export function decodeFormingMessage(type: number, payload: Uint8Array): FormingMessage | Malformed {
  const fields = unpack(payload)
  if ('malformed' in fields) return fields
  const [first, second] = fields
  switch (type) {
    case frameTypes['form-propose']:
      if (isClusterId(first) && isVoterList(second)) return { kind: 'form-propose', clusterId: first, voters: second }
      break
    case frameTypes['form-promised']:
      if (isClusterId(first)) return { kind: 'form-promised', clusterId: first }
      break
    case frameTypes['form-refused']:
      if (isText(first, whyCharsMax)) return { kind: 'form-refused', why: first }
      break
    case frameTypes.formed:
      if (isClusterId(first)) return { kind: 'formed', clusterId: first }
      break
    default:
  }
  return { malformed: `frame type ${type} does not hold what it should` }
}

const whyCharsMax = 1000
/** More founding nodes than any cluster has voters. */
const votersMax = 64
const clusterIdPattern = /^[0-9a-f-]{1,64}$/

function isClusterId(value: unknown): value is ClusterId {
  return typeof value === 'string' && clusterIdPattern.test(value)
}

function isVoterList(value: unknown): value is NodeId[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > votersMax) return false
  const ids: readonly unknown[] = value
  return ids.every((id, at) => {
    const before = ids[at - 1]
    return typeof id === 'string' && isNodeId(id) && (typeof before !== 'string' || compareIds(before, id) < 0)
  })
}
