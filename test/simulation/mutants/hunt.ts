import { spawn } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Mutant } from './mutant.ts'

/** What became of one mutant. */
export type Hunt = {
  readonly mutant: Mutant
  /** Null: it survived its budget. */
  readonly caught: { readonly by: string; readonly after: string } | null
  readonly seconds: number
}

const root = path.resolve(import.meta.dirname, '../../..')
const parts = ['src', 'test', 'scripts', 'package.json', 'tsconfig.json', 'vitest.config.ts']
const deadlineMs = 600_000

/**
 * Lets the simulation, or the test that a mutant names, hunt each of them: in a copy of the sources, in which one text is
 * replaced, and a process of its own. Throws when the text is not there exactly once: then the mutant is out of date.
 */
export async function huntAll(
  mutants: readonly Mutant[],
  options: { readonly atOnce: number; readonly hunted?: (hunt: Hunt) => void },
): Promise<readonly Hunt[]> {
  const waiting = [...mutants]
  const hunts: Hunt[] = []
  const work = async (): Promise<void> => {
    const copy = await copySources()
    try {
      for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
        const hunt = await huntOne(copy, mutant)
        hunts.push(hunt)
        options.hunted?.(hunt)
      }
    } finally {
      await rm(copy, { recursive: true, force: true })
    }
  }
  await Promise.all(Array.from({ length: Math.min(options.atOnce, mutants.length) }, work))
  return mutants.flatMap((mutant) => hunts.find((hunt) => hunt.mutant === mutant) ?? [])
}

async function copySources(): Promise<string> {
  const copy = await mkdtemp(path.join(tmpdir(), 'quorate-mutants-'))
  for (const part of parts) await cp(path.join(root, part), path.join(copy, part), { recursive: true })
  await symlink(path.join(root, 'node_modules'), path.join(copy, 'node_modules'))
  return copy
}

async function huntOne(copy: string, mutant: Mutant): Promise<Hunt> {
  const file = path.join(copy, mutant.file)
  const text = await readFile(file, 'utf8')
  const found = text.split(mutant.search).length - 1
  if (found !== 1) throw new Error(`mutant ${mutant.name}: its text is in ${mutant.file} ${found} times, not once`)
  const started = performance.now()
  await writeFile(
    file,
    text.replace(mutant.search, () => mutant.replace),
  )
  try {
    const caught =
      typeof mutant.within === 'number' ? await bySeeds(copy, mutant.within) : await byFile(copy, mutant.within)
    return { mutant, caught, seconds: (performance.now() - started) / 1000 }
  } finally {
    await writeFile(file, text)
  }
}

async function bySeeds(copy: string, seeds: number): Promise<Hunt['caught']> {
  const failed = await simulated(copy, ['--seeds', String(seeds)])
  const [first] = failed
  if (first === undefined) return null
  return { by: first.claim, after: first.seed === 1 ? '1 seed' : `${first.seed} seeds` }
}

async function byFile(copy: string, file: string): Promise<Hunt['caught']> {
  if (!file.endsWith('.json')) return byTest(copy, file)
  const [first] = await simulated(copy, ['--plan', file])
  return first === undefined ? null : { by: first.claim, after: 'its plan' }
}

type Failed = readonly { readonly seed: number; readonly claim: string }[]

async function simulated(copy: string, options: readonly string[]): Promise<Failed> {
  const { code, output } = await node(copy, [
    '--import',
    'tsx',
    'scripts/simulate.ts',
    '--json',
    '--lines',
    '0',
    ...options,
  ])
  const line = output.split('\n').findLast((each) => each.startsWith('{"played"'))
  if (line === undefined) throw new Error(`the simulation ended with ${code}:\n${output.slice(-2000)}`)
  return (JSON.parse(line) as { failed: Failed }).failed
}

async function byTest(copy: string, test: string): Promise<Hunt['caught']> {
  const run = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'core', '--reporter', 'json', test]
  const { code, output } = await node(copy, run)
  const line = output.split('\n').findLast((each) => each.startsWith('{'))
  if (line === undefined) throw new Error(`${test} ended with ${code}:\n${output.slice(-2000)}`)
  const report = JSON.parse(line) as { testResults: { assertionResults: { status: string; fullName: string }[] }[] }
  const failed = report.testResults.flatMap(({ assertionResults }) =>
    assertionResults.filter(({ status }) => status === 'failed'),
  )
  const [first] = failed
  return first === undefined ? null : { by: `test: ${first.fullName}`, after: 'its test' }
}

function node(cwd: string, args: readonly string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    const timer = setTimeout(() => child.kill('SIGKILL'), deadlineMs)
    let output = ''
    const keep = (chunk: Buffer): void => {
      output += chunk.toString()
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code, output })
    })
  })
}
