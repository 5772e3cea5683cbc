import { buildCatalog } from '../routing/catalog.ts'
import type { Catalog } from '../routing/catalog.ts'
import type { Naming } from '../vocabulary/naming.ts'
import type { StateReader } from '../state/reader.ts'
import type { Log } from '../log/log.ts'

/**
 * The present catalog, built anew only when the state's catalog version has moved. Listeners are told once for each change
 * of the state that may change the catalog. What an offer hides by a clash, or what of it is unusable, is logged once.
 */
export class CatalogSource {
  readonly #state: StateReader
  readonly #naming: Naming
  readonly #log: Log
  readonly #listeners = new Set<() => void>()
  #version = -1
  #catalog: Catalog = buildCatalog([])
  #reported: ReadonlySet<string> = new Set()

  constructor(state: StateReader, { naming, log }: { readonly naming: Naming; readonly log: Log }) {
    this.#state = state
    this.#naming = naming
    this.#log = log
  }

  current(): Catalog {
    if (this.#version !== this.#state.catalogVersion) {
      this.#version = this.#state.catalogVersion
      this.#catalog = buildCatalog(this.#state.replicas(), this.#naming)
    }
    return this.#catalog
  }

  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  changed(): void {
    this.#report()
    for (const listener of this.#listeners) listener()
  }

  #report(): void {
    const { collisions, faults } = this.current()
    const reported = new Set<string>()
    const report = (event: string, fields: Readonly<Record<string, unknown>>): void => {
      const key = JSON.stringify([event, fields])
      if (!this.#reported.has(key) && !reported.has(key)) this.#log.warn(event, fields)
      reported.add(key)
    }
    for (const collision of collisions.slice(0, reportsMax)) report('catalog-collision', collision)
    for (const fault of faults.slice(0, reportsMax)) report('catalog-fault', fault)
    this.#reported = reported
  }
}

/** Of each kind, so many of a catalog are logged. */
const reportsMax = 50
