import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { builtCli } from '../../scripts/lib/node-process.ts'
import { differences } from '../fidelity/compare.ts'
import { callScenarios } from '../fidelity/call-scenarios.ts'
import { script } from '../fidelity/script.ts'
import type { Scenario } from '../fidelity/script.ts'
import { sessionScenarios } from '../fidelity/session-scenarios.ts'
import { ScriptedClient } from '../fidelity/scripted-client.ts'
import { play } from '../fidelity/targets.ts'
import type { Place } from '../fidelity/targets.ts'
import { HttpWire, SseWire, StdioWire } from '../fidelity/wires.ts'
import { fixturePath, startFixture } from '../fixtures/fixture-process.ts'
import type { FixtureProcess } from '../fixtures/fixture-process.ts'
import { elementsOf, memberOf } from '../fixtures/json-members.mjs'
import { waitFor } from '../wait.ts'

const scenarios = [...callScenarios, ...sessionScenarios]

// A scripted client at a scripted server itself, and at n1 for the same server behind n2: what they hear must not differ.
const lists = {
  'tools/list': 'tools',
  'resources/list': 'resources',
  'resources/templates/list': 'resourceTemplates',
  'prompts/list': 'prompts',
}
const conditional = '{ "name" : "conditional","inputSchema":{"type":"object"},"x":1.0}'
/** How soon a client has to have a list, whatever its server does: each list waits a second at most. */
const listedMs = 2000
/** How soon a client has to hear that nobody will ever tell the outcome of its call. */
const unknownMs = 3000

let cluster: LocalCluster
/** Asked directly. */
let http: FixtureProcess
let sse: FixtureProcess
/** Behind n2. */
let httpBehind: FixtureProcess
let sseBehind: FixtureProcess

beforeAll(async () => {
  const start = (mode: string): Promise<FixtureProcess> => startFixture('scripted', mode)
  ;[http, sse, httpBehind, sseBehind] = await Promise.all([start('http'), start('sse'), start('http'), start('sse')])
  const placement = { where: { node: 'n2' } }
  const url = `http://127.0.0.1:${httpBehind.port}/mcp`
  cluster = await startLocalCluster({
    nodes: 2,
    servers: {
      // What all of them offer under one URI is the first one's on /mcp.
      http: { url, placement, priority: 100 },
      stdio: { command: process.execPath, args: [fixturePath('scripted'), 'stdio'], placement },
      sse: { url: `http://127.0.0.1:${sseBehind.port}/sse`, placement },
      shared: { url, placement, isolation: 'shared' },
    },
  })
  for (const server of ['http', 'stdio', 'sse', 'shared'])
    await waitFor(`the tools of ${server} on n1`, () => isThere(`/mcp/${server}`))
})

afterAll(async () => {
  await cluster.stop()
  await Promise.all([http, sse, httpBehind, sseBehind].map((fixture) => fixture.stop()))
})

const directly = {
  http: { name: 'its HTTP server', connect: (heard) => new HttpWire(`http://127.0.0.1:${http.port}/mcp`, heard) },
  stdio: {
    name: 'its stdio server',
    connect: (heard) => new StdioWire([process.execPath, fixturePath('scripted'), 'stdio'], heard),
  },
  sse: { name: 'its HTTP+SSE server', connect: (heard) => new SseWire(`http://127.0.0.1:${sse.port}/sse`, heard) },
} satisfies Record<string, Place>

type Way = {
  readonly name: string
  readonly direct: Place
  readonly through: Place
  readonly plays: (scenario: Scenario) => boolean
}

const ways: readonly Way[] = [
  {
    name: 'Streamable HTTP to an HTTP server',
    direct: directly.http,
    through: at('/mcp/http'),
    plays: () => true,
  },
  {
    name: 'Streamable HTTP to a stdio server',
    direct: directly.stdio,
    through: at('/mcp/stdio'),
    plays: (scenario) => scenario.overStreams !== true && scenario.sharedLists !== true,
  },
  {
    name: 'Streamable HTTP to an HTTP+SSE server',
    direct: directly.sse,
    through: at('/mcp/sse'),
    plays: (scenario) => scenario.overStreams !== true,
  },
  {
    name: 'Streamable HTTP to an HTTP server that its clients share',
    direct: directly.http,
    through: at('/mcp/shared'),
    plays: (scenario) => scenario.ownUpstream !== true,
  },
  {
    name: 'Streamable HTTP to all servers',
    direct: directly.http,
    through: { ...at('/mcp'), prefix: 'http' },
    plays: (scenario) => scenario.oneServer !== true && scenario.sharedLists !== true,
  },
  {
    name: 'HTTP+SSE to all servers',
    direct: directly.http,
    through: { name: 'n1 /sse', connect: (heard) => new SseWire(urlOf('/sse'), heard), prefix: 'http' },
    plays: (scenario) => scenario.oneServer !== true && scenario.sharedLists !== true && scenario.overStreams !== true,
  },
  {
    name: 'quorate stdio to an HTTP server',
    direct: directly.http,
    through: {
      name: 'quorate stdio',
      connect: (heard) =>
        new StdioWire([process.execPath, builtCli, 'stdio', '--url', urlOf(''), '--path', '/mcp/http'], heard),
    },
    plays: (scenario) => scenario.overStreams !== true,
  },
]

/** For tests that are told by the whole name. */
function named<T extends { readonly name: string }>(rows: readonly T[]): [string, T][] {
  return rows.map((row) => [row.name, row])
}

function urlOf(path: string): string {
  return `${cluster.node('n1').url}${path}`
}

function at(path: string): Place {
  return { name: `n1 ${path}`, connect: (heard) => new HttpWire(urlOf(path), heard) }
}

function openAt({ connect, prefix = '' }: Place): Promise<ScriptedClient> {
  return ScriptedClient.open({ connect, prefix, run: 'once' })
}

async function isThere(path: string): Promise<boolean> {
  const client = await openAt(at(path)).catch(() => null)
  if (client === null) return false
  try {
    return (await client.result('1', 'tools/list')).includes('"script"')
  } finally {
    await client.close()
  }
}

/** Every item of every page of a list, as text, in order. */
async function itemsAt(client: ScriptedClient, list: string, member: string): Promise<string[]> {
  const items: string[] = []
  for (let cursor: string | undefined, page = 0; page === 0 || cursor !== undefined; page += 1) {
    const params = cursor === undefined ? undefined : `{"cursor":${cursor}}`
    const result = await client.result(String(page), list, params)
    items.push(...(elementsOf(memberOf(result, member) ?? '[]') ?? []))
    cursor = memberOf(result, 'nextCursor')
  }
  return items
}

describe.each(named(ways))('%s', (_way, { direct, through, plays }) => {
  it.each(named(scenarios.filter(plays)))('%s', async (_name, scenario) => {
    const [expected, heard] = [await play(scenario, direct), await play(scenario, through)]
    const wrong = expected.flatMap((lines, client) => {
      const found = differences(lines, heard[client] ?? [])
      return found.length === 0 ? [] : [`client ${client}:`, ...found]
    })
    expect(wrong.join('\n')).toBe('')
    expect(heard).toHaveLength(expected.length)
  })
})

describe.each(named(ways.filter(({ through }) => through.prefix === undefined)))('%s', (_way, { direct, through }) => {
  it('the server says of itself what it says to a client of its own', async () => {
    const [expected, heard] = [await openAt(direct), await openAt(through)]
    expect(JSON.parse(heard.self)).toEqual(JSON.parse(expected.self))
    await Promise.all([expected.close(), heard.close()])
  })

  it('its lists have the same items, byte for byte, and refuse a cursor that nobody gave', async () => {
    const [expected, heard] = [await openAt(direct), await openAt(through)]
    for (const [list, member] of Object.entries(lists)) {
      const known = (items: readonly string[]): string[] => items.filter((item) => !item.includes('"grown')).sort()
      expect(known(await itemsAt(heard, list, member)), list).toEqual(known(await itemsAt(expected, list, member)))
      expect(await heard.result('1', list, '{"cursor":"nobody gave this"}')).toContain('-32602')
    }
    await Promise.all([expected.close(), heard.close()])
  })
})

describe('a list of which a client is shown more than others', () => {
  const sessions = ways.filter(({ name }) => /^Streamable HTTP to an? (HTTP|stdio|HTTP\+SSE) server$/.test(name))

  it.each(named(sessions))('waits for no server, which has it told later: %s', async (_name, { through }) => {
    const capabilities = '{"roots":{"conditional":true,"opensAfterMs":3000}}'
    const client = await ScriptedClient.open({ connect: through.connect, prefix: '', run: 'once', capabilities })
    await client.listen()
    const from = performance.now()
    expect(await itemsAt(client, 'tools/list', 'tools')).not.toContain(conditional)
    expect(performance.now() - from).toBeLessThan(listedMs)
    await client.saw('notifications/tools/list_changed')
    expect(await itemsAt(client, 'tools/list', 'tools')).toContain(conditional)
    await client.request('"end"', 'tools/call', script([{ answer: '{}' }]))
    expect(client.transcript.filter(({ text }) => text.includes('tools/list_changed'))).toHaveLength(1)
    await client.close()
  })
})

describe('a call whose stream its server breaks for good', () => {
  const answerless = ways.filter(({ name }) => /^Streamable HTTP to an? (HTTP|stdio|HTTP\+SSE) server$/.test(name))

  it.each(named(answerless))('ends with an unknown outcome: %s', async (_name, { through }) => {
    const client = await openAt(through)
    const from = performance.now()
    const text = await client.result('"broken"', 'tools/call', script([{ stream: { ids: false } }, { cut: true }]))
    expect(performance.now() - from).toBeLessThan(unknownMs)
    expect(JSON.parse(text)).toMatchObject({ code: -31_003, data: { retry: 'outcome-unknown' } })
    const after = await client.result('1', 'tools/call', script([{ answer: '{"content":[]}' }]))
    expect(after).toBe('{"content":[]}')
    await client.close()
  })
})
