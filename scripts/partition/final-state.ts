/** All that a node has agreed to, as one sum: its snapshot, which holds the keys, the members, the offers, the sessions. */
import { createHash } from 'node:crypto'
import { request } from 'undici'
import { getJson } from '../lib/node-process.ts'
import type { FinalNode } from './types.ts'

const snapshotMs = 10_000

/** Null when the node does not answer. The index is that of the log's entry after which the state is so. */
export async function readState(url: string): Promise<FinalNode['state']> {
  try {
    const response = await request(`${url}/v1/snapshot?consistency=stale`, { signal: AbortSignal.timeout(snapshotMs) })
    const bytes = Buffer.from(await response.body.arrayBuffer())
    const raft = await getJson(`${url}/v1/raft`)
    if (response.statusCode !== 200 || raft === null) return null
    return { index: Number(raft['appliedIndex']), sum: createHash('sha256').update(bytes).digest('hex').slice(0, 16) }
  } catch {
    return null
  }
}
