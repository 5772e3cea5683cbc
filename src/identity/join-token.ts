import { randomBytes } from 'node:crypto'
import type { ClusterId } from '../vocabulary/ids.ts'
import { isJoinTokenId } from '../vocabulary/join-token-limits.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { JoinKey } from './join-key.ts'
import type { ClusterSecret } from './secret.ts'

/**
 * A join token as text, `qj1.CLUSTER.ID.KEY`: a secret that is shown once. The key is derived from the cluster's secret, so
 * every node that has that can check who comes with it, and nothing of it needs to be kept. Whether a token that was made
 * still lets anybody in is for the replicated state to say.
 */
export function makeJoinToken(
  secret: ClusterSecret,
  clusterId: ClusterId,
): { readonly id: string; readonly text: string } {
  const id = randomBytes(8).toString('hex')
  const key = Buffer.from(keyBytesOf(secret, { clusterId, id })).toString('base64url')
  return { id, text: `${format}.${clusterId}.${id}.${key}` }
}

/** What a holder of the token can prove, and any node with the secret can check. */
export function joinKeyOf(secret: ClusterSecret, token: NamedToken): JoinKey {
  return new JoinKey(keyBytesOf(secret, token))
}

/** Error `bad-config` says what is wrong with the text, and never repeats it. Space around it counts for nothing. */
export function parseJoinToken(text: string): NamedToken & { readonly key: JoinKey } {
  const trimmed = text.trim()
  if (trimmed === '') throw bad('is empty')
  const [formatFound = '', clusterId = '', id = '', key = '', ...more] = trimmed.split('.')
  if (!/^qj\d{1,4}$/.test(formatFound)) throw bad(`is none: one begins with ${format}.`)
  if (/\s/.test(trimmed)) throw bad('is broken over more than one line, or something else stands beside it')
  if (formatFound !== format) {
    throw bad(
      `is of the format ${formatFound}, and this release reads ${format} only: start it with the cluster's release`,
    )
  }
  const isKnownSoFar = clusterIdPattern.test(clusterId) && isJoinTokenId(id) && more.length === 0
  const bytes = Buffer.from(key, 'base64url')
  // Other texts of the same bytes are no token: one that was changed is never taken for the one that was made.
  if (!isKnownSoFar || bytes.length !== keyBytes || bytes.toString('base64url') !== key) {
    const length = textLength - trimmed.length
    throw bad(length > 0 ? `is cut: ${length} of its characters are missing` : 'is not as it was made: copy it again')
  }
  return { clusterId: clusterId as ClusterId, id, key: new JoinKey(bytes) }
}

type NamedToken = { readonly clusterId: ClusterId; readonly id: string }

const format = 'qj1'
const label = 'quorate join token 1'
const keyBytes = 32
const clusterIdPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/** Four parts and the dots between. */
const textLength = format.length + 36 + 16 + 43 + 3

function keyBytesOf(secret: ClusterSecret, { clusterId, id }: NamedToken): Uint8Array {
  return secret.prove(label, [Buffer.from(clusterId), Buffer.from(id)])
}

function bad(what: string): OperatingError {
  return new OperatingError(
    'bad-config',
    `the join token ${what}; \`quorate token create\` on a node of the cluster makes one`,
  )
}
