/**
 * Real nodes on bad networks: plays scenarios of scripts/partition/scenarios against a cluster of processes whose links go
 * through proxies with faults, while clients write, read and call; then checks what they were told.
 *
 *   partition isolate-leader ring      these (names, or files)
 *   partition --all | --short          every one, or the few that CI runs
 *   partition --list                   what there is
 *   partition ... --seed 7             of the workload, of loss and of storms (default: the time)
 *   partition ... --repeat 10          each so often, with the seeds that follow
 *   partition ... --json               a summary a line, for other programs
 *   partition ... --keep               leaves logs and data of each run, and says where
 *   partition ... --weaken WHAT        makes the subject of a check weak, or puts a bug into the nodes, to see it fail
 *   partition ... --prove              each with what its file says that it fails with: passes when a check fails
 *
 * Exit code 1: a check failed (--prove: none did). 2: wrong usage.
 */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { checkRun } from './partition/checks.ts'
import { buildMutant, isMutant } from './partition/mutants.ts'
import { runScenario } from './partition/run.ts'
import { parseScenario, type Scenario } from './partition/scenario.ts'
import { printSummary, summarize } from './partition/summary.ts'
import { weakenings, type Summary, type Weakening } from './partition/types.ts'

const folder = path.join(import.meta.dirname, 'partition/scenarios')
const shortSet = ['isolate-leader', 'one-way-from-leader', 'kill-restart']

type Chosen = { readonly name: string; readonly scenario: Scenario }

const usage = `usage: partition [SCENARIO...|--list|--all|--short] [--seed N] [--repeat N] [--json] [--keep] [--weaken WHAT] [--prove]
WHAT is the name of a mutant (scripts/partition/mutants.ts), or one of:
${Object.entries(weakenings)
  .map(([name, about]) => `  ${name.padEnd(16)} ${about}`)
  .join('\n')}`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      list: { type: 'boolean', default: false },
      all: { type: 'boolean', default: false },
      short: { type: 'boolean', default: false },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      repeat: { type: 'string', default: '1' },
      json: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      weaken: { type: 'string' },
      prove: { type: 'boolean', default: false },
    },
  })
  const names = values.all || values.list ? namesOfAll() : values.short ? shortSet : positionals
  const [seed, repeat] = [wholeOf(values.seed), wholeOf(values.repeat)]
  const weaken = values.weaken ?? null
  if (names.length === 0 || seed === null || repeat === null || !(weaken === null || isFlaw(weaken))) {
    console.error(usage)
    return 2
  }
  const chosen = names.map(read)
  if (values.list) {
    for (const { name, scenario } of chosen) console.log(`${name.padEnd(22)} ${scenario.about}`)
    return 0
  }
  const { json: isJson, keep: isKept } = values
  const failed: string[] = []
  for (const each of chosen) {
    const flaw = values.prove ? each.scenario.failsWith : weaken
    if (values.prove && (flaw === null || !isFlaw(flaw))) {
      console.error(`${each.name} does not say what it fails with`)
      return 2
    }
    const outcome = await withFlaw(flaw, async (flawed) => {
      const play = (turn: number): Promise<Summary> => playOne(each, { seed: seed + turn, isKept, isJson, ...flawed })
      return values.prove ? proveOne(play) : repeatOne(play, repeat)
    })
    failed.push(...outcome.map((what) => `${each.name} ${what}${flaw === null ? '' : ` --weaken ${flaw}`}`))
  }
  for (const each of failed) console.error(`${values.prove ? 'not caught' : 'failed'}: partition ${each}`)
  return failed.length === 0 ? 0 : 1
}

/** Runs with a flaw that is left to chance; whether it shows may need more than one. */
const proofsMax = 3

/** Answers what did not fail, which is nothing or one line. */
async function proveOne(play: (turn: number) => Promise<Summary>): Promise<string[]> {
  for (let turn = 0; turn < proofsMax; turn += 1) {
    const { isOk, checks, scenario } = await play(turn)
    const caught = checks.flatMap(({ check, isOk: isGood }) => (isGood ? [] : [check]))
    if (!isOk) console.error(`${scenario} is caught by ${caught.join(', ')}`)
    if (!isOk) return []
  }
  return [`in ${proofsMax} runs`]
}

/** Answers what failed. */
async function repeatOne(play: (turn: number) => Promise<Summary>, repeat: number): Promise<string[]> {
  const failed: string[] = []
  for (let turn = 0; turn < repeat; turn += 1) {
    const { isOk, seed } = await play(turn)
    if (!isOk) failed.push(`--seed ${seed}`)
  }
  return failed
}

type Flawed = { readonly weaken: Weakening | null; readonly cli?: string }

async function withFlaw<T>(flaw: string | null, work: (flawed: Flawed) => Promise<T>): Promise<T> {
  if (flaw === null || isWeakening(flaw)) return work({ weaken: flaw })
  const { cli, remove } = await buildMutant(flaw)
  try {
    return await work({ weaken: null, cli })
  } finally {
    await remove()
  }
}

type PlayOneOptions = Flawed & {
  readonly seed: number
  readonly isKept: boolean
  readonly isJson: boolean
}

async function playOne(chosen: Chosen, { isJson, ...options }: PlayOneOptions): Promise<Summary> {
  const began = (dir: string): void => void (options.isKept && console.error(`${chosen.name}: ${dir}`))
  const run = await runScenario({ ...chosen, ...options, began })
  const summary = summarize(run, checkRun(run))
  console.log(isJson ? JSON.stringify(summary) : printSummary(run, summary))
  return summary
}

function namesOfAll(): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.txt'))
    .map((file) => file.slice(0, -'.txt'.length))
    .toSorted()
}

/** By name, or by the path of a file. */
function read(name: string): Chosen {
  const file = name.endsWith('.txt') ? name : path.join(folder, `${name}.txt`)
  try {
    return { name: path.basename(file, '.txt'), scenario: parseScenario(readFileSync(file, 'utf8')) }
  } catch (error) {
    console.error(`${file}: ${error instanceof Error ? error.message : String(error)}`)
    process.exit(2)
  }
}

function wholeOf(text: string): number | null {
  const value = Number(text)
  return Number.isSafeInteger(value) && value >= 0 ? value : null
}

function isFlaw(name: string): boolean {
  return isWeakening(name) || isMutant(name)
}

function isWeakening(text: string): text is Weakening {
  return Object.hasOwn(weakenings, text)
}

// Ends the nodes on the way out.
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))
process.exitCode = await main()
