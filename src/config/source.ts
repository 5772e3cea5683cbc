/**
 * A YAML file as plain values, with the line of every key and value, so that each problem can be told with its place.
 * Fills in `${VAR}` and `${VAR:-default}`. Knows YAML, not the keys. Never throws: what is wrong is a problem in a list.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node, type Pair } from 'yaml'
import { unreachable } from '../std/assert.ts'

/** Where a value came from, or where a problem is. */
export type Place =
  | { readonly kind: 'default' }
  | { readonly kind: 'file'; readonly file: string; readonly line: number }
  | { readonly kind: 'environment'; readonly name: string }
  | { readonly kind: 'flag'; readonly name: string }

/** `key` (see keyText) is what the problem is about; no second problem is told of a key. */
export type Problem = { readonly place: Place; readonly key: string; readonly text: string }

export type Path = readonly (string | number)[]

export type Source = {
  /** The file's map, variables filled in. */
  readonly values: Record<string, unknown>
  /** The same with `${VAR}` as written. */
  readonly written: Record<string, unknown>
  /** Key text (see keyText) to the place of the key, or of the item of a list. */
  readonly places: Map<string, Place>
  /** Key text to the variables that its text was made from. */
  readonly variables: Map<string, readonly string[]>
  readonly problems: Problem[]
}

export type Environment = Readonly<Record<string, string | undefined>>

/** Deeper or larger files are refused: aliases can blow a short text up. */
const depthMax = 32
const valuesMax = 20_000

export function readSource(options: { file: string; text: string; env: Environment }): Source {
  const lines = new LineCounter()
  const document = parseDocument(options.text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false })
  const reader = new SourceReader({ ...options, document, lines })
  return reader.read()
}

/** `mcpServers.files.args[0]`; a name that is no plain word stands in quotes. */
export function keyText(path: Path): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else text += `${text === '' ? '' : '.'}${/^[\w-]+$/.test(step) ? step : JSON.stringify(step)}`
  }
  return text
}

export function placeText(place: Place): string {
  switch (place.kind) {
    case 'default':
      return 'default'
    case 'file':
      return `${place.file}:${place.line}`
    case 'environment':
      return `environment ${place.name}`
    case 'flag':
      return `flag ${place.name}`
    default:
      return unreachable(place)
  }
}

class SourceReader {
  readonly #options: { file: string; env: Environment; document: Document.Parsed; lines: LineCounter }
  readonly #places = new Map<string, Place>()
  readonly #variables = new Map<string, readonly string[]>()
  readonly #problems: Problem[] = []
  #values = 0

  constructor(options: { file: string; env: Environment; document: Document.Parsed; lines: LineCounter }) {
    this.#options = options
  }

  read(): Source {
    const { document } = this.#options
    for (const error of document.errors)
      this.#problem(error.pos[0], [], `is no YAML here: ${error.message.split('\n')[0] ?? ''}`)
    const empty = { values: {}, written: {} }
    const usable = this.#problems.length === 0 && document.contents !== null && !isNull(document.contents)
    let roots = empty
    if (usable && isMap(document.contents)) roots = this.#map(document.contents, [])
    else if (usable) this.#problem(0, [], 'the file must be a map of sections, for example "cluster: {name: quorate}"')
    return { ...roots, places: this.#places, variables: this.#variables, problems: this.#problems }
  }

  #value(node: Node | null, path: Path): { value: unknown; written: unknown } {
    this.#values += 1
    if (path.length > depthMax || this.#values > valuesMax) {
      if (this.#values <= valuesMax + 1)
        this.#problem(offsetOf(node), path, 'is too deep or too large for a configuration')
      this.#values = Math.max(this.#values, valuesMax + 1)
      return { value: null, written: null }
    }
    if (isAlias(node)) return this.#value(node.resolve(this.#options.document) ?? null, path)
    if (isMap(node)) {
      const { values, written } = this.#map(node, path)
      return { value: values, written }
    }
    if (isSeq(node)) {
      const items = node.items.map((item, index) => {
        const itemPath = [...path, index]
        this.#places.set(keyText(itemPath), this.#place(offsetOf(item as Node | null)))
        return this.#value(item as Node | null, itemPath)
      })
      return { value: items.map((item) => item.value), written: items.map((item) => item.written) }
    }
    const scalar = isScalar(node) ? node.value : null
    if (typeof scalar !== 'string') return { value: scalar, written: scalar }
    return { value: this.#fill(scalar, path, offsetOf(node)), written: scalar }
  }

  #map(
    node: { items: Pair<unknown, unknown>[] },
    path: Path,
  ): { values: Record<string, unknown>; written: Record<string, unknown> } {
    const values: Record<string, unknown> = {}
    const written: Record<string, unknown> = {}
    for (const pair of node.items) {
      const offset = offsetOf(pair.key as Node | null)
      const name = isScalar(pair.key) ? String(pair.key.value) : null
      if (name === null || name === '__proto__') {
        this.#problem(offset, path, `${name ?? 'a list or map'} can not be used as a key`)
        continue
      }
      const keyPath = [...path, name]
      const first = this.#places.get(keyText(keyPath))
      if (Object.hasOwn(values, name) && first !== undefined) {
        this.#problem(offset, keyPath, `is given twice, first at ${placeText(first)}; keep one`)
        continue
      }
      this.#places.set(keyText(keyPath), this.#place(offset))
      const child = this.#value(pair.value as Node | null, keyPath)
      values[name] = child.value
      written[name] = child.written
    }
    return { values, written }
  }

  /** `$${` stands for `${`. */
  #fill(text: string, path: Path, offset: number): string {
    const names: string[] = []
    const filled = text.replaceAll(/(\$?)\$\{([^}]*)\}?/g, (whole, escape: string, inside: string) => {
      if (escape !== '') return whole.slice(1)
      const match = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/.exec(inside)
      const name = match?.[1]
      if (name === undefined || !whole.endsWith('}')) {
        this.#problem(
          offset,
          path,
          `${JSON.stringify(whole)} is no variable; write \${NAME} or \${NAME:-default}, or $\${ for a plain \${`,
        )
        return ''
      }
      names.push(name)
      const value = this.#options.env[name]
      const fallback = match?.[2]
      if (value !== undefined && (value !== '' || fallback === undefined)) return value
      if (fallback !== undefined) return fallback
      this.#problem(offset, path, `the environment variable ${name} is not set; set it, or write \${${name}:-default}`)
      return ''
    })
    if (names.length > 0) this.#variables.set(keyText(path), names)
    return filled
  }

  #place(offset: number): Place {
    return { kind: 'file', file: this.#options.file, line: this.#options.lines.linePos(offset).line }
  }

  #problem(offset: number, path: Path, text: string): void {
    this.#problems.push({ place: this.#place(offset), key: keyText(path), text })
  }
}

function offsetOf(node: Node | null): number {
  return node?.range?.[0] ?? 0
}

function isNull(node: unknown): boolean {
  return isScalar(node) && node.value === null
}
