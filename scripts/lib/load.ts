/**
 * The load generator, a process of its own: takes one LoadPlan by message, warms up, says `measuring`, keeps that many
 * calls in flight until time or count is over, says what it measured, and ends.
 */
import { callTool, createAgent, openSession } from './raw-mcp.ts'
import { quantile } from './table.ts'

export type LoadPlan = {
  url: string
  tool: string
  bytes: number
  concurrency: number
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
  | { kind: 'measuring' }
  | { kind: 'measured'; result: LoadResult }
  | { kind: 'failed'; reason: string }

async function run(plan: LoadPlan): Promise<LoadResult> {
  const agent = createAgent(plan.concurrency)
  try {
    const session = await openSession(plan.url, agent)
    const text = 'x'.repeat(plan.bytes)
    let id = 0
    const call = (): Promise<string | null> =>
      callTool(session, { id: (id += 1), name: plan.tool, arguments: { text } })
    const inFlight = (loop: () => Promise<void>): Promise<void[]> =>
      Promise.all(Array.from({ length: plan.concurrency }, loop))

    const warmEnd = performance.now() + plan.warmupMs
    await inFlight(async () => {
      while (performance.now() < warmEnd) await call()
    })
    process.send?.({ kind: 'measuring' } satisfies LoadMessage)
    const times: number[] = []
    let failed = 0
    let failure = ''
    const start = performance.now()
    await inFlight(async () => {
      for (let sent = performance.now(); sent - start < plan.measureMs && times.length < plan.callsMax;) {
        const wrong = await call()
        const now = performance.now()
        times.push(now - sent)
        if (wrong !== null) {
          failed += 1
          failure ||= wrong
        }
        sent = now
      }
    })
    const seconds = (performance.now() - start) / 1000
    return { calls: times.length, failed, failure, seconds, p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) }
  } finally {
    await agent.destroy()
  }
}

process.once('message', (plan: LoadPlan) => {
  const answer = (message: LoadMessage): void => void process.send?.(message, () => process.disconnect())
  run(plan).then(
    (result) => answer({ kind: 'measured', result }),
    (cause: unknown) => answer({ kind: 'failed', reason: cause instanceof Error ? cause.message : String(cause) }),
  )
})
