import { buildCatalog } from '../routing/catalog.ts'
import type { Catalog } from '../routing/catalog.ts'
import type { StateReader } from '../state/reader.ts'

/**
 * The present catalog, built anew only when the state's catalog version has moved. Listeners are told once for each change
 * of the state that may change the catalog.
 */
export class CatalogSource {
  readonly #state: StateReader
  readonly #listeners = new Set<() => void>()
  #version = -1
  #catalog: Catalog = buildCatalog([])

  constructor(state: StateReader) {
    this.#state = state
  }

  current(): Catalog {
    if (this.#version !== this.#state.catalogVersion) {
      this.#version = this.#state.catalogVersion
      this.#catalog = buildCatalog(this.#state.replicas())
    }
    return this.#catalog
  }

  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
