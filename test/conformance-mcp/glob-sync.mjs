/**
 * Preloaded by `node --import`: the official conformance suites import `globSync` from `fs`, which Node has from version 22
 * only. Nothing that we run of them calls it; without the name their program does not even link.
 */
import { register } from 'node:module'

const shim = asModule(`
  export * from 'node:fs'
  export { default } from 'node:fs'
  export function globSync() { throw new Error('fs.globSync is not there') }
`)

const hooks = asModule(`
  const shim = ${JSON.stringify(shim)}
  export function resolve(specifier, context, next) {
    const isTheirs = context.parentURL?.includes('/@modelcontextprotocol/conformance') === true
    return isTheirs && (specifier === 'fs' || specifier === 'node:fs') ? { url: shim, shortCircuit: true } : next(specifier, context)
  }
`)

function asModule(text) {
  return `data:text/javascript,${encodeURIComponent(text)}`
}

register(hooks)
