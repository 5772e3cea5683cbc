import { request } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import type { SnapshotView } from '../../src/admin/needs.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import { startAdmin } from './scripted.ts'
import type { Running, Scripted } from './scripted.ts'

let running: Running | undefined

afterEach(() => running?.stop())

async function start(snapshot: NonNullable<Scripted['snapshot']>): Promise<Running> {
  running = await startAdmin({ snapshot })
  return running
}

/** Parts of 64 KiB, and what became of it. */
class Parts {
  taken = 0
  closed = 0
  readonly #count: number
  readonly #fails: boolean

  constructor(count: number, fails = false) {
    this.#count = count
    this.#fails = fails
  }

  view(): SnapshotView {
    const bytes = this.#count * partBytes
    return { bytes, parts: this.#parts(), close: () => void (this.closed += 1) }
  }

  async *#parts(): AsyncGenerator<Uint8Array, void, void> {
    for (; this.taken < this.#count; this.taken += 1) {
      if (this.#fails && this.taken === 2) throw new OperatingError('stopped', 'this node is stopping')
      yield new Uint8Array(partBytes).fill(this.taken)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

const partBytes = 64 * 1024

describe('GET /v1/snapshot', () => {
  it('is linearizable unless told otherwise, states its length, and is closed at its end', async () => {
    const asked: string[] = []
    const parts = new Parts(3)
    const { send } = await start(async ({ consistency }) => {
      asked.push(consistency)
      return parts.view()
    })
    const answer = await send({ path: '/v1/snapshot' })
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/octet-stream'])
    expect(answer.headers['content-length']).toBe(String(3 * partBytes))
    expect(answer.text).toHaveLength(3 * partBytes)
    await waitFor('it to be closed', () => parts.closed === 1)
    const head = await send({ path: '/v1/snapshot?consistency=stale', method: 'HEAD' })
    await waitFor('it to be closed', () => parts.closed === 2)
    expect([head.status, head.text, parts.taken]).toEqual([200, '', 3])
    expect(asked).toEqual(['linearizable', 'stale'])
    expect((await send({ path: '/v1/snapshot?consistency=any' })).status).toBe(400)
    expect((await send({ path: '/v1/snapshot', method: 'POST' })).status).toBe(405)
  })

  it('says why there is none', async () => {
    const { send } = await start(() => Promise.reject(new OperatingError('overloaded', 'one is under way')))
    const answer = await send({ path: '/v1/snapshot' })
    expect([answer.status, answer.json]).toMatchObject([503, { error: { code: 'overloaded' } }])
  })

  it('breaks off, and never ends short, when it fails in the middle', async () => {
    const parts = new Parts(10, true)
    const { send } = await start(async () => parts.view())
    await expect(send({ path: '/v1/snapshot' })).rejects.toThrow('aborted')
    await waitFor('it to be closed', () => parts.closed === 1)
  })

  it('takes no more parts than the client reads, and none for a client that is gone', async () => {
    const parts = new Parts(10_000)
    const { port } = await start(async () => parts.view())
    const asked = request({ host: '127.0.0.1', port, path: '/v1/snapshot', agent: false })
    asked.on('error', () => undefined)
    // It reads nothing.
    asked.on('response', (response) => response.pause().on('error', () => undefined))
    asked.end()
    let before = -1
    let same = 0
    await waitFor('the socket to be full', async () => {
      same = parts.taken === before && before > 0 ? same + 1 : 0
      before = parts.taken
      return same > 20
    })
    expect(before).toBeLessThan(1000)
    asked.destroy()
    await waitFor('it to be closed', () => parts.closed === 1)
    expect(parts.taken).toBeLessThan(before + 2)
  })
})
