import type { ServerResponse } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Clock } from '../std/clock.ts'
import type { AdminNeeds, SnapshotView } from './needs.ts'
import { writeAtPace } from './outgoing.ts'
import { consistencyOf, queryOf, timeoutOf } from './request-input.ts'
import { mountRoutes } from './routes.ts'
import type { Api } from './routes.ts'

/**
 * `GET /v1/snapshot`: the whole state as a file to keep. The time of the request is for finding out where the cluster is; how
 * long the bytes take is for the client to say, by reading. Whoever got fewer than `content-length` says has got nothing.
 */
export function mountSnapshot(api: Api, { take, clock, failed }: SnapshotApiOptions): void {
  mountRoutes(api, '/v1/snapshot', {
    GET: async (c) => {
      const { incoming, outgoing } = c.env
      const consistency = consistencyOf(queryOf(incoming, ['consistency']).consistency)
      const { signal } = c.req.raw
      const snapshot = await take({ consistency, timeoutMs: timeoutOf(incoming), signal })
      void send(snapshot, { outgoing, clock, failed })
      return RESPONSE_ALREADY_SENT
    },
  })
}

export type SnapshotApiOptions = {
  readonly take: AdminNeeds['snapshot']
  readonly clock: Clock
  /** Told what broke it off in the middle, where no answer can say it any more. */
  readonly failed: (error: unknown) => void
}

type Sending = Pick<SnapshotApiOptions, 'clock' | 'failed'> & { readonly outgoing: ServerResponse }

async function send(snapshot: SnapshotView, { outgoing, clock, failed }: Sending): Promise<void> {
  try {
    outgoing.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': snapshot.bytes,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    // Of a HEAD request nothing is written, and all of it is wanted the less.
    if (outgoing.req.method !== 'HEAD') {
      for await (const part of snapshot.parts) {
        await writeAtPace(outgoing, part, clock)
        if (outgoing.destroyed) return
      }
    }
    outgoing.end()
  } catch (error) {
    failed(error)
    outgoing.destroy()
  } finally {
    snapshot.close()
  }
}
