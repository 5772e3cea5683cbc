/**
 * Plays simulated clusters from seeds: real cores and real drivers on a simulated clock, network, disk and process.
 *
 *   simulate --seeds 200 --from 1    many, up to the first that breaks a claim (--keep-going: all)
 *   simulate --seed 17               one, with what happened in it
 *   simulate --plan file.json        a plan that was printed
 *   simulate --shrink 17             makes the plan of a failing seed small, and prints it
 *   simulate --joins ...             the plans in which nodes join and autopilot decides who votes
 *   simulate --json                  ends with a line for other programs
 *   simulate --report                also tells how fast it goes and what the lives were like
 *
 * Exit code 1: a claim broke.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { drawJoiningPlan } from '../test/simulation/autopilot-plan.ts'
import { drawPlan as drawChangingPlan } from '../test/simulation/plan.ts'
import type { Plan } from '../test/simulation/plan.ts'
import { shrink } from '../test/simulation/shrink.ts'
import { simulate } from '../test/simulation/simulation.ts'
import type { Outcome } from '../test/simulation/simulation.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    plan: { type: 'string' },
    shrink: { type: 'string' },
    report: { type: 'boolean', default: false },
    lines: { type: 'string', default: '150' },
    'keep-going': { type: 'boolean', default: false },
    joins: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})

const drawPlan = values.joins ? drawJoiningPlan : drawChangingPlan

/** Plays it with its trace, and prints the end of that. */
async function replay(plan: Plan): Promise<boolean> {
  const outcome = await simulate(plan, { traced: true })
  const { faults, ...rest } = plan
  console.log(`${JSON.stringify(rest)}, ${faults.length} faults`)
  const lines = Number(values.lines)
  if (outcome.trace.length > lines) console.log(`... ${outcome.trace.length - lines} lines before (--lines)`)
  for (const line of outcome.trace.slice(-lines)) console.log(line)
  console.log(describe(plan.seed, outcome))
  return tell(1, outcome.violation === null ? [] : [{ seed: plan.seed, claim: outcome.violation.claim }])
}

async function playMany(from: number, count: number): Promise<boolean> {
  const started = performance.now()
  const total = new Map<string, number>()
  const add = (name: string, value: number): void => void total.set(name, (total.get(name) ?? 0) + value)
  let played = 0
  const failed: { seed: number; claim: string }[] = []
  for (let seed = from; seed < from + count; seed += 1) {
    const outcome = await simulate(drawPlan(seed))
    played += 1
    add('events', outcome.events)
    add('simulated s', outcome.virtualMs / 1000)
    for (const [name, value] of Object.entries(outcome.counts)) add(name, value)
    if (outcome.violation === null) continue
    failed.push({ seed, claim: outcome.violation.claim })
    console.log(describe(seed, outcome))
    const again = await simulate(drawPlan(seed))
    console.log(
      again.hash === outcome.hash
        ? `  the same when played again; simulate --shrink ${seed}`
        : `  NOT the same when played again: ${again.hash}`,
    )
    if (!values['keep-going']) break
  }
  const seconds = (performance.now() - started) / 1000
  console.log(`${played} seeds, ${failed.length} failed, ${seconds.toFixed(1)} s`)
  if (values.report) report(total, played, seconds)
  return tell(played, failed)
}

function tell(played: number, failed: readonly { seed: number; claim: string }[]): boolean {
  if (values.json) console.log(JSON.stringify({ played, failed }))
  return failed.length === 0
}

function report(total: ReadonlyMap<string, number>, played: number, seconds: number): void {
  const rate = (name: string): string => Math.round((total.get(name) ?? 0) / seconds).toString()
  console.log(
    `${(played / seconds).toFixed(1)} seeds/s, ${rate('events')} events/s, ${rate('simulated s')} simulated s/s`,
  )
  const means = [...total].map(([name, value]) => `${(value / played).toFixed(1)} ${name}`)
  console.log(`a seed on average: ${means.join(', ')}`)
}

async function printShrunk(seed: number): Promise<boolean> {
  const shrunk = await shrink(drawPlan(seed), (line) => console.error(line))
  if (shrunk === null) {
    console.log(`seed ${seed} breaks no claim`)
    return true
  }
  const { faults, ...rest } = shrunk.plan
  console.log(`${JSON.stringify(rest).slice(0, -1)},"faults":[`)
  console.log(`${faults.map((fault) => `  ${JSON.stringify(fault)}`).join(',\n')}\n]}`)
  console.log(describe(seed, shrunk.outcome))
  return false
}

function describe(seed: number, outcome: Outcome): string {
  const { violation, hash, events } = outcome
  if (violation === null) return `seed ${seed}: clean, ${events} events, hash ${hash}`
  const at = `${(violation.atUs / 1000).toFixed(1)} ms, event ${violation.event}, hash ${hash}`
  return `seed ${seed}: ${violation.claim}: ${violation.detail} (${at})`
}

async function main(): Promise<boolean> {
  if (values.shrink !== undefined) return printShrunk(Number(values.shrink))
  if (values.plan !== undefined) return replay(JSON.parse(readFileSync(values.plan, 'utf8')) as Plan)
  if (values.seed !== undefined) return replay(drawPlan(Number(values.seed)))
  return playMany(Number(values.from), Number(values.seeds))
}

process.exitCode = (await main()) ? 0 : 1
