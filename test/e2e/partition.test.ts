import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkRun } from '../../scripts/partition/checks.ts'
import { endLeftovers } from '../../scripts/partition/finals.ts'
import { runScenario } from '../../scripts/partition/run.ts'
import { parseScenario } from '../../scripts/partition/scenario.ts'
import { printSummary, summarize } from '../../scripts/partition/summary.ts'
import type { Run, Weakening } from '../../scripts/partition/types.ts'
import { waitFor } from '../wait.ts'

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

  it('is found out when it answers from the past', async () => {
    const cutOff = 'nodes 3\nat 500ms isolate leader\nat 4s heal\nend 5s'
    expect(failedChecks(await playText('cut-off', cutOff, 'stale-reads'))).toContain('linearizable')
  })

  it('is found out when it loses a process', async () => {
    expect(failedChecks(await playText('quiet', 'nodes 3\nend 2s', 'lost-process'))).toContain('no-lost-process')
  })

  it('is found out when it leaves a process, which is ended', async () => {
    const dir = path.join(tmpdir(), `quorate-partition-${process.pid}`)
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)', path.join(dir, 'n1')])
    const ended = once(child, 'exit')
    await waitFor('the process to be found', () => endLeftovers(dir).some(({ pid }) => pid === child.pid))
    expect((await ended)[1]).toBe('SIGKILL')
    expect(endLeftovers(dir)).toEqual([])
  })
})
