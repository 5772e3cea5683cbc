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
 *   partition ... --weaken WHAT        makes the subject of a check weak, to see it fail
 *
 * Exit code 1: a check failed. 2: wrong usage.
 */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { checkRun } from './partition/checks.ts'
import { runScenario } from './partition/run.ts'
import { parseScenario, type Scenario } from './partition/scenario.ts'
import { printSummary, summarize } from './partition/summary.ts'
import { weakenings, type Weakening } from './partition/types.ts'

const folder = path.join(import.meta.dirname, 'partition/scenarios')
const shortSet = ['isolate-leader', 'one-way-from-leader', 'kill-restart']

type Chosen = { readonly name: string; readonly scenario: Scenario }

const usage = `usage: partition [SCENARIO...|--list|--all|--short] [--seed N] [--repeat N] [--json] [--keep] [--weaken WHAT]
WHAT is one of:
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
    },
  })
  const names = values.all || values.list ? namesOfAll() : values.short ? shortSet : positionals
  const [seed, repeat] = [wholeOf(values.seed), wholeOf(values.repeat)]
  const weaken = values.weaken ?? null
  if (names.length === 0 || seed === null || repeat === null || !(weaken === null || isWeakening(weaken))) {
    console.error(usage)
    return 2
  }
  const chosen = names.map(read)
  if (values.list) {
    for (const { name, scenario } of chosen) console.log(`${name.padEnd(22)} ${scenario.about}`)
    return 0
  }
  const failed: string[] = []
  for (const each of chosen) {
    for (let turn = 0; turn < repeat; turn += 1) {
      const options = { seed: seed + turn, weaken, isKept: values.keep }
      const isOk = await playOne(each, { ...options, isJson: values.json })
      if (!isOk) failed.push(`${each.name} --seed ${options.seed}`)
    }
  }
  const total = chosen.length * repeat
  if (!values.json && total > 1) console.log(`${total - failed.length} of ${total} runs passed`)
  for (const each of failed) console.error(`failed: partition ${each}${weaken === null ? '' : ` --weaken ${weaken}`}`)
  return failed.length === 0 ? 0 : 1
}

type PlayOneOptions = {
  readonly seed: number
  readonly weaken: Weakening | null
  readonly isKept: boolean
  readonly isJson: boolean
}

async function playOne(chosen: Chosen, { isJson, ...options }: PlayOneOptions): Promise<boolean> {
  const began = (dir: string): void => void (options.isKept && console.error(`${chosen.name}: ${dir}`))
  const run = await runScenario({ ...chosen, ...options, began })
  const summary = summarize(run, checkRun(run))
  console.log(isJson ? JSON.stringify(summary) : printSummary(run, summary))
  return summary.isOk
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

function isWeakening(text: string): text is Weakening {
  return Object.hasOwn(weakenings, text)
}

// Ends the nodes on the way out.
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))
process.exitCode = await main()
