/**
 * The branded identifiers that every folder shares. A brand costs nothing at run time; it keeps a node's id from being
 * passed where a server's name is meant.
 */
declare const brand: unique symbol
type Brand<Base, Name extends string> = Base & { readonly [brand]: Name }

/** Permanent id of a node: 1-64 characters of `A-Z a-z 0-9 . _ -`, compared bytewise. */
export type NodeId = Brand<string, 'NodeId'>

/** Identity of the cluster, made once when it forms (a UUID). */
export type ClusterId = Brand<string, 'ClusterId'>

/** Name of an MCP server as registered: 1-48 characters of `A-Z a-z 0-9 _ -`. */
export type ServerName = Brand<string, 'ServerName'>

/** One MCP request from client to result; unique in the cluster: `{node}.{generation}.{counter}`. */
export type CallId = Brand<string, 'CallId'>

/** One MCP session of the legacy era: a random UUID in lower case. Whoever knows it may use the session, so it is never logged whole. */
export type SessionId = Brand<string, 'SessionId'>

/**
 * A server's question to a client (sampling, elicitation, roots, ...), as the client sees its id and its progress token:
 * `q.{node}.{generation}.{counter}.{random}`. The node is where the upstream is that waits for the answer.
 */
export type QuestionId = Brand<string, 'QuestionId'>

/** One proposal; unique in the cluster: `{node}.{generation}.{counter}`. The empty id marks entries nobody waits for. */
export type ProposalId = Brand<string, 'ProposalId'>

const nodeIdPattern = /^[A-Za-z0-9._-]{1,64}$/
const sessionIdPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const serverNamePattern = /^[A-Za-z0-9_-]{1,48}$/

/** Names that the gateway keeps for itself (paths `/mcp/group/...`, tools `quorate__...`). */
export const reservedServerNames: readonly string[] = ['quorate', 'group']

export function isNodeId(text: string): text is NodeId {
  return nodeIdPattern.test(text)
}

export function isSessionId(text: string): text is SessionId {
  return sessionIdPattern.test(text)
}

export function isServerName(text: string): text is ServerName {
  return serverNamePattern.test(text) && !text.includes('__') && !reservedServerNames.includes(text)
}

/** Bytewise order (code units; ids are ASCII): the one order in which ids are ever iterated. */
export function compareIds(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
