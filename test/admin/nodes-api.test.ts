import { afterEach, describe, expect, it } from 'vitest'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { startAdmin } from './scripted.ts'
import type { Running, Scripted } from './scripted.ts'

let admin: Running | undefined
afterEach(async () => {
  await admin?.stop()
  admin = undefined
})
async function start(nodes: Scripted['nodes'] = {}): Promise<Running> {
  admin = await startAdmin({ nodes })
  return admin
}

describe('/v1/nodes', () => {
  it('hands each wish on and answers what is wanted now', async () => {
    const asked: unknown[] = []
    const { send } = await start({
      drain: async (id) => void asked.push({ drain: id }),
      undrain: async (id) => void asked.push({ undrain: id }),
      leave: async (id) => void asked.push({ leave: id }),
      remove: async (id, { force }) => void asked.push({ remove: id, force }),
    })
    const ask = async (method: string, path: string, body?: string): Promise<unknown> =>
      (await send({ method, path: `/v1/nodes/${path}`, ...(body === undefined ? {} : { body }) })).json
    expect(await ask('POST', 'n2/drain', '{}')).toEqual({ id: 'n2', wanted: 'drain' })
    expect(await ask('DELETE', 'n2/drain')).toEqual({ id: 'n2', wanted: null })
    expect(await ask('POST', 'n2/leave', '{}')).toEqual({ id: 'n2', wanted: 'leave' })
    expect(await ask('DELETE', 'n2')).toEqual({ id: 'n2' })
    expect(await ask('DELETE', 'n2?force=false')).toEqual({ id: 'n2' })
    expect(await ask('DELETE', 'n2?force=true')).toEqual({ id: 'n2' })
    expect(asked).toEqual([
      { drain: 'n2' },
      { undrain: 'n2' },
      { leave: 'n2' },
      { remove: 'n2', force: false },
      { remove: 'n2', force: false },
      { remove: 'n2', force: true },
    ])
  })

  it.each([
    ['POST', 'n2/drain', '{"now":true}'],
    ['POST', 'n2/drain', '[]'],
    ['POST', 'n2/leave?force=true', '{}'],
    ['POST', 'n%202/leave', '{}'],
    ['DELETE', 'n%202', undefined],
    ['DELETE', 'n2?force=yes', undefined],
    ['DELETE', 'n2?force=true&force=true', undefined],
  ])('refuses %s %s with %s', async (method, path, body) => {
    const { send } = await start()
    const answer = await send({ method, path: `/v1/nodes/${path}`, ...(body === undefined ? {} : { body }) })
    expect(answer).toMatchObject({ status: 400, json: { error: { code: 'bad-request' } } })
  })

  it.each([
    ['change-refused', 409],
    ['not-found', 404],
    ['no-quorum', 503],
  ] as const)('answers %s as %i, with what to do instead', async (code, status) => {
    const refuse = (): Promise<never> => Promise.reject(new OperatingError(code, 'to do it: quorate node list'))
    const { send } = await start({ remove: refuse })
    expect(await send({ method: 'DELETE', path: '/v1/nodes/n2' })).toMatchObject({
      status,
      json: { error: { code, message: 'to do it: quorate node list' } },
    })
  })

  it.each([
    ['POST', 'n2/drain', 'drain n2'],
    ['DELETE', 'n2/drain', 'take back the drain of n2'],
    ['DELETE', 'n2', 'remove n2'],
  ])('says of %s %s what it is that has no outcome in time', async (method, path, what) => {
    const never = (): Promise<never> => new Promise(() => undefined)
    const { send } = await start({ drain: never, undrain: never, remove: never })
    const body = method === 'POST' ? { body: '{}' } : {}
    const headers = { 'x-request-timeout-ms': '20' }
    expect(await send({ method, path: `/v1/nodes/${path}`, headers, ...body })).toMatchObject({
      json: { error: { code: 'outcome-unknown', message: `${what}: no outcome within the time of the request` } },
    })
  })

  it('knows no other methods', async () => {
    const { send } = await start()
    expect(await send({ path: '/v1/nodes/n2' })).toMatchObject({ status: 405, headers: { allow: 'DELETE, OPTIONS' } })
    expect(await send({ path: '/v1/nodes/n2/drain' })).toMatchObject({ status: 405 })
  })
})
