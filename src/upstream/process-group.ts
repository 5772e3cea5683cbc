import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import type { Clock } from '../std/clock.ts'
import type { UpstreamLimits } from './limits.ts'

/**
 * Process groups as the kernel shows them: who is in one, when its leader started, and how to end it whole. Zombies
 * count as gone: they hold nothing, and whether somebody reaps them is not ours to decide.
 */

/** Identifies one life of a pid: field 22 of /proc/PID/stat on Linux, `ps -o lstart=` elsewhere. Null: no such process. */
export function startTimeOf(pid: number): string | null {
  if (onLinux) return readStat(pid)?.startTime ?? null
  const text = ps(['-o', 'lstart=', '-p', String(pid)]).trim()
  return text === '' ? null : text
}

/** True while any process of the group lives, be its leader gone or not. */
export function isGroupAlive(group: number): boolean {
  try {
    process.kill(-group, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  if (!onLinux)
    return ps(['-axo', 'pgid=,stat='])
      .split('\n')
      .some((line) => {
        const [pgid, state] = line.trim().split(/\s+/)
        return Number(pgid) === group && state?.startsWith('Z') === false
      })
  const leader = readStat(group)
  if (leader?.group === group && !leader.isZombie) return true
  return readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false
    const stat = readStat(Number(name))
    return stat?.group === group && !stat.isZombie
  })
}

export type EndGroupOptions = {
  readonly group: number
  readonly clock: Clock
  readonly limits: UpstreamLimits
  /** How long it may take to end by itself before the first signal. */
  readonly graceMs: number
}

/** Ends every process of the group: a grace, SIGTERM, SIGKILL. False when the kernel does not let one of them die. */
export async function endGroup(options: EndGroupOptions): Promise<boolean> {
  const { group, clock, limits } = options
  if (await isGoneWithin(options, options.graceMs)) return true
  signalGroup(group, 'SIGTERM')
  if (await isGoneWithin({ group, clock }, limits.termGraceMs)) return true
  signalGroup(group, 'SIGKILL')
  return isGoneWithin({ group, clock }, limits.killWaitMs)
}

export function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal)
  } catch {
    // Gone already, or not ours any more: the wait for its end tells.
  }
}

const onLinux = process.platform === 'linux'
const pollMinMs = 10
const pollMaxMs = 100

async function isGoneWithin({ group, clock }: { group: number; clock: Clock }, ms: number): Promise<boolean> {
  const deadline = clock.monotonic() + ms
  for (let pollMs = pollMinMs; ; pollMs = Math.min(pollMaxMs, pollMs * 2)) {
    if (!isGroupAlive(group)) return true
    const left = deadline - clock.monotonic()
    if (left <= 0) return false
    await new Promise<void>((resolve) => {
      clock.after(Math.min(pollMs, left), resolve)
    })
  }
}

type Stat = { readonly group: number; readonly startTime: string; readonly isZombie: boolean }

function readStat(pid: number): Stat | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  // The second field is the command in parentheses and may hold anything; the third follows its last parenthesis.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, , group] = fields
  const startTime = fields[19]
  if (state === undefined || group === undefined || startTime === undefined) return undefined
  return { group: Number(group), startTime, isZombie: state === 'Z' || state === 'X' }
}

function ps(args: readonly string[]): string {
  try {
    return execFileSync('ps', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch {
    return ''
  }
}
