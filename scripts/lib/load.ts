/**
 * The load generator, a process of its own: takes one LoadPlan by message, opens its sessions, warms up, says
 * `measuring`, keeps one call of each session in flight until time or count is over, says what it measured, and ends.
 */
import { callTool, closeSession, createAgent, openSession, type RawSession } from './raw-mcp.ts'
import { RawStdio, type StdioCommand } from './raw-stdio.ts'
import { quantile } from './table.ts'

export type LoadPlan = {
  /** A URL, or a process whose one pipe all sessions share. */
  target: string | StdioCommand
  tool: string
  bytes: number
  sessions: number
  warmupMs: number
  measureMs: number
  callsMax: number
}
export type LoadResult = {
  calls: number
  failed: number
  /** The first thing that went wrong; '' when nothing did. */
  failure: string
  seconds: number
  p50Ms: number
  p99Ms: number
}
export type LoadMessage =
  /** `pid`: of the process that the load started itself, if it did. */
  | { kind: 'measuring'; pid: number | null }
  | { kind: 'measured'; result: LoadResult }
  | { kind: 'failed'; reason: string }

type Caller = { call(): Promise<string | null> }
type Callers = { callers: Caller[]; pid: number | null; close(): Promise<void> }

/** So many of the last calls are remembered for the quantiles. */
const timesMax = 200_000
/** So many sessions are opened at once. */
const openingMax = 16

async function openCallers({ target, tool, bytes, sessions }: LoadPlan): Promise<Callers> {
  const input = { text: 'x'.repeat(bytes) }
  if (typeof target !== 'string') {
    const client = await RawStdio.open(target)
    const callers = Array.from({ length: sessions }, () => ({ call: () => client.call(tool, input) }))
    return { callers, pid: client.pid, close: () => client.close() }
  }
  const agent = createAgent(sessions)
  const opened: RawSession[] = []
  while (opened.length < sessions) {
    const count = Math.min(openingMax, sessions - opened.length)
    opened.push(...(await Promise.all(Array.from({ length: count }, () => openSession(target, agent)))))
  }
  const callers = opened.map((session) => {
    let id = 0
    return { call: () => callTool(session, { id: (id += 1), name: tool, arguments: input }) }
  })
  const close = async (): Promise<void> => {
    await Promise.all(opened.map(closeSession))
    await agent.destroy()
  }
  return { callers, pid: null, close }
}

async function run(plan: LoadPlan): Promise<LoadResult> {
  const opened = await openCallers(plan)
  const { callers, pid } = opened
  try {
    const inFlight = (loop: (caller: Caller) => Promise<void>): Promise<void[]> => Promise.all(callers.map(loop))
    const warmEnd = performance.now() + plan.warmupMs
    await inFlight(async (caller) => {
      while (performance.now() < warmEnd) await caller.call()
    })
    process.send?.({ kind: 'measuring', pid } satisfies LoadMessage)
    const times: number[] = []
    let calls = 0
    let failed = 0
    let failure = ''
    const start = performance.now()
    await inFlight(async (caller) => {
      for (let sent = performance.now(); sent - start < plan.measureMs && calls < plan.callsMax;) {
        calls += 1
        const wrong = await caller.call()
        const now = performance.now()
        times[calls % timesMax] = now - sent
        if (wrong !== null) {
          failed += 1
          failure ||= wrong
        }
        sent = now
      }
    })
    const seconds = (performance.now() - start) / 1000
    const told = times.filter((time) => time !== undefined)
    return { calls, failed, failure, seconds, p50Ms: quantile(told, 0.5), p99Ms: quantile(told, 0.99) }
  } finally {
    await opened.close()
  }
}

process.once('message', (plan: LoadPlan) => {
  const answer = (message: LoadMessage): void => void process.send?.(message, () => process.disconnect())
  run(plan).then(
    (result) => answer({ kind: 'measured', result }),
    (cause: unknown) => answer({ kind: 'failed', reason: cause instanceof Error ? cause.message : String(cause) }),
  )
})
