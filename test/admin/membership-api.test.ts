import { afterEach, describe, expect, it } from 'vitest'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { startAdmin } from './scripted.ts'
import type { Running, Scripted } from './scripted.ts'

let admin: Running | undefined
afterEach(async () => {
  await admin?.stop()
  admin = undefined
})
async function start(membership: Scripted['membership'] = {}): Promise<Running> {
  admin = await startAdmin({ membership })
  return admin
}

function recording(): { asked: unknown[]; membership: NonNullable<Scripted['membership']> } {
  const asked: unknown[] = []
  return {
    asked,
    membership: {
      transfer: async (to) => {
        asked.push({ transfer: to })
        return { leader: to ?? 'n9' }
      },
      addLearner: async (learner) => void asked.push(learner),
      promote: async (id) => void asked.push({ promote: id }),
      remove: async (id) => void asked.push({ remove: id }),
    },
  }
}

describe('/v1/raft', () => {
  it('hands each operation on and answers what became of it', async () => {
    const { asked, membership } = recording()
    const { send } = await start(membership)
    const post = async (path: string, body: string): Promise<unknown> =>
      (await send({ method: 'POST', path: `/v1/raft/${path}`, body })).json
    expect(await post('transfer', '{}')).toEqual({ leader: 'n9' })
    expect(await post('transfer', '{"to":"n2"}')).toEqual({ leader: 'n2' })
    expect(await post('learners', '{"id":"n4"}')).toEqual({ id: 'n4' })
    expect(await post('learners', '{"id":"n5","address":"[::1]:6272","promote":true}')).toEqual({ id: 'n5' })
    expect(await post('promote', '{"id":"n4"}')).toEqual({ id: 'n4' })
    expect((await send({ method: 'DELETE', path: '/v1/raft/members/n4' })).json).toEqual({ id: 'n4' })
    expect(asked).toEqual([
      { transfer: null },
      { transfer: 'n2' },
      { id: 'n4', address: null, promote: false },
      { id: 'n5', address: '[::1]:6272', promote: true },
      { promote: 'n4' },
      { remove: 'n4' },
    ])
  })

  it.each([
    ['transfer', '[]'],
    ['transfer', '{"to":""}'],
    ['transfer', '{"target":"n2"}'],
    ['learners', '{}'],
    ['learners', '{"id":"n 4"}'],
    ['learners', '{"id":"n4","address":"10.0.0.4"}'],
    ['learners', '{"id":"n4","address":"10.0.0.4:0"}'],
    ['learners', '{"id":"n4","promote":"yes"}'],
    ['promote', '{"id":4}'],
    ['promote', 'n4'],
    ['promote?id=n4', '{"id":"n4"}'],
  ])('refuses POST %s with %s', async (path, body) => {
    const { send } = await start()
    expect(await send({ method: 'POST', path: `/v1/raft/${path}`, body })).toMatchObject({
      status: 400,
      json: { error: { code: 'bad-request' } },
    })
  })

  it('refuses to remove what is no id, and every other method', async () => {
    const { send } = await start()
    expect((await send({ method: 'DELETE', path: '/v1/raft/members/n%204' })).status).toBe(400)
    expect(await send({ path: '/v1/raft/members/n4' })).toMatchObject({
      status: 405,
      headers: { allow: 'DELETE, OPTIONS' },
    })
    expect(await send({ path: '/v1/raft/transfer' })).toMatchObject({ status: 405 })
  })

  it.each([
    ['not-leader', 421],
    ['change-under-way', 409],
    ['change-refused', 409],
    ['no-leader', 503],
    ['outcome-unknown', 504],
  ] as const)('answers %s as %i', async (code, status) => {
    const details = { leader: 'n2', address: '10.0.0.2:6270' }
    const fail = async (): Promise<never> => {
      throw new OperatingError(code, 'it is so', { details })
    }
    const { send } = await start({ transfer: fail, promote: fail })
    for (const [path, body] of [
      ['transfer', '{"to":"n2"}'],
      ['promote', '{"id":"n2"}'],
    ] as const) {
      expect(await send({ method: 'POST', path: `/v1/raft/${path}`, body })).toMatchObject({
        status,
        json: { error: { code, details } },
      })
    }
  })

  it('says that the outcome of a change is unknown when the time of the request is over', async () => {
    const { send } = await start({ promote: () => new Promise(() => undefined) })
    const headers = { 'X-Request-Timeout-Ms': '50' }
    expect(await send({ method: 'POST', path: '/v1/raft/promote', headers, body: '{"id":"n2"}' })).toMatchObject({
      status: 504,
      json: { error: { code: 'outcome-unknown' } },
    })
  })
})
