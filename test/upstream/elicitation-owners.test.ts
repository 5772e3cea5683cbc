import { expect, it } from 'vitest'
import { toJsonText } from '../../src/std/json-text.ts'
import { ElicitationOwners } from '../../src/upstream/elicitation-owners.ts'
import { readServerMessages, type ServerNotification } from '../../src/upstream/json-rpc.ts'
import type { SessionId } from '../../src/vocabulary/ids.ts'

const [a, b] = ['a' as SessionId, 'b' as SessionId]
const refusal = (...ids: unknown[]) =>
  toJsonText({ code: -32_042, message: '', data: { elicitations: ids.map((elicitationId) => ({ elicitationId })) } })
const complete = (elicitationId: string): ServerNotification => {
  const text = JSON.stringify({ method: 'notifications/elicitation/complete', params: { elicitationId } })
  return readServerMessages(text)[0] as ServerNotification
}

function make(): { owners: ElicitationOwners; wait: (ms: number) => void; ownersOf: (...ids: string[]) => unknown[] } {
  let now = 0
  const owners = new ElicitationOwners({ clock: { monotonic: () => now }, max: 3, keptMs: 1000 })
  return {
    owners,
    wait: (ms) => (now += ms),
    ownersOf: (...ids) => ids.map((id) => owners.ownerOf(complete(id))),
  }
}

it('an elicitation is whose call ended with it last', () => {
  const { owners, ownersOf } = make()
  owners.refused(refusal('1', '2'), a)
  owners.refused(refusal('2'), b)
  expect(ownersOf('1', '2', '3')).toEqual([a, b, undefined])
})

it('of more than may be remembered the oldest are forgotten', () => {
  const { owners, ownersOf } = make()
  owners.refused(refusal('1', '2', '3'), a)
  owners.refused(refusal('1', '4'), b)
  expect(ownersOf('1', '2', '3', '4')).toEqual([b, undefined, a, b])
})

it('is forgotten after a while, and with its session', () => {
  const { owners, ownersOf, wait } = make()
  owners.refused(refusal('1'), a)
  wait(600)
  owners.refused(refusal('2', '3'), b)
  owners.refused(refusal('3'), a)
  wait(600)
  expect(ownersOf('1', '2', '3')).toEqual([undefined, b, a])
  owners.sessionsEnded(new Set([b]))
  expect(ownersOf('2', '3')).toEqual([undefined, a])
})

it.each([
  ['another code', { code: -32_041, message: '-32042', data: { elicitations: [{ elicitationId: '1' }] } }],
  ['no data', { code: -32_042, message: '' }],
  ['data that are no list', { code: -32_042, message: '', data: { elicitations: { elicitationId: '1' } } }],
  ['an id that is none', { code: -32_042, message: '', data: { elicitations: [{ elicitationId: 1 }, null, '1'] } }],
])('an error with %s announces none', (_what, error) => {
  const { owners, ownersOf } = make()
  owners.refused(toJsonText(error), a)
  expect(ownersOf('1')).toEqual([undefined])
})
