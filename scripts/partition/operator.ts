/** What an operator asks of the cluster in a scenario, of any node that answers. */
import { waitFor } from '../../test/wait.ts'
import type { NodeTarget } from './types.ts'

const answeredMs = 30_000
const requestMs = 10_000

export async function makeJoinToken(nodes: readonly NodeTarget[]): Promise<string> {
  const made = await ask(nodes, { method: 'POST', path: '/v1/tokens', body: { expiresInMs: 600_000, uses: 1 } })
  return String(made['token'])
}

export async function askToLeave(nodes: readonly NodeTarget[], id: string): Promise<void> {
  await ask(nodes, { method: 'POST', path: `/v1/nodes/${id}/leave`, body: {} })
}

export async function askToDrain(nodes: readonly NodeTarget[], id: string): Promise<void> {
  await ask(nodes, { method: 'POST', path: `/v1/nodes/${id}/drain`, body: {} })
}

export async function askToServeAgain(nodes: readonly NodeTarget[], id: string): Promise<void> {
  await ask(nodes, { method: 'DELETE', path: `/v1/nodes/${id}/drain`, body: null })
}

type Asked = { readonly method: string; readonly path: string; readonly body: object | null }

/** One node after the other, until one says that it is done. */
async function ask(nodes: readonly NodeTarget[], { method, path, body }: Asked): Promise<Record<string, unknown>> {
  let last = 'nobody was asked'
  let turn = 0
  return waitFor(
    () => `${method} ${path} to be done: ${last}`,
    async () => {
      const node = nodes[turn % nodes.length]
      turn += 1
      if (node === undefined) return null
      try {
        const response = await fetch(`${node.url}${path}`, {
          method,
          ...(body === null ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
          signal: AbortSignal.timeout(requestMs),
        })
        const text = await response.text()
        last = `${node.id}: ${response.status} ${text.slice(0, 300)}`
        return response.ok ? (JSON.parse(text) as Record<string, unknown>) : null
      } catch (error) {
        last = `${node.id}: ${error instanceof Error ? error.message : String(error)}`
        return null
      }
    },
    answeredMs,
  )
}
