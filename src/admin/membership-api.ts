import type { Clock } from '../std/clock.ts'
import { parseAddress } from '../vocabulary/addresses.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { makeChangeWithin } from './change-within.ts'
import type { MembershipNeeds } from './needs.ts'
import { readMembers } from './request-body.ts'
import { queryOf } from './request-input.ts'
import { answerJson, mountRoutes } from './routes.ts'
import type { Api, ApiContext } from './routes.ts'

/**
 * `/v1/raft/...`: who leads and who counts. A change of the configuration is taken by every node and answered when it is
 * committed; only a leader hands over, so another node answers `not-leader` and says who to ask.
 */
export function mountMembership(api: Api, { membership, clock }: MembershipApiOptions): void {
  const body = async (c: ApiContext, names: readonly string[]): Promise<Readonly<Record<string, unknown>>> => {
    queryOf(c.env.incoming, [])
    const { signal } = c.req.raw
    return readMembers(c.env.incoming, { names, bytesMax: bodyBytesMax, signal })
  }
  const within = makeChangeWithin(clock)

  mountRoutes(api, '/v1/raft/transfer', {
    POST: async (c) => {
      const { to = null } = await body(c, ['to'])
      const target = to === null ? null : idOf(to, 'to')
      return answerJson(c, JSON.stringify(await within(c, 'transfer', (limits) => membership.transfer(target, limits))))
    },
  })
  mountRoutes(api, '/v1/raft/learners', {
    POST: async (c) => {
      const given = await body(c, ['id', 'address', 'promote'])
      const id = idOf(given['id'], 'id')
      const learner = { id, address: addressOf(given['address']), promote: flagOf(given['promote']) }
      await within(c, `add learner ${id}`, (limits) => membership.addLearner(learner, limits))
      return answerJson(c, JSON.stringify({ id }))
    },
  })
  mountRoutes(api, '/v1/raft/promote', {
    POST: async (c) => {
      const id = idOf((await body(c, ['id']))['id'], 'id')
      await within(c, `promote ${id}`, (limits) => membership.promote(id, limits))
      return answerJson(c, JSON.stringify({ id }))
    },
  })
  mountRoutes(api, '/v1/raft/members/:id', {
    DELETE: async (c) => {
      queryOf(c.env.incoming, [])
      const id = idOf(c.req.param('id'), 'the id in the path')
      await within(c, `remove ${id}`, (limits) => membership.remove(id, limits))
      return answerJson(c, JSON.stringify({ id }))
    },
  })
}

export type MembershipApiOptions = { readonly membership: MembershipNeeds; readonly clock: Clock }

const bodyBytesMax = 4096

export function idOf(value: unknown, name: string): string {
  if (typeof value === 'string' && isNodeId(value)) return value
  throw bad(`${name} is not the id of a node: 1 to 64 characters of A-Z a-z 0-9 . _ -`)
}

function addressOf(value: unknown): string | null {
  if (value === undefined || value === null) return null
  if (typeof value === 'string' && value.length <= addressLengthMax && (parseAddress(value)?.port ?? 0) !== 0)
    return value
  throw bad("address is not HOST:PORT of the node's raft listener, for example 10.0.0.4:6272")
}

/** As the directory's. */
const addressLengthMax = 256

function flagOf(value: unknown): boolean {
  if (value === undefined) return false
  if (typeof value === 'boolean') return value
  throw bad('promote is not true or false')
}

function bad(message: string): OperatingError {
  return new OperatingError('bad-request', message)
}
