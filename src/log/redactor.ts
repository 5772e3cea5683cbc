/**
 * Makes any value fit for a log line: a copy as plain JSON values, secrets replaced by name of their key at any depth,
 * credentials in texts hidden, errors as their chain of messages, depth and size bounded. Never throws, never changes
 * its input, never calls its methods.
 */
import { describeError } from '../vocabulary/operating-error.ts'
import { isSecretName, redacted, redactText } from '../vocabulary/secrets.ts'

/** Deeper values become a note. */
const depthMax = 8
/** Entries shown of one object or list. */
const entriesMax = 100
/** Values shown in all of one line. */
const valuesMax = 2000
/** Characters shown of one text. */
const textMax = 4096
/** A cause's cause and so on, as in describeError. */
const causesMax = 8

export function redact(value: unknown): unknown {
  return new Redactor().copy(value, 0)
}

/** For one value: counts what was copied, and knows the objects that it is inside of. */
class Redactor {
  readonly #inside = new Set<object>()
  #values = 0

  copy(value: unknown, depth: number): unknown {
    this.#values += 1
    if (this.#values > valuesMax) return '[too large]'
    switch (typeof value) {
      case 'string':
        return this.#text(value, depth)
      case 'number':
        return Number.isFinite(value) ? value : String(value)
      case 'bigint':
        return String(value)
      case 'symbol':
      case 'function':
        return `[${typeof value}]`
      case 'object':
        return value === null ? null : this.#object(value, depth)
      case 'boolean':
      case 'undefined':
        return value
      default:
        return value
    }
  }

  #object(value: object, depth: number): unknown {
    if (this.#inside.has(value)) return '[circular]'
    if (depth >= depthMax) return '[too deep]'
    this.#inside.add(value)
    try {
      if (value instanceof Error) return this.#error(value, depth)
      if (value instanceof Date) return Number.isNaN(value.getTime()) ? '[invalid date]' : value.toISOString()
      if (value instanceof URL) return this.#text(value.href, depth)
      if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
      if (value instanceof Map) return this.#entries([...value].slice(0, entriesMax + 1), value.size, depth)
      if (value instanceof Set) return this.#list([...value].slice(0, entriesMax + 1), value.size, depth)
      if (Array.isArray(value)) return this.#list(value.slice(0, entriesMax + 1), value.length, depth)
      const names = Object.keys(value)
      const shown = names.slice(0, entriesMax + 1).map((name) => [name, readable(value, name)] as const)
      return this.#entries(shown, names.length, depth)
    } catch {
      // A proxy may throw at anything; what it guards is not worth a log line's failure.
      return '[unreadable]'
    } finally {
      this.#inside.delete(value)
    }
  }

  #entries(entries: readonly (readonly [unknown, unknown])[], size: number, depth: number): Record<string, unknown> {
    const copy: [string, unknown][] = []
    for (const [key, value] of entries.slice(0, entriesMax)) {
      const name = typeof key === 'object' && key !== null ? '[object]' : String(key)
      copy.push([
        name.length > 256 ? `${name.slice(0, 256)}...` : redactText(name),
        isSecretName(name) && holdsText(value) ? redacted : this.copy(value, depth + 1),
      ])
    }
    if (size > entriesMax) copy.push(['...', `${size - entriesMax} more`])
    return Object.fromEntries(copy)
  }

  #list(items: readonly unknown[], size: number, depth: number): unknown[] {
    const copy = items.slice(0, entriesMax).map((item) => this.copy(item, depth + 1))
    return size > entriesMax ? [...copy, `${size - entriesMax} more`] : copy
  }

  /** JSON in a text is redacted as the value that it is; what only looks like JSON is not shown at all. */
  #text(text: string, depth: number): string {
    if (/^\s*[[{]/.test(text) && /["']/.test(text)) {
      try {
        if (text.length <= textMax) return JSON.stringify(this.copy(JSON.parse(text), depth + 1))
      } catch {
        // Not JSON, or cut: a secret in it can not be told from the rest.
      }
      return `[${text.length} characters of JSON]`
    }
    const shown = redactText(text.slice(0, textMax))
    return text.length > textMax ? `${shown}... (${text.length} characters)` : shown
  }

  /** The chain of messages once; a cause that is no error is copied before it is printed. */
  #error(error: Error, depth: number): unknown {
    const message = this.#text(describeError(this.#bareError(error, depth, 0)), depth)
    const code = readable(error, 'code')
    return typeof code === 'string' ? { message, code: this.#text(code, depth) } : { message }
  }

  #bareError(error: Error, depth: number, causes: number): Error {
    const cause = readable(error, 'cause')
    const message = readable(error, 'message')
    const text = this.#text(typeof message === 'string' ? message : '', depth)
    if (cause === undefined || cause === null || causes >= causesMax) return new Error(text)
    const bare = cause instanceof Error ? this.#bareError(cause, depth, causes + 1) : this.copy(cause, depth + 1)
    return new Error(text, { cause: bare })
  }
}

/** Nothing to hide in `hasToken: true`, `password: null`. */
function holdsText(value: unknown): boolean {
  return value !== null && value !== undefined && typeof value !== 'boolean'
}

function readable(value: object, name: string): unknown {
  try {
    return (value as Record<string, unknown>)[name]
  } catch {
    return '[unreadable]'
  }
}
