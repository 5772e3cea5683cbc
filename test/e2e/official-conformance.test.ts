import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster } from '../../scripts/lib/local-cluster.ts'
import { officialSuites, runOfficialSuite } from '../conformance-mcp/official-suite.ts'
import { fixturePath, startFixture } from '../fixtures/fixture-process.ts'
import type { FixtureProcess } from '../fixtures/fixture-process.ts'
import { waitFor } from '../wait.ts'
import { connectClient } from './mcp-client.ts'

// The fixture of the official suites on n2, asked through n1; and directly, so that what it fails itself is known.
let fixture: FixtureProcess
let cluster: LocalCluster

beforeAll(async () => {
  fixture = await startFixture('conformance', 'http')
  const placement = { where: { node: 'n2' } }
  cluster = await startLocalCluster({
    nodes: 2,
    servers: {
      http: { url: `http://127.0.0.1:${fixture.port}/mcp`, placement },
      stdio: { command: process.execPath, args: [fixturePath('conformance'), 'stdio'], placement },
    },
  })
  for (const server of ['http', 'stdio']) await waitFor(`${server} on n1`, () => isThere(urlOf(server)))
})

afterAll(async () => {
  await cluster.stop()
  await fixture.stop()
})

function urlOf(server: string): string {
  return `${cluster.node('n1').mcpUrl}/${server}`
}

async function isThere(url: string): Promise<boolean> {
  try {
    const client = await connectClient(url)
    const { tools } = await client.listTools()
    await client.close()
    return tools.length > 0
  } catch {
    return false
  }
}

describe.each(officialSuites.map((suite) => [suite.name, suite] as const))('the official suite %s', (_name, suite) => {
  const ways: readonly [string, () => string][] = [
    ['passes without us', () => `http://127.0.0.1:${fixture.port}/mcp`],
    ['passes through n1 for an HTTP server on n2', () => urlOf('http')],
    ['passes through n1 for a stdio server on n2', () => urlOf('stdio')],
  ]
  it.each(ways)('%s', async (_name, url) => {
    const findings = await runOfficialSuite(suite, url())
    expect(findings.wrong).toEqual([])
    expect(findings.scenarios).toHaveLength(suite.scenarios)
  })
})
