import { asJsonText } from '../../src/std/json-text.ts'
import type { Member, Replica } from '../../src/state/command.ts'
import type { NodeId, ServerName } from '../../src/vocabulary/ids.ts'
import type { Offer } from '../../src/vocabulary/offer.ts'

/** Replicas, offers and members for tests, with what a test does not care about filled in. */
export function replica(
  given: {
    server: string
    node: string
    generation?: number
    status?: Replica['status']
    reason?: string
    priority?: number
    offer?: Offer | null
  } & Partial<Pick<Replica, 'isolation' | 'whenUnavailable' | 'groups'>>,
): Replica {
  return {
    node: given.node as NodeId,
    generation: given.generation ?? 1,
    server: given.server as ServerName,
    transport: 'stdio',
    status: given.status ?? 'ready',
    reason: given.reason ?? '',
    priority: given.priority ?? 0,
    offer: given.offer ?? null,
    isolation: given.isolation ?? 'shared',
    whenUnavailable: given.whenUnavailable ?? 'keep',
    groups: given.groups ?? [],
  }
}

export function offer(lists: Partial<Record<keyof Offer, string>>): Offer {
  return {
    initialize: asJsonText(lists.initialize ?? '{"capabilities":{"tools":{},"resources":{},"prompts":{}}}'),
    tools: asJsonText(lists.tools ?? '[]'),
    resources: asJsonText(lists.resources ?? '[]'),
    resourceTemplates: asJsonText(lists.resourceTemplates ?? '[]'),
    prompts: asJsonText(lists.prompts ?? '[]'),
  }
}

/** JSON text of tools with these names. */
export function tools(...names: string[]): string {
  return JSON.stringify(names.map((name) => ({ name, inputSchema: { type: 'object' } })))
}

export function member(node: string, generation = 1): Member {
  return {
    node: node as NodeId,
    generation,
    addresses: { http: '', peer: '', raft: '' },
    labels: {},
    version: '0',
    startedAt: 0,
  }
}
