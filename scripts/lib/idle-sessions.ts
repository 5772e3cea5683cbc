/**
 * Holds idle sessions of one URL, and a standalone stream of some, in a process of its own: takes one IdlePlan by message,
 * says `held` when all are there, and holds them until its message channel closes.
 */
import { request } from 'undici'
import { createAgent, openSession, type RawSession } from './raw-mcp.ts'

export type IdlePlan = { url: string; sessions: number; streams: number }
export type IdleMessage = { kind: 'held'; sessions: number; streams: number } | { kind: 'failed'; reason: string }

const openingMax = 16

async function hold({ url, sessions, streams }: IdlePlan): Promise<IdleMessage> {
  const agent = createAgent(openingMax)
  const opened: RawSession[] = []
  while (opened.length < sessions) {
    const count = Math.min(openingMax, sessions - opened.length)
    opened.push(...(await Promise.all(Array.from({ length: count }, () => openSession(url, agent)))))
  }
  // No time-out: nothing is said on an idle stream but a comment now and then.
  const streamAgent = createAgent(streams)
  let held = 0
  for (const session of opened.slice(0, streams)) {
    const headers = { accept: 'text/event-stream', 'mcp-session-id': session.id ?? '' }
    const response = await request(url, { dispatcher: streamAgent, headers, headersTimeout: 0, bodyTimeout: 0 })
    if (response.statusCode !== 200) throw new Error(`a stream was refused with ${response.statusCode}`)
    response.body.on('error', () => (held -= 1)).resume()
    held += 1
  }
  await agent.destroy()
  return { kind: 'held', sessions: opened.length, streams: held }
}

process.once('message', (plan: IdlePlan) => {
  hold(plan).then(
    (message) => process.send?.(message),
    (cause: unknown) =>
      process.send?.({ kind: 'failed', reason: cause instanceof Error ? cause.message : String(cause) }),
  )
})
process.on('disconnect', () => process.exit(0))
