/**
 * Who shares an upstream. Places in the list are numbers on the disk. `session`: each client session has its own. `asking`: each session whose client can be asked
 * (sampling, elicitation, roots) has its own, the others share one.
 */
export const isolations = ['shared', 'session', 'asking'] as const
export type Isolation = (typeof isolations)[number]

/** Whether a session has an upstream of the server to itself. `asks`: its client can be asked. */
export function isIsolated(isolation: Isolation, session: { readonly asks: boolean } | null): boolean {
  return session !== null && (isolation === 'session' || (isolation === 'asking' && session.asks))
}

/** Whether a client with these capabilities can be asked by a server. */
export function canBeAsked(capabilities: Readonly<Record<string, unknown>>): boolean {
  return ['sampling', 'elicitation', 'roots'].some((name) => capabilities[name] !== undefined)
}
