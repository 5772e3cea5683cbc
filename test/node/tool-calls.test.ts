import { describe, expect, it } from 'vitest'
import type { Outcome } from '../../src/calls/call.ts'
import { ToolCalls } from '../../src/node/tool-calls.ts'
import { buildCatalog } from '../../src/routing/catalog.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { CallId } from '../../src/vocabulary/ids.ts'
import { offer, replica } from '../routing/replicas.ts'

const tools = '[{"name":"read","inputSchema":{"type":"object"}}]'
const catalog = buildCatalog([replica({ server: 'files', node: 'n1', offer: offer({ tools }) })])

/** Calls that end only when they are cancelled. */
function makeToolCalls(): ToolCalls {
  return new ToolCalls({
    calls: {
      call: (_call, { cancelled }) =>
        new Promise<Outcome>((resolve) => {
          cancelled.addEventListener('abort', () => resolve({ kind: 'cancelled' }))
        }),
    },
    catalog: () => catalog,
    nextCallId: () => 'n1.1.1' as CallId,
  })
}

describe('a call of a tool without a session', () => {
  const call = { name: 'files__read', arguments: asJsonText('{}'), timeoutMs: null }

  it('that the node ends may have been done', async () => {
    const toolCalls = makeToolCalls()
    const ended = toolCalls.call({ ...call, signal: new AbortController().signal })
    toolCalls.abandon()
    await expect(ended).rejects.toMatchObject({ code: 'outcome-unknown', retry: 'outcome-unknown' })
  })

  it('is cancelled when whoever asked goes away', async () => {
    const client = new AbortController()
    const ended = makeToolCalls().call({ ...call, signal: client.signal })
    client.abort()
    await expect(ended).rejects.toMatchObject({ code: 'cancelled' })
  })
})
