import { afterEach, describe, expect, it } from 'vitest'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { startAdmin } from './scripted.ts'
import type { Running, Scripted } from './scripted.ts'

let admin: Running | undefined
afterEach(async () => {
  await admin?.stop()
  admin = undefined
})
async function start(tokens: Scripted['tokens'] = {}): Promise<Running> {
  admin = await startAdmin({ tokens })
  return admin
}

const id = '0123456789abcdef'

describe('/v1/tokens', () => {
  it('makes a token for an hour and one node, unless it is asked for another, and answers with its text', async () => {
    const asked: unknown[] = []
    const made = { token: 'qj1.x', id, expiresAt: 7, usesMax: 1 }
    const { send } = await start({
      create: async (wanted) => {
        asked.push(wanted)
        return made
      },
    })
    const post = (body: string): ReturnType<typeof send> => send({ method: 'POST', path: '/v1/tokens', body })
    expect(await post('{}')).toMatchObject({ status: 200, json: made, headers: { 'cache-control': 'no-store' } })
    await post('{"expiresInMs":1000,"uses":100,"note":"rack 7"}')
    await post(JSON.stringify({ expiresInMs: 604_800_000, uses: 1, note: 'x'.repeat(200) }))
    expect(asked).toEqual([
      { lifetimeMs: 3_600_000, uses: 1, note: '' },
      { lifetimeMs: 1000, uses: 100, note: 'rack 7' },
      { lifetimeMs: 604_800_000, uses: 1, note: 'x'.repeat(200) },
    ])
  })

  it.each([
    ['', 'the body is empty'],
    ['[]', 'the body is not a JSON object'],
    ['{"uses":0}', 'uses is not a whole number from 1 to 100'],
    ['{"uses":101}', 'uses is not a whole number from 1 to 100'],
    ['{"uses":"2"}', 'uses is not a whole number from 1 to 100'],
    ['{"expiresInMs":999}', 'expiresInMs is not a whole number from 1000 to 604800000'],
    ['{"expiresInMs":604800001}', 'expiresInMs is not a whole number from 1000 to 604800000'],
    ['{"expiresInMs":1000.5}', 'expiresInMs is not a whole number from 1000 to 604800000'],
    ['{"expires":"1h"}', 'the member "expires" of the body is not known; known: expiresInMs, uses, note'],
    ['{"note":7}', 'note is not a text of at most 200 characters'],
    [JSON.stringify({ note: 'x'.repeat(201) }), 'note is not a text of at most 200 characters'],
  ])('refuses to make one of %s', async (body, message) => {
    const { send } = await start()
    expect(await send({ method: 'POST', path: '/v1/tokens', body })).toMatchObject({
      status: 400,
      json: { error: { code: 'bad-request', message } },
    })
  })

  it('lists what is known of them', async () => {
    const view = { id, createdAt: 1, expiresAt: 2, usesMax: 3, uses: 1, usedBy: ['n4'], status: 'usable', note: '' }
    const { send } = await start({ list: () => [{ ...view, status: 'usable' }] })
    expect((await send({ path: '/v1/tokens' })).json).toEqual({ tokens: [view] })
    expect((await send({ path: '/v1/tokens?all=1' })).status).toBe(400)
  })

  it('revokes one by its id, and refuses what is none', async () => {
    const asked: unknown[] = []
    const { send } = await start({ revoke: async (revoked) => void asked.push(revoked) })
    expect(await send({ method: 'DELETE', path: `/v1/tokens/${id}` })).toMatchObject({ status: 200, json: { id } })
    expect(await send({ method: 'DELETE', path: '/v1/tokens/n4' })).toMatchObject({
      status: 400,
      json: { error: { message: 'the id in the path is not that of a join token: 16 digits of 0-9 a-f' } },
    })
    expect(asked).toEqual([id])
    expect(await send({ path: `/v1/tokens/${id}` })).toMatchObject({
      status: 405,
      headers: { allow: 'DELETE, OPTIONS' },
    })
  })

  it.each([
    ['not-found', 404],
    ['change-refused', 409],
    ['no-leader', 503],
  ] as const)('answers %s as %i', async (code, status) => {
    const fail = async (): Promise<never> => {
      throw new OperatingError(code, 'it is so')
    }
    const { send } = await start({ create: fail, revoke: fail })
    const answers = [
      await send({ method: 'POST', path: '/v1/tokens', body: '{}' }),
      await send({ method: 'DELETE', path: `/v1/tokens/${id}` }),
    ]
    for (const answer of answers) expect(answer).toMatchObject({ status, json: { error: { code } } })
  })

  it('says that the outcome is unknown when the time of the request is over', async () => {
    const never = (): Promise<never> => new Promise(() => undefined)
    const { send } = await start({ create: never, revoke: never })
    const headers = { 'X-Request-Timeout-Ms': '50' }
    const answers = [
      await send({ method: 'POST', path: '/v1/tokens', headers, body: '{}' }),
      await send({ method: 'DELETE', path: `/v1/tokens/${id}`, headers }),
    ]
    for (const answer of answers)
      expect(answer).toMatchObject({ status: 504, json: { error: { code: 'outcome-unknown' } } })
  })
})
