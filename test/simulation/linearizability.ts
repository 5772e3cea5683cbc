/**
 * Whether a history of one key's operations could have happened one at a time, each at some moment between its call and
 * its answer: the search of Wing and Gong with the memory of Lowe (configurations that were in vain are not tried again).
 * A write without an answer may have happened at any time after its call, or never.
 */
export type Operation = {
  readonly client: string
  readonly key: string
  readonly kind: 'write' | 'read'
  /** What was written, or what the read saw; null: nothing was there. */
  readonly value: string | null
  readonly calledUs: number
  /** Infinity: no answer came. */
  readonly answeredUs: number
}

/** Null: it could have. Else a sentence about the first key that could not. */
export function checkHistory(operations: readonly Operation[]): string | null {
  const keys = new Map<string, Operation[]>()
  for (const operation of operations) {
    const list = keys.get(operation.key)
    if (list === undefined) keys.set(operation.key, [operation])
    else list.push(operation)
  }
  for (const [key, list] of keys) {
    const verdict = checkKey(list)
    if (verdict !== null) return `${key}: ${verdict}`
  }
  return null
}

/** More configurations than this are not searched: the verdict would be no verdict, so it says so. */
const configurationsMax = 400_000

function checkKey(all: readonly Operation[]): string | null {
  // A read without an answer says nothing; a write without one and whose value nobody saw may as well not have happened.
  const seen = new Set(all.flatMap(({ kind, value }) => (kind === 'read' && value !== null ? [value] : [])))
  const operations = all
    .filter(({ kind, value, answeredUs }) => {
      if (answeredUs !== Infinity) return true
      return kind === 'write' && value !== null && seen.has(value)
    })
    .toSorted((a, b) => a.calledUs - b.calledUs)
  const count = operations.length
  const done = new Uint8Array(count)
  const tried = new Set<string>()
  const trail: { at: number; before: string | null }[] = []
  let value: string | null = null
  /** Everything before it is done. */
  let front = 0
  let open = operations.filter(({ answeredUs }) => answeredUs !== Infinity).length
  let from = 0
  let deepest = { length: -1, stuck: '' }

  const isPossible = (operation: Operation): boolean => operation.kind === 'write' || operation.value === value

  while (open > 0) {
    // The earliest answer among what is not done: nothing that was called later can come first.
    let horizon = Infinity
    for (let at = front; at < count; at += 1) {
      const operation = operations[at] as Operation
      if (operation.calledUs > horizon) break
      if (done[at] === 0 && operation.answeredUs < horizon) horizon = operation.answeredUs
    }
    let chosen = -1
    for (let at = Math.max(front, from); at < count; at += 1) {
      const operation = operations[at] as Operation
      if (operation.calledUs > horizon) break
      if (done[at] === 1 || !isPossible(operation)) continue
      done[at] = 1
      const key = configurationKey(done, front, operation.kind === 'write' ? operation.value : value)
      if (tried.has(key)) {
        done[at] = 0
        continue
      }
      tried.add(key)
      chosen = at
      break
    }
    if (tried.size > configurationsMax) return `not decided after ${configurationsMax} configurations`
    if (chosen === -1) {
      if (trail.length > deepest.length) deepest = { length: trail.length, stuck: describe(operations, done, value) }
      const last = trail.pop()
      if (last === undefined) return `no order explains it; ${deepest.stuck}`
      done[last.at] = 0
      const undone = operations[last.at] as Operation
      if (undone.answeredUs !== Infinity) open += 1
      value = last.before
      front = Math.min(front, last.at)
      from = last.at + 1
      continue
    }
    const operation = operations[chosen] as Operation
    trail.push({ at: chosen, before: value })
    if (operation.kind === 'write') value = operation.value
    if (operation.answeredUs !== Infinity) open -= 1
    while (front < count && done[front] === 1) front += 1
    from = 0
  }
  return null
}

/** What is done, from the front on, and the value: all that decides how it can go on. */
function configurationKey(done: Uint8Array, front: number, value: string | null): string {
  let first = front
  while (first < done.length && done[first] === 1) first += 1
  let last = done.length
  while (last > first && done[last - 1] === 0) last -= 1
  return `${first} ${done.subarray(first, last).join('')} ${value}`
}

function describe(operations: readonly Operation[], done: Uint8Array, value: string | null): string {
  const stuck = operations.filter((_, at) => done[at] === 0).slice(0, 3)
  const lines = stuck.map(({ client, kind, value: of, calledUs, answeredUs }) => {
    const until = answeredUs === Infinity ? 'no answer' : (answeredUs / 1000).toFixed(1)
    return `${client} ${kind} ${of} in ${(calledUs / 1000).toFixed(1)}..${until} ms`
  })
  return `with the value ${value} stuck before ${lines.join('; ')}`
}
