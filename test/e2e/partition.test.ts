import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkRun } from '../../scripts/partition/checks.ts'
import { runScenario } from '../../scripts/partition/run.ts'
import { parseScenario } from '../../scripts/partition/scenario.ts'
import { printSummary, summarize } from '../../scripts/partition/summary.ts'
import type { Run, Weakening } from '../../scripts/partition/types.ts'

// The few scenarios of scripts/partition that need less than a minute together, and what the runner itself has to notice.
const folder = path.resolve(import.meta.dirname, '../../scripts/partition/scenarios')

function play(name: string): Promise<Run> {
  return playText(name, readFileSync(path.join(folder, `${name}.txt`), 'utf8'), null)
}

function playText(name: string, text: string, weaken: Weakening | null): Promise<Run> {
  const scenario = parseScenario(text)
  return runScenario({ name, scenario, seed: 1, weaken, isKept: false, began: () => undefined })
}

function failedChecks(run: Run): string[] {
  return checkRun(run).flatMap(({ check, isOk }) => (isOk ? [] : [check]))
}

describe('a cluster on a bad network', () => {
  it.each(['isolate-leader', 'one-way-from-leader', 'kill-restart'])('passes the scenario %s', async (name) => {
    const run = await play(name)
    expect(failedChecks(run), printSummary(run, summarize(run, checkRun(run)))).toEqual([])
  })

  it('is found out when it answers from the past, loses a process, or leaves one', async () => {
    const cutOff = 'nodes 3\nat 500ms isolate leader\nat 4s heal\nend 5s'
    expect(failedChecks(await playText('cut-off', cutOff, 'stale-reads'))).toContain('linearizable')
    const quiet = 'nodes 3\nend 2s'
    expect(failedChecks(await playText('quiet', quiet, null))).toEqual([])
    expect(failedChecks(await playText('quiet', quiet, 'lost-process'))).toContain('no-lost-process')
    expect(failedChecks(await playText('quiet', quiet, 'leave-process'))).toContain('no-leftover')
  })
})
