import type { Clock } from '../std/clock.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { makeChangeWithin } from './change-within.ts'
import { idOf } from './membership-api.ts'
import type { NodeNeeds } from './node-needs.ts'
import { readMembers } from './request-body.ts'
import { queryOf } from './request-input.ts'
import { answerJson, mountRoutes } from './routes.ts'
import type { Api, ApiContext, Route } from './routes.ts'

/**
 * `/v1/nodes/...`: a node is to drain, to leave, or is taken out. Every node takes that; it is answered when all have agreed
 * on it, and what the node then does is seen in `/v1/members` and `/v1/events`.
 */
export function mountNodes(api: Api, { nodes, clock }: NodesApiOptions): void {
  const within = makeChangeWithin(clock)
  const nodeOf = (c: ApiContext): string => idOf(c.req.param('id'), 'the id in the path')
  /** A POST that wants something of the node; its body says nothing yet, and is there so that it may later. */
  const wanting =
    (wish: 'drain' | 'leave'): Route =>
    async (c) => {
      queryOf(c.env.incoming, [])
      const id = nodeOf(c)
      await readMembers(c.env.incoming, { names: [], bytesMax: bodyBytesMax, signal: c.req.raw.signal })
      await within(c, `${wish} ${id}`, (limits) => nodes[wish](id, limits))
      return answerJson(c, JSON.stringify({ id, wanted: wish }))
    }

  mountRoutes(api, '/v1/nodes/:id/drain', {
    POST: wanting('drain'),
    DELETE: async (c) => {
      queryOf(c.env.incoming, [])
      const id = nodeOf(c)
      await within(c, `take back the drain of ${id}`, (limits) => nodes.undrain(id, limits))
      return answerJson(c, JSON.stringify({ id, wanted: null }))
    },
  })
  mountRoutes(api, '/v1/nodes/:id/leave', { POST: wanting('leave') })
  mountRoutes(api, '/v1/nodes/:id', {
    DELETE: async (c) => {
      const { force } = queryOf(c.env.incoming, ['force'])
      const id = nodeOf(c)
      const isForced = flagOf(force)
      await within(c, `remove ${id}`, ({ timeoutMs, signal }) =>
        nodes.remove(id, { force: isForced, timeoutMs, signal }),
      )
      return answerJson(c, JSON.stringify({ id }))
    },
  })
}

export type NodesApiOptions = { readonly nodes: NodeNeeds; readonly clock: Clock }

const bodyBytesMax = 4096

function flagOf(value: string | undefined): boolean {
  if (value === undefined || value === 'false') return false
  if (value === 'true') return true
  throw new OperatingError('bad-request', 'force is true or false')
}
