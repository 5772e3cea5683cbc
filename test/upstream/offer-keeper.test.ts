import { expect, it } from 'vitest'
import { silentLog } from '../../src/log/log.ts'
import { deferred, type Deferred } from '../../src/std/deferred.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { defaultLimits } from '../../src/upstream/limits.ts'
import { OfferKeeper } from '../../src/upstream/offer-keeper.ts'
import type { ListReply } from '../../src/upstream/offer-lists.ts'
import { waitFor } from '../wait.ts'

it('the offer is settled when what was said by then has been asked for, whatever is said meanwhile', async () => {
  const fires: (() => void)[] = []
  const asked: Deferred<ListReply>[] = []
  const keeper = new OfferKeeper({
    server: 'x',
    log: silentLog,
    clock: {
      now: () => 0,
      monotonic: () => 0,
      after: (_ms, fire) => {
        fires.push(fire)
        return { cancel: () => undefined }
      },
    },
    limits: defaultLimits,
    ask: () => {
      const reply = deferred<ListReply>()
      asked.push(reply)
      return reply.promise
    },
    changed: () => undefined,
  })
  const answer = async (nth: number): Promise<void> => {
    await waitFor(`request ${nth}`, () => asked.length > nth)
    asked[nth]?.resolve({ kind: 'result', text: asJsonText('{"tools":[]}') })
  }
  const started = keeper.start(asJsonText('{"capabilities":{"tools":{}}}'))
  await answer(0)
  await started
  await keeper.settled()

  keeper.markStale(['tools'])
  fires[0]?.()
  await waitFor('the first asking', () => asked.length === 2)
  keeper.markStale(['tools'])
  let isSettled = false
  const settled = keeper.settled().then(() => (isSettled = true))
  await answer(1)
  await waitFor('the next asking', () => fires.length === 2)
  expect(isSettled).toBe(false)
  fires[1]?.()
  await waitFor('the second asking', () => asked.length === 3)
  keeper.markStale(['tools'])
  await answer(2)
  await settled
  expect(fires).toHaveLength(3)
})
