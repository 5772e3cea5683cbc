/**
 * Runs an official conformance suite of the Model Context Protocol against a server's URL, in a process of its own, and
 * reads what its scenarios found. Nothing is fetched: the suites are development dependencies.
 */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

export type OfficialSuite = {
  readonly name: string
  readonly program: string
  readonly args: readonly string[]
  /** How many scenarios there are for a server: fewer that ran prove nothing. */
  readonly scenarios: number
}

type Check = { readonly id: string; readonly status: string; readonly errorMessage?: string }

export type SuiteFindings = {
  /** Names of the scenarios that ran. */
  readonly scenarios: readonly string[]
  /** `scenario: check: status: reason` of whatever failed or was warned of. */
  readonly wrong: readonly string[]
  readonly passed: number
}

const packages = path.resolve(import.meta.dirname, '../../node_modules/@modelcontextprotocol')
const shim = path.join(import.meta.dirname, 'glob-sync.mjs')
const runMs = 100_000

export const officialSuites: readonly OfficialSuite[] = [
  {
    name: '0.1.16, every scenario',
    program: path.join(packages, 'conformance/dist/index.js'),
    args: ['--suite', 'all'],
    scenarios: 32,
  },
  {
    name: '0.2.0-alpha.12, the requirements of 2025-11-25',
    program: path.join(packages, 'conformance-next/dist/index.js'),
    args: ['--requirements', '2025-11-25'],
    scenarios: 33,
  },
]

export async function runOfficialSuite(suite: OfficialSuite, url: string): Promise<SuiteFindings> {
  const dir = await mkdtemp(path.join(tmpdir(), 'quorate-conformance-'))
  try {
    const said = await run([suite.program, 'server', '--url', url, ...suite.args, '--output-dir', dir])
    const findings = await findingsIn(dir)
    if (findings.scenarios.length === 0) throw new Error(`the suite ran nothing; it said:\n${said}`)
    return findings
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Answers what it said. Its exit code tells no more than the findings do. */
function run(args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, ['--import', shim, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`the suite took more than ${runMs} ms; it said:\n${said}`))
    }, runMs)
    child.once('error', reject)
    child.once('close', () => {
      clearTimeout(limit)
      resolve(said)
    })
  })
}

async function findingsIn(dir: string): Promise<SuiteFindings> {
  const scenarios: string[] = []
  const wrong: string[] = []
  let passed = 0
  for (const folder of await readdir(dir)) {
    const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT/.exec(folder)?.[1] ?? folder
    scenarios.push(scenario)
    const checks = JSON.parse(await readFile(path.join(dir, folder, 'checks.json'), 'utf8')) as Check[]
    for (const { id, status, errorMessage = '' } of checks) {
      if (status === 'SUCCESS') passed += 1
      if (status === 'FAILURE' || status === 'WARNING') wrong.push(`${scenario}: ${id}: ${status}: ${errorMessage}`)
    }
  }
  return { scenarios: scenarios.sort(), wrong, passed }
}
