import type { Clock } from '../std/clock.ts'
import {
  isJoinTokenId,
  joinTokenLifetimeDefaultMs,
  joinTokenLifetimeMaxMs,
  joinTokenLifetimeMinMs,
  joinTokenNoteMax,
  joinTokenUsesDefault,
  joinTokenUsesMax,
} from '../vocabulary/join-token-limits.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { makeChangeWithin } from './change-within.ts'
import { readMembers } from './request-body.ts'
import { queryOf } from './request-input.ts'
import { answerJson, mountRoutes } from './routes.ts'
import type { Api } from './routes.ts'
import type { TokenNeeds } from './token-needs.ts'

/** `/v1/tokens`: who may join. The token itself is in the answer to its making, and nowhere else ever. */
export function mountTokens(api: Api, { tokens, clock }: TokenApiOptions): void {
  const within = makeChangeWithin(clock)

  mountRoutes(api, '/v1/tokens', {
    GET: (c) => {
      queryOf(c.env.incoming, [])
      return answerJson(c, JSON.stringify({ tokens: tokens.list() }))
    },
    POST: async (c) => {
      queryOf(c.env.incoming, [])
      const { signal } = c.req.raw
      const options = { names: ['expiresInMs', 'uses', 'note'], bytesMax: bodyBytesMax, signal }
      const { expiresInMs, uses, note } = await readMembers(c.env.incoming, options)
      const wanted = {
        lifetimeMs: wholeOf(expiresInMs ?? joinTokenLifetimeDefaultMs, lifetimeRange),
        uses: wholeOf(uses ?? joinTokenUsesDefault, usesRange),
        note: noteOf(note ?? ''),
      }
      const made = await within(c, 'create join token', (limits) => tokens.create(wanted, limits))
      return answerJson(c, JSON.stringify(made))
    },
  })
  mountRoutes(api, '/v1/tokens/:id', {
    DELETE: async (c) => {
      queryOf(c.env.incoming, [])
      const id = c.req.param('id') ?? ''
      if (!isJoinTokenId(id)) throw bad('the id in the path is not that of a join token: 16 digits of 0-9 a-f')
      await within(c, `revoke join token ${id}`, (limits) => tokens.revoke(id, limits))
      return answerJson(c, JSON.stringify({ id }))
    },
  })
}

export type TokenApiOptions = { readonly tokens: TokenNeeds; readonly clock: Clock }

const bodyBytesMax = 4096
const lifetimeRange = { name: 'expiresInMs', min: joinTokenLifetimeMinMs, max: joinTokenLifetimeMaxMs }
const usesRange = { name: 'uses', min: 1, max: joinTokenUsesMax }

function wholeOf(value: unknown, { name, min, max }: { name: string; min: number; max: number }): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw bad(`${name} is not a whole number from ${min} to ${max}`)
}

function noteOf(value: unknown): string {
  if (typeof value === 'string' && value.length <= joinTokenNoteMax) return value
  throw bad(`note is not a text of at most ${joinTokenNoteMax} characters`)
}

function bad(message: string): OperatingError {
  return new OperatingError('bad-request', message)
}
