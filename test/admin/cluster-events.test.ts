import { afterEach, describe, expect, it } from 'vitest'
import type { ClusterEventView } from '../../src/admin/needs.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { startAdmin } from './scripted.ts'
import type { Running, Scripted } from './scripted.ts'

let admin: Running | undefined
afterEach(async () => {
  await admin?.stop()
  admin = undefined
})

const leader: ClusterEventView = { kind: 'leader-changed', time: 1, leader: 'n2', term: 5 }
const joined: ClusterEventView = { kind: 'joined', time: 2, node: 'n3', generation: 1, incarnation: 0, by: 'n3' }

/** Tells these, then ends as given. */
function events(
  told: readonly (readonly ClusterEventView[])[],
  end: OperatingError | null,
): Scripted & { closed: number } {
  const queue = [...told]
  const scripted = {
    closed: 0,
    status: () => ({ node: 'n1' }) as ReturnType<NonNullable<Scripted['status']>>,
    events: () => ({
      take: () => (queue.length === 0 && end !== null ? Promise.reject(end) : Promise.resolve(queue.shift() ?? [])),
      close: () => void (scripted.closed += 1),
    }),
  }
  return scripted
}

describe('GET /v1/events', () => {
  it('tells who speaks, then each event under its kind, until there are no more', async () => {
    const scripted = events([[leader, joined], [leader]], null)
    admin = await startAdmin(scripted)
    const { status, headers, text } = await admin.send({ path: '/v1/events' })
    expect([status, headers['content-type']]).toEqual([200, 'text/event-stream'])
    const leaderText = 'event: leader-changed\ndata: {"time":1,"leader":"n2","term":5}\n\n'
    expect(text).toBe(
      `event: open\ndata: {"node":"n1"}\n\n${leaderText}` +
        'event: joined\ndata: {"time":2,"node":"n3","generation":1,"incarnation":0,"by":"n3"}\n\n' +
        leaderText,
    )
    expect(scripted.closed).toBeGreaterThan(0)
  })

  it('tells what ends the stream as an error', async () => {
    admin = await startAdmin(events([[leader]], new OperatingError('overloaded', 'too many wait')))
    const { text } = await admin.send({ path: '/v1/events' })
    expect(text).toMatch(/event: error\ndata: \{"error":\{"code":"overloaded","message":"too many wait"/)
  })

  it('has nothing behind its head for HEAD, and takes no question', async () => {
    const scripted = events([[leader]], null)
    admin = await startAdmin(scripted)
    expect(await admin.send({ path: '/v1/events', method: 'HEAD' })).toMatchObject({ status: 200, text: '' })
    expect(scripted.closed).toBeGreaterThan(0)
    expect((await admin.send({ path: '/v1/events?from=3' })).status).toBe(400)
    expect((await admin.send({ path: '/v1/events', method: 'PUT' })).status).toBe(405)
  })
})
