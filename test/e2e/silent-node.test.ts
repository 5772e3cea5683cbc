import { mkdtempSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { readEvents } from '../../src/cli/event-stream.ts'
import type { ServerEvent } from '../../src/cli/event-stream.ts'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { Links } from '../../scripts/partition/links.ts'
import { changeLinks, setWays } from '../../scripts/partition/step-links.ts'
import { waitFor } from '../wait.ts'
import { connectClient, fixture, textOf } from './mcp-client.ts'

// The fixture `slow` on n3, which then says nothing more: no end of a connection, no answer. Clients at n1 and n2 are told.
const promisedMs = 3000
const folder = mkdtempSync(path.join(tmpdir(), 'quorate-silent-'))
const records = path.join(folder, 'slow.txt')
let cluster: LocalCluster
let links: Links
let client: Client

beforeAll(async () => {
  links = new Links(1)
  const slow = { command: process.execPath, args: [fixture('slow')], env: { SLOW_RECORD: records } }
  cluster = await startLocalCluster({
    nodes: 3,
    servers: { slow: { ...slow, placement: { where: { node: 'n3' } } } },
    fronted: async (plans) => void (await Promise.all(plans.map(({ id, fronts }) => links.add(id, fronts)))),
  })
}, 60_000)

afterAll(async () => {
  await cluster.stop()
  await links.close()
  await rm(folder, { recursive: true })
})

beforeEach(async () => {
  await waitFor('n3 to be called from both', async () => {
    const answers = await Promise.all(['n1', 'n2'].map((id) => countOnce(id)))
    return answers.every((text) => text === 'counted to 1')
  })
  client = await connectClient(cluster.node('n1').mcpUrl)
}, 60_000)

afterEach(async () => {
  await cluster.node('n3').kill('SIGCONT')
  links.heal()
  await client.close()
})

const falls = {
  'is stopped': () => cluster.node('n3').kill('SIGSTOP'),
  'is cut off': () => changeLinks(links, { verb: 'isolate', node: 'n3' }, ['n1', 'n2', 'n3']),
  // It ends its links, once it finds the others silent; new ones do not come.
  'hears nothing': () => setWays(links, { from: ['n1', 'n2'], to: ['n3'], isBothWays: false }, { isCut: true }),
}

describe.each(Object.entries(falls))('a node that %s in the middle of a call', (how, fall) => {
  it('leaves it of unknown outcome within 3 s, once and for all', { timeout: 60_000 }, async () => {
    const label = `called while it ${how}`
    const steps: number[] = []
    const call = client
      .callTool({ name: 'slow__count', arguments: { steps: 200, delayMs: 20, label } }, undefined, {
        onprogress: ({ progress }) => steps.push(progress),
      })
      .catch((error: unknown) => error)
    await waitFor('the call to be under way', () => steps.length > 3)
    const meter = new Meter()
    await fall()
    const error = await call
    expect(meter.elapsedMs()).toBeLessThan(promisedMs)
    expect(error).toMatchObject({ data: { code: 'outcome-unknown' } })

    await cluster.node('n3').kill('SIGCONT')
    links.heal()
    const heard = steps.length
    await waitFor('the rest of the call, to which nobody comes back', () => recorded('finished', label) === 1)
    await waitFor('n3 to be called again', async () => (await countOnce('n1')) === 'counted to 1', 20_000)
    expect([recorded('started', label), steps.length]).toEqual([1, heard])
  })

  it('is not waited for by who comes back for the call on another node', { timeout: 60_000 }, async () => {
    const lastEventId = await leaveInMidstream(client, `left while it ${how}`)
    const meter = new Meter()
    await fall()
    expect(await resumed(client, lastEventId)).toContain('outcome-unknown')
    expect(meter.elapsedMs()).toBeLessThan(promisedMs)
    // The link is gone by now.
    const again = new Meter()
    expect(await resumed(client, lastEventId)).toContain('outcome-unknown')
    expect(again.elapsedMs()).toBeLessThan(promisedMs)
  })
})

describe('a node that lives, all of whose links are reset in the middle of a call', () => {
  // A handshake then takes longer than who fell silent is waited for.
  it('goes on with it when they are back, nothing missed and nothing twice', { timeout: 60_000 }, async () => {
    const all = ['n1', 'n2', 'n3']
    setWays(links, { from: all, to: all, isBothWays: false }, { delayMs: 150 })
    const steps: number[] = []
    const args = { steps: 200, delayMs: 20, label: 'called while it is reset' }
    const call = client.callTool({ name: 'slow__count', arguments: args }, undefined, {
      onprogress: ({ progress }) => steps.push(progress),
    })
    await waitFor('the call to be under way', () => steps.length > 3)
    links.reset()
    expect(textOf(await call)).toBe('counted to 200')
    expect(steps).toEqual(Array.from({ length: 200 }, (_, at) => at + 1))
    expect(recorded('started', args.label)).toBe(1)
  })
})

describe('a node that was stopped itself while it waited for a call', () => {
  it('gets the rest when it wakes, nothing missed and nothing twice', { timeout: 60_000 }, async () => {
    const steps: number[] = []
    const args = { steps: 200, delayMs: 20, label: 'called by one that sleeps' }
    const call = client.callTool({ name: 'slow__count', arguments: args }, undefined, {
      onprogress: ({ progress }) => steps.push(progress),
    })
    await waitFor('the call to be under way', () => steps.length > 3)
    const ended = timesLost('n3', 'n1')
    await cluster.node('n1').kill('SIGSTOP')
    try {
      await waitFor('n3 to give it up', () => timesLost('n3', 'n1') > ended, 10_000)
      await waitFor('the call to be over', () => recorded('finished', args.label) === 1, 10_000)
    } finally {
      await cluster.node('n1').kill('SIGCONT')
    }
    expect(textOf(await call)).toBe('counted to 200')
    expect(steps).toEqual(Array.from({ length: 200 }, (_, at) => at + 1))
    expect(recorded('started', args.label)).toBe(1)
  })
})

const beatMs = 20

/** Time from now on in which this machine let processes run: where it did not, no promise about time holds. */
class Meter {
  readonly #begunAt = performance.now()
  #stalledMs = 0
  #seenAt = performance.now()
  readonly #beats = setInterval(() => this.#look(), beatMs)

  elapsedMs(): number {
    this.#look()
    clearInterval(this.#beats)
    return performance.now() - this.#begunAt - this.#stalledMs
  }

  #look(): void {
    const now = performance.now()
    this.#stalledMs += Math.max(0, now - this.#seenAt - 2 * beatMs)
    this.#seenAt = now
  }
}

/** How often the node has lost its link to the other one. */
function timesLost(id: string, other: string): number {
  const lines = readFileSync(cluster.node(id).logFile, 'utf8').split('\n')
  return lines.filter((line) => line.includes('peer-disconnected') && line.includes(`"peer":"${other}"`)).length
}

function recorded(what: string, label: string): number {
  return readFileSync(records, 'utf8').split(`${what} ${label}\n`).length - 1
}

async function countOnce(id: string): Promise<string> {
  const asking = await connectClient(cluster.node(id).mcpUrl)
  try {
    return textOf(await asking.callTool({ name: 'slow__count', arguments: { steps: 1, delayMs: 1 } }))
  } catch {
    return ''
  } finally {
    await asking.close()
  }
}

/** Begins a call at n1 and goes away from its stream; answers the id of the last event that it saw. */
async function leaveInMidstream({ transport }: Client, label: string): Promise<string> {
  const params = { name: 'slow__count', arguments: { steps: 500, delayMs: 20, label }, _meta: { progressToken: 'p' } }
  const response = await fetch(cluster.node('n1').mcpUrl, {
    method: 'POST',
    headers: { ...headersOf(transport), 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 'left', method: 'tools/call', params }),
  })
  for await (const { id, data } of eventsOf(response)) {
    if (data.includes('"progress"')) return id
  }
  throw new Error('the stream ended before a progress')
}

/** What a client gets at n2 that comes back there. */
async function resumed({ transport }: Client, lastEventId: string): Promise<string> {
  const response = await fetch(cluster.node('n2').mcpUrl, {
    headers: { ...headersOf(transport), 'last-event-id': lastEventId },
    signal: AbortSignal.timeout(20_000),
  })
  let last = `status ${response.status}`
  for await (const { data } of eventsOf(response)) {
    last = data
    if (data.includes('"id":"left"')) break
  }
  return last
}

function eventsOf({ status, body }: Response): AsyncIterable<ServerEvent> {
  if (body === null) throw new Error(`no stream: status ${status}`)
  return readEvents(body)
}

function headersOf(transport: Client['transport']): Record<string, string> {
  return { accept: 'application/json, text/event-stream', 'mcp-session-id': transport?.sessionId ?? '' }
}
