import { isObject } from '../std/is-object.ts'

/**
 * What initialize says that a scope can do. Of one server: its own object, of all that it says. Of several: what at least
 * one of them can, of what this product knows how to route. Changes of lists are told in both cases by the catalog, so they
 * are always promised.
 */
export type Capabilities = Readonly<Record<string, unknown>>

const changingLists = ['tools', 'resources', 'prompts'] as const

/** Null: nothing is known of the server yet, and it may turn out to have any list. */
export function serverCapabilities(own: Capabilities | null): Capabilities {
  if (own === null) return sharedCapabilities([])
  const changing = changingLists.flatMap((list) => {
    const said = own[list]
    return isObject(said) ? [[list, { ...said, listChanged: true }] as const] : []
  })
  return { ...own, ...Object.fromEntries(changing) }
}

/** Servers come and go while a session stays, so every list is there from the start. */
export function sharedCapabilities(servers: readonly Capabilities[]): Capabilities {
  const subscribes = servers.some(({ resources }) => isObject(resources) && resources['subscribe'] === true)
  const tasks = servers.map((said) => said['tasks']).filter(isObject)
  return {
    tools: { listChanged: true },
    resources: { ...(subscribes ? { subscribe: true } : {}), listChanged: true },
    prompts: { listChanged: true },
    ...(servers.some(({ logging }) => isObject(logging)) ? { logging: {} } : {}),
    ...(servers.some(({ completions }) => isObject(completions)) ? { completions: {} } : {}),
    ...(tasks.length === 0 ? {} : { tasks: tasks.reduce((all, own) => united(all, own, 0)) }),
  }
}

/** Capabilities are objects within objects whose presence counts. Deeper than this a foreign server's word is not followed. */
const depthMax = 4

function united(a: Capabilities, b: Capabilities, depth: number): Record<string, unknown> {
  const all: Record<string, unknown> = { ...a }
  for (const [name, said] of Object.entries(b)) {
    if (name === '__proto__') continue
    const known = Object.hasOwn(all, name) ? all[name] : undefined
    all[name] = depth < depthMax && isObject(known) && isObject(said) ? united(known, said, depth + 1) : (known ?? said)
  }
  return all
}
