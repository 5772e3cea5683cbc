import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { describe, expect, it, onTestFinished } from 'vitest'
import { asJsonText } from '../../src/std/json-text.ts'
import { offer, replica, tools } from '../routing/replicas.ts'
import { waitFor } from '../wait.ts'
import type { SessionId } from '../../src/vocabulary/ids.ts'
import { echo, eventsOf, filesReplica, openSession, sqlReplica, startGateway } from './gateway-under-test.ts'

// The official SDK's client as the judge of what goes over the wire.
async function connectClient(url: string, changed: string[] = []): Promise<Client> {
  const onChanged = (list: string) => ({ autoRefresh: false, debounceMs: 0, onChanged: () => void changed.push(list) })
  const client = new Client(
    { name: 'judge', version: '1' },
    { listChanged: { tools: onChanged('tools'), resources: onChanged('resources'), prompts: onChanged('prompts') } },
  )
  await client.connect(new StreamableHTTPClientTransport(new URL(url)))
  onTestFinished(() => client.close())
  return client
}

describe('the SDK’s client', () => {
  it('initializes, pings, lists and calls on /mcp', async () => {
    const under = await startGateway({ perform: echo })
    const client = await connectClient(under.url)
    expect(client.getServerVersion()).toEqual({ name: 'quorate', version: '0.0.1' })
    expect(client.getInstructions()).toContain('two underscores')
    await client.ping()
    expect((await client.listTools()).tools.map((tool) => tool.name)).toEqual([
      'files__read',
      'files__wait',
      'sql__query',
    ])
    expect((await client.listPrompts()).prompts.map((prompt) => prompt.name)).toEqual(['sql__explain'])
    expect((await client.listResources()).resources.map((resource) => resource.uri)).toEqual(['file:///a'])
    expect((await client.listResourceTemplates()).resourceTemplates.map((each) => each.uriTemplate)).toEqual([
      'file:///deep/{name}',
    ])
    const result = await client.callTool({ name: 'sql__query', arguments: { sql: 'select 1' } })
    expect(result.structuredContent).toEqual({ name: 'query', arguments: { sql: 'select 1' } })
    expect(under.sessions.all()).toMatchObject([
      { path: '/mcp', protocolVersion: '2025-11-25', clientInfo: '{"name":"judge","version":"1"}' },
    ])
  })

  it('sees one server under its own names on /mcp/{server}', async () => {
    const under = await startGateway({ perform: echo })
    const client = await connectClient(`${under.url}/files`)
    expect(client.getServerCapabilities()).toEqual({ tools: { listChanged: true }, resources: { listChanged: true } })
    expect((await client.listTools()).tools.map((tool) => tool.name)).toEqual(['read', 'wait'])
    const result = await client.callTool({ name: 'read', arguments: {} })
    expect(result.structuredContent).toEqual({ name: 'read', arguments: {} })
  })

  it('reads resources and gets prompts', async () => {
    const under = await startGateway({
      perform: ({ call, end }) =>
        end({
          kind: 'result',
          result: asJsonText(
            call.method === 'prompts/get' ? '{"messages":[]}' : '{"contents":[{"uri":"file:///a","text":"A"}]}',
          ),
        }),
    })
    const client = await connectClient(under.url)
    expect(await client.readResource({ uri: 'file:///a' })).toEqual({ contents: [{ uri: 'file:///a', text: 'A' }] })
    expect(await client.getPrompt({ name: 'sql__explain' })).toEqual({ messages: [] })
    expect(under.calls.map(({ call }) => [call.server, call.params])).toEqual([
      ['files', '{"uri":"file:///a"}'],
      ['sql', '{"name":"explain"}'],
    ])
    await expect(client.readResource({ uri: 'file:///b' })).rejects.toMatchObject({ code: -32_002 })
  })

  it('gets every progress notification in order, then the result', async () => {
    const under = await startGateway({
      perform: ({ call, notify, end }) => {
        const { _meta } = JSON.parse(call.params) as { _meta: { progressToken: unknown } }
        const token = JSON.stringify(_meta.progressToken)
        for (let at = 1; at <= 100; at += 1)
          notify({
            method: 'notifications/progress',
            params: asJsonText(`{"progressToken":${token},"progress":${at},"total":100}`),
          })
        end({ kind: 'result', result: asJsonText('{"content":[{"type":"text","text":"done"}]}') })
      },
    })
    const client = await connectClient(under.url)
    const seen: number[] = []
    const result = await client.callTool({ name: 'files__wait' }, undefined, {
      onprogress: (progress) => seen.push(progress.progress),
    })
    expect(seen).toEqual(Array.from({ length: 100 }, (_, at) => at + 1))
    expect(result.content).toEqual([{ type: 'text', text: 'done' }])
  })

  it('cancels its own call and no other, and can go on', async () => {
    const under = await startGateway()
    const [one, two] = [await connectClient(under.url), await connectClient(under.url)]
    const cancellation = new AbortController()
    const cancelled = one.callTool({ name: 'files__wait' }, undefined, { signal: cancellation.signal })
    const other = two.callTool({ name: 'files__wait' })
    await waitFor('both calls', () => under.calls.length === 2)
    const errors: Error[] = []
    Object.assign(one, { onerror: (error: Error) => errors.push(error) })
    cancellation.abort('enough')
    await expect(cancelled).rejects.toThrow('enough')
    const aborted = await waitFor('the cancel to arrive', () => under.calls.find((call) => call.signal.aborted))
    for (const call of under.calls) call.end({ kind: 'result', result: asJsonText('{"content":[]}') })
    expect(await other).toEqual({ content: [] })
    expect(under.calls.filter((call) => call.signal.aborted)).toEqual([aborted])
    await one.ping()
    expect(errors).toEqual([])
  })

  it('pages through a long list', async () => {
    const names = Array.from({ length: 450 }, (_, at) => `t${at}`)
    const under = await startGateway({
      replicas: [replica({ server: 's', node: 'n1', offer: offer({ tools: tools(...names) }) })],
    })
    const client = await connectClient(under.url)
    const seen: string[] = []
    let cursor: string | undefined
    do {
      const page = await client.listTools(cursor === undefined ? {} : { cursor })
      seen.push(...page.tools.map((tool) => tool.name))
      cursor = page.nextCursor
    } while (cursor !== undefined)
    expect(seen).toEqual(names.map((name) => `s__${name}`).sort())
  })
})

describe('list_changed', () => {
  const moreTools = { ...filesReplica, offer: offer({ ...filesReplica.offer, tools: tools('read') }) }

  it('is told once for each list that really changed, to the sessions that see it', async () => {
    const under = await startGateway()
    const [all, files, sql]: [string[], string[], string[]] = [[], [], []]
    await connectClient(under.url, all)
    await connectClient(`${under.url}/files`, files)
    await connectClient(`${under.url}/sql`, sql)
    await waitFor('the streams', () => under.gateway.counters().streams === 3)
    under.show([moreTools, sqlReplica])
    await waitFor('the change', () => all.length === 1 && files.length === 1)
    // The same offer on one node more is no change for clients; a server that goes is one for all its lists.
    under.show([moreTools, sqlReplica, replica({ server: 'sql', node: 'n3', offer: sqlReplica.offer })])
    under.show([moreTools])
    await waitFor('the second change', () => all.length === 3 && sql.length === 2)
    expect([all.toSorted(), files, sql.toSorted()]).toEqual([
      ['prompts', 'tools', 'tools'],
      ['tools'],
      ['prompts', 'tools'],
    ])
  })

  it('is owed to a session that does not listen yet', async () => {
    const under = await startGateway()
    const session = await openSession(under.url)
    under.show([moreTools])
    under.show([moreTools, sqlReplica])
    const stream = await session.listen()
    under.sessions.end(session.id as SessionId)
    expect(eventsOf(await stream.text())).toEqual([{ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }])
  })
})
