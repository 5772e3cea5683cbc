import { afterEach, describe, expect, it } from 'vitest'
import { HttpListener } from '../../src/node/http-listener.ts'
import { silentLog } from '../../src/log/log.ts'
import { deferred } from '../../src/std/deferred.ts'

const options = { health: { path: '/alive', status: 200, message: 'here' }, log: silentLog }
let listener = new HttpListener(options)
afterEach(async () => {
  await listener.close(0)
  listener = new HttpListener(options)
})

async function open(): Promise<string> {
  const { host, port } = await listener.open({ host: '127.0.0.1', port: 0 })
  return `http://${host}:${port}`
}

describe('the HTTP listener of a node that is starting', () => {
  it('says that the process lives, that it is not ready and why, and that all else may be tried again', async () => {
    const url = await open()
    expect(await (await fetch(`${url}/alive`)).text()).toBe('here')
    const ready = await fetch(`${url}/readyz`)
    expect([ready.status, await ready.json()]).toEqual([503, { ready: false, reasons: ['this node is starting'] }])
    const other = await fetch(`${url}/v1/kv/a`, { method: 'PUT', body: '1' })
    expect([other.status, other.headers.get('retry-after')]).toEqual([503, '1'])
    expect(await other.json()).toMatchObject({ error: { code: 'no-leader', retry: 'after' } })
  })

  it('names the address that it can not have', async () => {
    const { port } = new URL(await open())
    const second = new HttpListener(options)
    await expect(second.open({ host: '127.0.0.1', port: Number(port) })).rejects.toMatchObject({
      code: 'listen-failed',
      message: expect.stringContaining(`127.0.0.1:${port}`),
    })
    await second.close(0)
  })
})

describe('the HTTP listener of a node whose state is not to be believed', () => {
  it('answers nothing from it any more, whatever it served before, and says why', async () => {
    listener.serve((_, res) => res.end('served'))
    const url = await open()
    expect(await (await fetch(`${url}/mcp`)).text()).toBe('served')
    listener.refuse('the state is another')
    expect(await (await fetch(`${url}/alive`)).text()).toBe('here')
    const ready = await fetch(`${url}/readyz`)
    expect([ready.status, await ready.json()]).toEqual([503, { ready: false, reasons: ['the state is another'] }])
    const other = await fetch(`${url}/mcp`)
    expect([other.status, await other.json()]).toMatchObject([503, { error: { message: 'the state is another' } }])
  })
})

describe('the HTTP listener of a node that stops', () => {
  it('cuts a request that does not end within the grace', async () => {
    const taken = deferred<void>()
    listener.serve(() => taken.resolve())
    const answer = fetch(await open()).catch(() => 'cut')
    await taken.promise
    await listener.close(10)
    expect(await answer).toBe('cut')
  })
})
