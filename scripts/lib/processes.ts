/**
 * Processes of this machine, read from /proc, or from ps where there is none. A process is named by its pid together
 * with its start time: a pid alone may be another's by the time it is signalled.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync } from 'node:fs'

export type ProcessName = { readonly pid: number; readonly started: string }
type ProcessEntry = ProcessName & { readonly parent: number }

/** Linux counts CPU time in ticks of 1/100 s for user space, whatever the kernel's own. */
const tickMs = 10
const hasProc = existsSync('/proc/self/stat')

/** The running process with this pid; null when there is none, or only its exit status is left. */
export function findProcess(pid: number): ProcessName | null {
  const entry = hasProc ? readEntry(pid) : (listWithPs().find((entry) => entry.pid === pid) ?? null)
  return entry === null ? null : { pid: entry.pid, started: entry.started }
}

export function isRunning(name: ProcessName): boolean {
  return findProcess(name.pid)?.started === name.started
}

/** Signals exactly this process; false when it has ended. */
export function signalProcess(name: ProcessName, signal: NodeJS.Signals): boolean {
  if (!isRunning(name)) return false
  try {
    process.kill(name.pid, signal)
    return true
  } catch {
    return false
  }
}

/** Everything that the process has started and that still has it as an ancestor. */
export function descendantsOf(pid: number): ProcessName[] {
  const all = hasProc ? listFromProc() : listWithPs()
  const found: ProcessName[] = []
  const pending = [pid]
  for (let parent = pending.pop(); parent !== undefined; parent = pending.pop()) {
    for (const entry of all.filter((entry) => entry.parent === parent)) {
      found.push({ pid: entry.pid, started: entry.started })
      pending.push(entry.pid)
    }
  }
  return found
}

/** User and system time of the process so far, ms; null where the system does not tell. */
export function cpuMs(pid: number): number | null {
  const fields = readStat(pid)
  if (fields === null) return null
  return (Number(fields[11]) + Number(fields[12])) * tickMs
}

/** Memory of the process that is in RAM now, bytes; null where the system does not tell. */
export function residentBytes(pid: number): number | null {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kib === undefined ? null : Number(kib) * 1024
  } catch {
    return null
  }
}

function listFromProc(): ProcessEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readEntry(Number(name)) ?? [])
}

function readEntry(pid: number): ProcessEntry | null {
  const fields = readStat(pid)
  if (fields === null || fields[0] === 'Z' || fields[0] === 'X') return null
  return { pid, parent: Number(fields[1]), started: fields[19] ?? '' }
}

/** The fields of /proc/PID/stat behind the command name, which may itself hold spaces and parentheses. */
function readStat(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}

function listWithPs(): ProcessEntry[] {
  const text = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,stat=,lstart='], { encoding: 'utf8' })
  return text.split('\n').flatMap((line) => {
    const [, pid, parent, state = '', started] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.+?)\s*$/.exec(line) ?? []
    if (pid === undefined || started === undefined || state.startsWith('Z')) return []
    return [{ pid: Number(pid), parent: Number(parent), started }]
  })
}
